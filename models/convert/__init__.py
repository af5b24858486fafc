"""From published weights to full-int8 TFLite files. Runs in .venv-train, never on a device."""
