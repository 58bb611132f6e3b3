"""The one delivery loop that every sender runs."""
