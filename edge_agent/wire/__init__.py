"""Everything that may leave a device, and nothing else.

Read this folder to know what a device can say. It imports pydantic and the standard library
only; it does not open files, sockets or clocks, and it does not sign: it defines the bytes that
are signed.
"""
