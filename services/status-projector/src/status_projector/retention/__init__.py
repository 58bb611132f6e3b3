"""Removing notifications whose time is over."""
