"""Settings as frozen dataclasses, read strictly from TOML.

A key that is not known, or a value of another type, is an error that names file and key: a typing
mistake never turns into a silent default.
"""

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, dataclass_transform

from adln.errors import SettingsError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

S = TypeVar("S")
T = TypeVar("T", bound="DataclassInstance")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def settings(cls: type[S]) -> type[S]:
    """Make a class of settings: a frozen dataclass, keywords only, that pydantic reads strictly."""
    cls.__pydantic_config__ = {"extra": "forbid", "strict": True}  # type: ignore[attr-defined]
    return dataclass(frozen=True, kw_only=True)(cls)


def read_settings(kind: type[T], path: Path | None, overrides: Sequence[str] = ()) -> T:
    """Read settings from a TOML file, then apply overrides.

    Args:
        kind: a class made by `settings`.
        path: TOML file; all defaults if left out.
        overrides: "key=value" with dots for tables and values in TOML, e.g. "schedule.epochs=3".

    Raises:
        SettingsError: missing or malformed file, unknown key, value of the wrong type.
    """
    values: dict[str, Any] = {}
    source = "defaults"
    if path is not None:
        source = str(path)
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        except FileNotFoundError as error:
            raise SettingsError(f"no such settings file: {path}") from error
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise SettingsError(f"{path} is not a readable TOML file: {error}") from error
    for override in overrides:
        _merge(values, _parse_override(override))
    return from_mapping(kind, values, source=source)


def from_mapping(kind: type[T], values: Mapping[str, Any], *, source: str) -> T:
    """Build settings from nested mappings of plain values.

    Args:
        kind: a class made by `settings`.
        values: as TOML or JSON gives them.
        source: named in errors.

    Raises:
        SettingsError: unknown key, value of the wrong type, or refused by the class itself.
    """
    # Imported here because a device that reads no settings need not have pydantic.
    from pydantic import TypeAdapter, ValidationError

    try:
        # Through JSON, because strict mode then takes a list for a tuple, as TOML writes it.
        return TypeAdapter(kind).validate_json(json.dumps(values))
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, problem['loc'])) or 'settings'}: "
            + (
                "unknown key"
                if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument")
                else problem["msg"]
            )
            for problem in error.errors()
        ]
        raise SettingsError(
            f"{source}: {'; '.join(problems)}. Known keys: {', '.join(_keys(asdict(kind())))}"
        ) from error
    except TypeError as error:
        raise SettingsError(f"{source}: a value has no place in TOML or JSON: {error}") from error


def _parse_override(text: str) -> dict[str, Any]:
    key, equals, value = text.partition("=")
    try:
        if not equals:
            raise ValueError("no equals sign")
        return tomllib.loads(f"{key} = {value}")
    except ValueError as error:
        raise SettingsError(
            f'cannot read the setting {text!r}: {error}. Write it as in TOML: key=3, key="text".'
        ) from error


def _merge(values: dict[str, Any], more: Mapping[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, Mapping) and isinstance(values.get(key), dict):
            _merge(values[key], value)
        else:
            values[key] = value


def _keys(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    names: list[str] = []
    for key, value in values.items():
        names += _keys(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key}"]
    return names
