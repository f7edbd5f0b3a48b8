"""Exports cut networks for small devices: traced, rewritten, quantised, and validated."""
