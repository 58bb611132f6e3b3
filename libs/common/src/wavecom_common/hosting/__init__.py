"""How a process starts, says how it is, drains and stops."""
