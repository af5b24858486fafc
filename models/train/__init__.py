"""Training, off the device: two CPU cores are enough."""
