"""Reads JSON strictly: nothing is converted, left out or made up.

For files that a device reads, which need not have pydantic; see `adln.settings` for settings.
"""

import json
from dataclasses import MISSING, fields, is_dataclass
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from adln.errors import ModelFileError

T = TypeVar("T")


def parse_json(text: str | bytes) -> Any:
    """What JSON from elsewhere says; a ValueError if it is none, or nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def read_strictly(kind: type[T], values: object, where: str) -> T:
    """Build a dataclass from what JSON gave.

    It is a dataclass of numbers, texts, tuples of one type, other such dataclasses, and each of
    them or None. A Literal is any text here: the class refuses what it does not know.

    Raises:
        ModelFileError: a key is unknown or missing, or a value is of another type; the message
            begins with `where`.
    """
    expected = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    keys = f"it should have the keys {sorted(expected)}"
    if not isinstance(values, dict):
        raise ModelFileError(f"{where} is {values!r}, expected an object; {keys}")
    unknown = sorted(values.keys() - expected.keys())
    missing = sorted(
        name for name in expected.keys() - values.keys() if expected[name].default is MISSING
    )
    if unknown or missing:
        raise ModelFileError(
            f"{where} has unknown keys {unknown}; {keys}"
            if unknown
            else f"{where} lacks {missing}; {keys}"
        )
    types = get_type_hints(kind)
    return kind(
        **{name: _value(types[name], value, f"{where}.{name}") for name, value in values.items()}
    )


def _value(kind: Any, value: object, where: str) -> Any:
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        if value is None:
            return None
        (kind,) = (part for part in parts if part is not type(None))
        return _value(kind, value, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise ModelFileError(f"{where} is {value!r}, expected a list")
        return tuple(_value(parts[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if is_dataclass(kind) and isinstance(kind, type):
        return read_strictly(kind, value, where)
    plain: type = str if origin is Literal else kind
    accepted = (float, int) if plain is float else (plain,)
    if not isinstance(value, accepted) or (isinstance(value, bool) and plain is not bool):
        names = " or ".join(one.__name__ for one in accepted)
        raise ModelFileError(f"{where} is {value!r}, expected {names}")
    return value
