"""The networks that are known by name: those that come with the package, and a user's own.

"res1" and "res2" come with the package, so that it embeds without a download; their cards are in
`adln/networks`. Others get a name by `adln networks add`. A file of the same name in the working
folder goes first.
"""

import json
import os
import re
from pathlib import Path

from adln.atomic import atomic_write
from adln.errors import SettingsError

FOLDER = Path(__file__).parents[1] / "networks"
SHIPPED = ("res1", "res2")
DEFAULT = "res2"


_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def find_network(name: str | Path) -> Path:
    """The file of a network that is called by name.

    Args:
        name: of a network, or any path.

    Returns:
        The path as it came, unless it is a known name and no file there.
    """
    path = Path(name)
    if path.exists():
        return path
    if str(name) in SHIPPED:
        return FOLDER / f"{name}.onnx"
    return own_networks().get(str(name), path)


def own_networks() -> dict[str, Path]:
    """The networks that a user has added: name -> file."""
    try:
        values = json.loads(_list_of_own().read_text(encoding="utf-8"))
        return {str(name): Path(path) for name, path in values.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def name_network(name: str, path: Path | None) -> None:
    """Give a file a name, or take the name away.

    Args:
        name: small letters, digits, dots, dashes and underscores.
        path: of the file; None takes the name away.

    Raises:
        SettingsError: the name is taken by a shipped network or has other letters, or the list
            cannot be written.
    """
    if name in SHIPPED or _NAME.fullmatch(name) is None:
        raise SettingsError(
            f"{name!r} cannot be the name of a network: use small letters, digits, dots, dashes "
            f"and underscores, and none of {', '.join(SHIPPED)}."
        )
    known = own_networks()
    known.pop(name, None)
    if path is not None:
        known[name] = path.resolve()
    place = _list_of_own()
    place.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(place, raises=SettingsError) as file:
        file.write(
            json.dumps({name: str(path) for name, path in sorted(known.items())}, indent=1).encode()
        )


def _list_of_own() -> Path:
    home = os.environ.get("XDG_CONFIG_HOME", "")
    # As the specification has it, a relative path is passed over.
    folder = Path(home) if home.startswith("/") else Path.home() / ".config"
    return folder / "adln" / "networks.json"
