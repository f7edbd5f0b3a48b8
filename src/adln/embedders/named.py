"""What users call a network of which only the digest is known, for messages."""

from pathlib import Path

from adln.atomic import file_sha256
from adln.embedders.foreign import read_sidecar, sidecar
from adln.embedders.shipped import IN_PACKAGE, find_network, own_networks
from adln.errors import ModelFileError

_opened: dict[str, Path] = {}


def remember_opened(sha256: str, path: Path) -> None:
    """Remember the file of a network that this process has opened."""
    _opened[sha256] = path


def name_of_network(sha256: str) -> str | None:
    """The network's name, else the stem of the file that this process opened, else None.

    Args:
        sha256: hex digest, as of `adln.embedders.session.OpenModel`. Reads the files of all named
            networks.
    """
    for name in (*IN_PACKAGE, *own_networks()):
        try:
            if sha256 == _digest(find_network(name)):
                return name
        except ModelFileError:
            continue
    return _opened[sha256].stem if sha256 in _opened else None


def _digest(path: Path) -> str:
    if sidecar(path).is_file():
        return read_sidecar(path)[1].source_sha256
    return file_sha256(path, raises=ModelFileError, expected="a network")
