"""Fixtures every test may use; see `wavecom_stack.testing`."""

pytest_plugins = ["wavecom_stack.testing"]
