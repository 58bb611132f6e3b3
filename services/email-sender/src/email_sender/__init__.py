"""Delivers email notifications."""
