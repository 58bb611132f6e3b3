"""What brings back what was lost: the sweeper, and the commands that recover, rebuild, replay and check."""
