"""Everything that makes a board a device: its image, its units, and the technician's tool."""
