import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

SavePicture = Callable[[Path], Path]


@pytest.fixture
def save_picture() -> SavePicture:
    """Save a tiny picture under a path, with the folders above it."""

    def save(path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 8), (200, 100, 50)).save(path, "JPEG")
        return path

    return save


@pytest.fixture
def close(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Make a folder one that `os.walk` cannot read; permissions do not bind the superuser."""

    def closed(folder: Path) -> None:
        real = os.scandir

        def scan(path: str) -> object:
            if Path(path) == folder:
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return real(path)

        monkeypatch.setattr(os, "scandir", scan)

    return closed


@pytest.fixture
def market(tmp_path: Path, save_picture: SavePicture) -> Path:
    """A tiny data set in the layout of Market-1501, oddities included."""
    root = tmp_path / "tiny"
    for name in (
        "bounding_box_train/0002_c1s1_000451_03.jpg",
        "bounding_box_train/0002_c2s1_000551_01.jpg",
        "bounding_box_train/0007_c3s1_000001_01.jpg",
        "bounding_box_train/0007_c6s2_000001_01.jpg",
        "query/0001_c1s1_001051_00.jpg",
        "query/1488_c2s3_065527_00.jpg.jpg",
        "bounding_box_test/-1_c1s1_000401_03.jpg",
        "bounding_box_test/0000_c1s1_000151_01.jpg",
        "bounding_box_test/0001_c1s1_001051_03.jpg",
        "bounding_box_test/0001_c2s1_000301_00.jpg",
        "bounding_box_test/1488_c6s3_094992_04.jpg.jpg",
    ):
        save_picture(root / name)
    for folder in ("bounding_box_train", "query", "bounding_box_test"):
        (root / folder / "Thumbs.db").write_bytes(b"not a picture")
    (root / "query" / "._0001_c1s1_001051_00.jpg").write_bytes(b"left by macOS")
    return root
