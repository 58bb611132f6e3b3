"""Stateless routing of requested notifications to the sender of their channel."""
