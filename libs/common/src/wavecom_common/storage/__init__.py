"""The database: event store, read model and delivery ledger. The only package that imports a MongoDB driver."""
