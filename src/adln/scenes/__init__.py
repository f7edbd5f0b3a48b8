"""Drawn people and walking scenes for the demo and the tests; not used on devices."""
