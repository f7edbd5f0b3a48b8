"""Cameras: from frames to detected and tracked people, and the crops worth embedding."""
