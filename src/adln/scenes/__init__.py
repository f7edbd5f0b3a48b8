"""Drawn people and walking scenes: for the demo and the tests, never for a device."""
