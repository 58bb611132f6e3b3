"""How fast the whole system is on one machine, and what a notification costs."""
