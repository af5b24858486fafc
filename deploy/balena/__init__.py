"""The same device as a balena fleet."""
