"""Cameras: frames in, people found and followed, the crops worth embedding out."""
