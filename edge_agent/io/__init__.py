"""What the device reaches: its socket, ledger, spool, keys and broker."""
