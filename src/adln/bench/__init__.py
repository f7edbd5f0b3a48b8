"""Measures a device: how fast networks are, beside peers and beside what it can do at all."""
