"""Pure counting and release: time, configuration and randomness come in as arguments.

Nothing here opens a file, a socket or a clock, or knows that pixels exist.
"""
