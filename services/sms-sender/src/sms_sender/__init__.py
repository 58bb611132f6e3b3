"""Delivers sms notifications."""
