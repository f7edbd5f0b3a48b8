"""Settings as frozen dataclasses, read strictly from TOML: unknown keys are errors."""

import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from datetime import date, time
from difflib import get_close_matches
from functools import wraps
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, dataclass_transform, get_args, get_type_hints

from adln.errors import SettingsError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

S = TypeVar("S")
T = TypeVar("T", bound="DataclassInstance")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def settings(cls: type[S]) -> type[S]:
    """Make a settings class: a frozen, keyword-only dataclass that pydantic validates strictly."""
    if "__post_init__" in vars(cls):
        cls.__post_init__ = _collected(cls.__post_init__)  # type: ignore[attr-defined]
    cls.__pydantic_config__ = {  # type: ignore[attr-defined]
        "extra": "forbid",
        "strict": True,
        "allow_inf_nan": False,
    }
    return dataclass(frozen=True, kw_only=True)(cls)


class _RefusedError(SettingsError, ValueError):
    """Refused by a settings class itself; pydantic collects what is a ValueError."""


def _collected(check: Callable[[Any], None]) -> Callable[[Any], None]:
    @wraps(check)
    def collected(value: Any) -> None:
        try:
            check(value)
        except SettingsError as error:
            raise _RefusedError(str(error)) from error

    return collected


def read_settings(kind: type[T], path: Path | None, overrides: Sequence[str] = ()) -> T:
    """Read settings from a TOML file, or the defaults if `path` is None, then apply overrides.

    Args:
        kind: a class made by `settings`.
        path: of the file.
        overrides: "key=value" with a dotted key and a value in TOML, e.g. "schedule.epochs=3". Text
            needs no quotes, e.g. "detector.model=/data/yolox.onnx".

    Raises:
        SettingsError: missing or malformed file, unknown key, value of the wrong type.
    """
    values: dict[str, Any] = {}
    source = "settings"
    if path is not None:
        source = str(path)
        try:
            values = _parse_toml(path.read_text(encoding="utf-8-sig"))
        except FileNotFoundError as error:
            raise SettingsError(f"no such settings file: {path}") from error
        except (OSError, ValueError) as error:
            raise SettingsError(f"{path} is not a readable TOML file: {error}") from error
    for override in overrides:
        _merge(values, _parse_override(kind, override))
    return from_mapping(kind, values, source=source)


def changed(value: T, overrides: Sequence[str]) -> T:
    """Apply overrides to settings; see `read_settings`, also for errors."""
    values = asdict(value)
    for override in overrides:
        _merge(values, _parse_override(type(value), override))
    return from_mapping(type(value), values, source="--set")


def from_mapping(kind: type[T], values: Mapping[str, Any], *, source: str) -> T:
    """Build settings of a class made by `settings` from nested mappings of plain values.

    Raises:
        SettingsError: unknown key, value of the wrong type, or refused by the class itself; the
            message begins with `source`.
    """
    # Imported here because devices that read no settings may lack pydantic.
    from pydantic import TypeAdapter, ValidationError

    try:
        # Through JSON, for which strict mode accepts a list (as in TOML) for a tuple.
        return TypeAdapter(kind).validate_json(json.dumps(values, default=_as_text))
    except ValidationError as error:
        problems = [_problem(kind, problem) for problem in error.errors()]
        raise SettingsError(f"{source}: {'; '.join(problems)}.") from error
    except (TypeError, RecursionError) as error:
        raise SettingsError(
            f"{source}: a value cannot be written as TOML or JSON: {error}"
        ) from error


def require_between(value: object, *limits: tuple[float, float, Sequence[str]]) -> None:
    """Check numbers of a settings class, which would otherwise silently switch something off.

    Raises:
        SettingsError: see `outside`; all of them are named.
    """
    if problems := outside(value, *limits):
        raise SettingsError(f"{'; '.join(problems)} ({type(value).__name__}).")


def outside(value: object, *limits: tuple[float, float, Sequence[str]]) -> list[str]:
    """What is wrong with the attributes that are not in low..high, both included.

    Args:
        value: with the attributes.
        limits: lowest, highest, and the names of the attributes that they are for.
    """
    problems = []
    for low, high, names in limits:
        words = f"{low:g} or more" if high == inf else f"{low:g} to {high:g}"
        for name in names:
            given = getattr(value, name)
            if not low <= given <= high:
                problems.append(f"{name} must be {words}, got {given:g}")
    return problems


