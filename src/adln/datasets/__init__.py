"""Data sets: splits of (path, person, camera), and readers for public layouts."""
