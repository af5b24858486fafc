"""The process that owns the camera: it counts, decides, seals and signs."""
