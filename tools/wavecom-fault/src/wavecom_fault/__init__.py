"""The fault matrix: every process killed, stopped and cut off under load, and what came of it."""
