"""The installation assistant: a page for a phone beside the device, for half an hour."""
