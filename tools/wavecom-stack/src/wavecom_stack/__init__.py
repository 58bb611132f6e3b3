"""The whole system on one machine: up, down, demo, and the broker and database they need."""
