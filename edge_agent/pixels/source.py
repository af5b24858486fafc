"""Stand-in until wired."""
