"""Matching: what a score means, and who it is."""
