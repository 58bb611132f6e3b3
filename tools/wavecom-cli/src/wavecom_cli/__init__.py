"""The operator's command line: wavecom."""