def _parse_toml(text: str) -> dict[str, Any]:
    """What TOML says; a ValueError if it is none, or nested too deeply."""
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _as_text(value: object) -> str:
    """A date or time that TOML allows without quotes, as text."""
    if isinstance(value, date | time):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} {value!r}")


def _parse_override(kind: type[Any], text: str) -> dict[str, Any]:
    key, equals, value = text.partition("=")
    try:
        if not equals:
            raise ValueError("no equals sign")
        bare = _bare_text(kind, key.strip().split("."), value)
        return _parse_toml(f"{key} = {value if bare is None else bare}")
    except ValueError as error:
        raise SettingsError(
            f'cannot read the setting {text!r}: {error}. Write it as in TOML: key=3, key="text".'
        ) from error


def _bare_text(kind: type[Any], keys: Sequence[str], value: str) -> str | None:
    """The value with TOML quotes, if text is expected and it has none; otherwise None."""
    place: Any = kind
    for key in keys:
        hints = get_type_hints(place) if is_dataclass(place) else {}
        if key not in hints:
            return None
        place = hints[key]
    try:
        given: Any = _parse_toml(f"value = {value}")["value"]
    except ValueError:
        given = None
    if place in (str, str | None) and not isinstance(given, str):
        return json.dumps(value.strip())
    if place == tuple[str, ...] and not isinstance(given, list):
        return json.dumps([given if isinstance(given, str) else value.strip()])
    return None


def _merge(values: dict[str, Any], more: Mapping[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, Mapping) and isinstance(values.get(key), dict):
            _merge(values[key], value)
        else:
            values[key] = value


def _problem(kind: type[Any], problem: Mapping[str, Any]) -> str:
    """Message about one of the errors of pydantic."""
    refused = problem.get("ctx", {}).get("error")
    if isinstance(refused, SettingsError):
        return str(refused).removesuffix(".")
    where = ".".join(map(str, problem["loc"])) or "settings"
    is_unknown = problem["type"] in ("extra_forbidden", "unexpected_keyword_argument")
    return f"{where}: {_unknown(kind, problem['loc']) if is_unknown else problem['msg']}"


def _unknown(kind: type[Any], place: Sequence[str | int]) -> str:
    """Message about an unknown key: the most similar keys, or all keys of its table."""
    *above, key = map(str, place)
    table, names = "".join(f"{name}." for name in above), _names_in(kind, place[:-1])
    near = [f"{table}{name}" for name in get_close_matches(key, names, n=2)]
    # It may belong to another table, or lack the name of its table.
    leaves = {known.rpartition(".")[2]: known for known in reversed(_keys(asdict(kind())))}
    near += [leaves[name] for name in get_close_matches(key, leaves, n=2)]
    if near:
        return f"unknown key; nearest is {' or '.join(dict.fromkeys(near))}"
    return f"unknown key; known here are {', '.join(names)}"


def _names_in(kind: type[Any], place: Sequence[str | int]) -> list[str]:
    """The keys of the table at a path of keys and indices."""
    table: Any = kind
    for step in place:
        if isinstance(step, str):
            inner = get_type_hints(table).get(step)
            # Unwraps optional tables and arrays of tables.
            table = next((one for one in (inner, *get_args(inner)) if is_dataclass(one)), None)
        if table is None:
            return []
    return [one.name for one in fields(table)]


def _keys(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    names: list[str] = []
    for key, value in values.items():
        names += _keys(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key}"]
    return names


def to_toml(value: "DataclassInstance") -> str:
    """Write settings, whose fields all have defaults, as TOML; what equals them is left out."""
    return "\n".join(_tables(value, "")) + "\n"


def _tables(value: "DataclassInstance", prefix: str) -> list[str]:
    default = type(value)()
    lines: list[str] = []
    below: list[str] = []
    for place in fields(value):
        given = getattr(value, place.name)
        if given == getattr(default, place.name):
            continue
        name = f"{prefix}{place.name}"
        if is_dataclass(given) and not isinstance(given, type):
            inner = _tables(given, f"{name}.")
            below += ["", f"[{name}]", *inner] if inner else []
        elif isinstance(given, tuple) and given and is_dataclass(given[0]):
            for one in given:
                below += ["", f"[[{name}]]", *_tables(one, f"{name}.")]
        else:
            lines.append(f"{place.name} = {json.dumps(given, ensure_ascii=False)}")
    return lines + below
