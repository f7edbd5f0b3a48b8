"""Data: splits of (path, person, camera), the public layouts, and people that we draw."""
