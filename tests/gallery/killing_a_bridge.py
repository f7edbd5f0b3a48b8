"""Run by test_bridging.py: a bridge that is being built when the process is killed."""

import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

from adln.gallery.compared import ComparedGallery
from adln.gallery.index import SearchIndex
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.matching.bridge import parse_bridge


def killed(*_: object) -> NoReturn:
    """As `kill -9` or a power cut: nothing is tidied up."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def main(folder: Path, file: Path, point: str) -> None:
    """Build the bridge in the file, or remove it if it is there, until the point."""
    bridge = parse_bridge(file.read_bytes(), name=str(file))
    rebuild = SearchIndex.rebuild

    def rebuild_and_die(index: SearchIndex) -> None:
        rebuild(index)
        killed()

    with SqliteGallery(folder) as gallery:
        if point == "before the commit":
            SearchIndex.rebuild = rebuild_and_die
        else:
            ComparedGallery._remove_old_files = killed
        if gallery.bridges:
            gallery.remove_bridge(bridge.target)
        else:
            gallery.build_bridge(bridge)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
