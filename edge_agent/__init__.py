"""The program on the device: it looks, counts, forgets, and reports only what may be said."""
