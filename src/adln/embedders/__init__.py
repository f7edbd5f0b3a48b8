"""Everything that turns crops into embeddings on a device: network files, opened and proved."""
