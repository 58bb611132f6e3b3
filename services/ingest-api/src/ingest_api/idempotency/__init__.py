"""The `Idempotency-Key`: how a client writes it, and where it is kept."""
