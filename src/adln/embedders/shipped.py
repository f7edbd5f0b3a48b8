"""The networks that are known by name: those that come with the package, and a user's own.

"res1" and "res2" come with the package, so that it embeds without a download, and "res1-tracking",
which only tells people apart within one camera, at a third of the cost; their cards are in
`adln/networks`. Others get a name by `adln networks add`. A file of the same name in the working
folder goes first.
"""

import json
import re
from pathlib import Path

from adln.atomic import atomic_write, is_there, locked, user_folder
from adln.errors import ModelFileError, SettingsError

FOLDER = Path(__file__).parents[1] / "networks"
SHIPPED = ("res1", "res2")
DEFAULT = "res2"
TRACKING = "res1-tracking"
"""Res1 for crops of 96x48 px: for trackers, not for galleries."""
_MOST_REMEMBERED = 20


_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def find_network(name: str | Path) -> Path:
    """The file of a network that is called by name.

    Returns:
        The path as it came, unless it is a known name and no file there.

    Raises:
        ModelFileError: there is nothing that could be one.
    """
    if not isinstance(name, str | Path) or not str(name).strip():
        raise ModelFileError(
            f"expected the name or file of a network, such as {DEFAULT!r}, got {name!r}."
        )
    path = Path(name)
    # A folder may be called like a network, but is none.
    if path.exists() and not path.is_dir():
        return path
    if str(name) in (*SHIPPED, TRACKING):
        return FOLDER / f"{name}.onnx"
    return own_networks().get(str(name), path)


def own_networks() -> dict[str, Path]:
    """The networks that a user has added: name -> file."""
    try:
        return _read_own()
    except SettingsError:
        return {}


def _read_own() -> dict[str, Path]:
    """As `own_networks`, but a list that is damaged is an error: writing it would lose names."""
    place = _list_of_own()
    if not is_there(place):
        return {}
    try:
        values = json.loads(place.read_text(encoding="utf-8"))
        return {str(name): Path(path) for name, path in values.items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise SettingsError(
            f"{place}: the names of your networks cannot be read ({error}). Mend the file, or move "
            "it away and name the networks anew."
        ) from error


def require_name(name: str) -> None:
    """Refuse what cannot be the name of a network.

    Raises:
        SettingsError: it is taken by a shipped network, or has other letters.
    """
    if name in (*SHIPPED, TRACKING) or _NAME.fullmatch(name) is None:
        raise SettingsError(
            f"{name!r} cannot be the name of a network: give one (--name) of small letters, "
            f"digits, dots, dashes and underscores, and none of {', '.join(SHIPPED)}."
        )


def name_network(name: str, path: Path | None) -> None:
    """Give a file a name, or take the name away.

    Args:
        name: small letters, digits, dots, dashes and underscores.
        path: of the file; None takes the name away.

    Raises:
        SettingsError: the name is taken by a shipped network or has other letters, or the list
            cannot be written.
    """
    require_name(name)
    place = _list_of_own()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with locked(place.parent):
            known = _read_own()
            known.pop(name, None)
            if path is not None:
                known[name] = path.resolve()
            texts = {name: str(path) for name, path in sorted(known.items())}
            with atomic_write(place, raises=SettingsError) as file:
                file.write(json.dumps(texts, indent=1).encode())
    except OSError as error:
        raise SettingsError(
            f"{place}: cannot be written ({error.strerror or error}). Set XDG_CONFIG_HOME to a "
            "folder of your own."
        ) from error


def use_network(name: str, path: Path) -> Path | None:
    """Put a network in the place of a name, and remember the one that was there.

    Args:
        name: see `name_network`.
        path: of the new network.

    Returns:
        The file that had the name before; None if none had.

    Raises:
        SettingsError: see `name_network`.
    """
    before = own_networks().get(name)
    if before == path.resolve():
        return before
    if before is not None:
        # Remembered first: who is cut off between the two has one entry too many, and no loss.
        _remember(name, [*_remembered().get(name, []), str(before)][-_MOST_REMEMBERED:])
    name_network(name, path)
    return before


def network_before(name: str) -> Path:
    """The network that `roll_back` would give a name back to.

    Raises:
        SettingsError: there was none before, or its file is gone.
    """
    past = _past(name)
    if not past:
        raise SettingsError(
            f"{name!r} has had no other network before; `adln networks use FILE --name {name}` "
            "remembers the one that it replaces."
        )
    path = Path(past[-1])
    if not path.is_file():
        raise SettingsError(
            f"{path}: the network that {name!r} had before is not there any more. Put it back, or "
            f"name another one with `adln networks use FILE --name {name}`."
        )
    return path


def roll_back(name: str) -> Path:
    """Give a name back to the network that had it before.

    Returns:
        The file that has the name now.

    Raises:
        SettingsError: see `network_before`.
    """
    path, past = network_before(name), _past(name)
    name_network(name, path)
    _remember(name, past[:-1])
    return path


def _past(name: str) -> list[str]:
    """Files that had a name before the one that has it now, the last one last."""
    now = own_networks().get(name)
    return [path for path in _remembered().get(name, []) if path != str(now)]


def _remembered() -> dict[str, list[str]]:
    """Name -> files that had it before, the last one last."""
    try:
        values = json.loads(_list_of_past().read_text(encoding="utf-8"))
        return {str(name): [str(path) for path in paths] for name, paths in values.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _remember(name: str, paths: list[str]) -> None:
    place = _list_of_past()
    with locked(place.parent):
        past = {**_remembered(), name: paths}
        with atomic_write(place, raises=SettingsError) as file:
            file.write(json.dumps({key: past[key] for key in sorted(past) if past[key]}).encode())


def _list_of_past() -> Path:
    return _list_of_own().with_name("networks-before.json")


def _list_of_own() -> Path:
    return user_folder("config") / "networks.json"
