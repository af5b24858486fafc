"""`dizaine-device`: what a technician has on the desk. Works without a network."""
