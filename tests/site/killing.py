"""Run by test_killing.py: a training at a site that is killed at a named point."""

import os
import pickle
import signal
import sys
from pathlib import Path
from typing import NoReturn

from adln.site import training


def killed(*_: object, **__: object) -> NoReturn:
    """As `kill -9` or a power cut: nothing is tidied up."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def main(file: Path, point: str) -> None:
    """Train as the file says, until the point."""
    request, crops = pickle.loads(file.read_bytes())
    if point == "learning":
        training.train_for_site(request, crops, should_stop=killed)
    setattr(training, point, killed)
    training.train_for_site(request, crops)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
