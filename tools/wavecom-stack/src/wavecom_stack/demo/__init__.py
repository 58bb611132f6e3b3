"""`make demo`: the system at work, from POST to a delivered mail."""
