"""What the aggregator reaches: the broker."""
