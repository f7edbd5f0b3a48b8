"""Person re-identification that runs where the cameras are: one network, cut at four depths."""

__version__ = "0.1.0"
