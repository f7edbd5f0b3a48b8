"""Cut networks as files for small devices: traced, rewritten, quantised, and proved true."""
