"""The read model: what is known of a notification, the fold that finds it, and where it is kept."""
