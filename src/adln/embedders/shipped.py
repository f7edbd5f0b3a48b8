"""Networks known by name: those shipped with the package, and those added by the user.

"res1" and "res2" are shipped, and "res1-tracking", for telling people apart within one camera at a
third of the cost; their model cards are in `adln/networks`. Others get a name by `adln networks
add`. A file of the same name in the working directory takes precedence.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from adln.atomic import atomic_write, is_there, locked, user_folder
from adln.errors import ModelFileError, SettingsError
from adln.strict import parse_json

T = TypeVar("T")

FOLDER = Path(__file__).parents[1] / "networks"
SHIPPED = ("res1", "res2")
DEFAULT = "res2"
TRACKING = "res1-tracking"
"""Res1 for crops of 96x48 px: for trackers, not for galleries."""
IN_PACKAGE = (*SHIPPED, TRACKING)
_MOST_REMEMBERED = 20
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def find_network(name: str | Path) -> Path:
    """The file of a network: the given path, unless it is a known name and no file exists there.

    Raises:
        ModelFileError: the argument can be neither.
    """
    if not isinstance(name, str | Path) or not str(name).strip():
        raise ModelFileError(
            f"expected the name or file of a network, such as {DEFAULT!r}, got {name!r}."
        )
    path = Path(name)
    # A folder may have the name of a network.
    if is_there(path):
        return path
    if str(name) in IN_PACKAGE:
        return FOLDER / f"{name}.onnx"
    return own_networks().get(str(name), path)


def own_networks() -> dict[str, Path]:
    """Networks added by the user: name -> file."""
    try:
        return _read_own()
    except SettingsError:
        return {}


def _read_own() -> dict[str, Path]:
    """Like `own_networks`, but a damaged list is an error: overwriting it would lose names."""
    return _read(
        _list_of_own(), Path, "names of your networks", "move it away and add the networks again"
    )


def _read(place: Path, kind: Callable[[Any], T], what: str, instead: str) -> dict[str, T]:
    """What a file of names says of each; a `SettingsError` if it is damaged."""
    if not is_there(place):
        return {}
    try:
        values = parse_json(place.read_text(encoding="utf-8"))
        return {str(name): kind(value) for name, value in values.items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise SettingsError(
            f"{place}: the {what} cannot be read ({error}). Repair the file, or {instead}."
        ) from error


def require_name(name: str) -> None:
    """Raise a `SettingsError` about a name that is shipped, or not of a-z, 0-9, dots, - and _."""
    if name in IN_PACKAGE or _NAME.fullmatch(name) is None:
        raise SettingsError(
            f"{name!r} cannot be the name of a network: choose one (--name) of lower-case letters, "
            f"digits, dots, dashes and underscores, other than {', '.join(IN_PACKAGE)}."
        )


def name_network(name: str, path: Path | None) -> None:
    """Give a file a name, or remove the name if the path is None; errors as of `require_name`."""
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
    """Assign a name to a new network, and remember the previous one.

    Returns:
        The file that had the name before; None if there was none.

    Raises:
        SettingsError: see `name_network`.
    """
    before = own_networks().get(name)
    if before == path.resolve():
        return before
    if before is not None:
        # Remembered first: an interruption between the two steps leaves an extra entry, but no
        # loss.
        _remember(name, [*_remembered().get(name, []), str(before)][-_MOST_REMEMBERED:])
    name_network(name, path)
    return before


def network_before(name: str) -> Path:
    """The network to which `roll_back` would return a name.

    Raises:
        SettingsError: there is no previous network, or its file is gone.
    """
    past = _past(name)
    if not past:
        raise SettingsError(
            f"{name!r} has had no other network before; `adln networks use FILE --name {name}` "
            "remembers the one it replaces."
        )
    path = Path(past[-1])
    if not path.is_file():
        raise SettingsError(
            f"{path}: the previous network of {name!r} no longer exists. Put it back, or "
            f"name another one with `adln networks use FILE --name {name}`."
        )
    return path


def roll_back(name: str) -> Path:
    """Return a name to its previous network, whose file is returned; see `network_before`."""
    path, past = network_before(name), _past(name)
    name_network(name, path)
    _remember(name, past[:-1])
    return path


def _past(name: str) -> list[str]:
    now = own_networks().get(name)
    return [path for path in _remembered().get(name, []) if path != str(now)]


def _remembered() -> dict[str, list[str]]:
    """Name -> its earlier files, most recent last."""
    return _read(
        _list_of_past(),
        lambda paths: [str(path) for path in paths],
        "earlier networks of your names",
        "move it away; `adln networks rollback` then knows none of them",
    )


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
