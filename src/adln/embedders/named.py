"""What users call a network of which only the digest is known, for messages."""

from pathlib import Path

from adln.embedders.foreign import network_sha256
from adln.embedders.shipped import IN_PACKAGE, find_network, own_networks
from adln.errors import ModelFileError

_opened: dict[str, Path] = {}


def remember_opened(sha256: str, path: Path) -> None:
    """Remember the file of a network that this process has opened."""
    _opened[sha256] = path


def name_of_network(sha256: str) -> str | None:
    """What the network with a hex digest is called: by name, else by the stem of its file, or None.

    The file is known if this process has opened it. Reads the files of all named networks.
    """
    for name in (*IN_PACKAGE, *own_networks()):
        try:
            if sha256 == network_sha256(find_network(name)):
                return name
        except ModelFileError:
            continue
    return _opened[sha256].stem if sha256 in _opened else None
