"""The event store, and what else of the projector is stored beside the read model."""
