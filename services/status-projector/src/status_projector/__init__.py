"""The event store, the status read model, and the queries on them."""
