"""Ways to run Dizaine."""
