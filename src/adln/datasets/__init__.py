"""Data: splits of (path, person, camera) and the public layouts."""
