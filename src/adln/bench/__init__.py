"""Measures the speed of networks on a device, compared with other networks and its peak."""
