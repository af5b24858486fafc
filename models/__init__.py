"""Model files, cards, conversion and evaluation; never installed on a device."""
