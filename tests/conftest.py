"""Settings for all tests."""

import os

# Two test processes share two cores; more threads than cores only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
