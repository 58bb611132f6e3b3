"""What every WaveCom service is built from."""
