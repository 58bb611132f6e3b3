"""Delivers push notifications."""
