"""The process that owns the network: it keeps sealed records until the city has stored them."""
