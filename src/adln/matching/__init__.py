"""Matching: turns similarity scores into identities with a verdict and a probability."""
