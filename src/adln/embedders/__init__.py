"""Embedding crops on a device: opening, validating and running network files."""
