"""Events, their wire form, and the names of everything on the broker."""
