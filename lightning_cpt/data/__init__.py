"""From shards to batches of token ids: order, loader, data module."""
