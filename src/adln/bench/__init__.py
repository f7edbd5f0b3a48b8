"""Measures a device: how fast networks are, compared with peers and with the machine's peak."""
