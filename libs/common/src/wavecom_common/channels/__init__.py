"""What a channel's folder declares, how it is found, and what the rules of its requests are made of."""
