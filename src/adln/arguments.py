"""Checks the arguments of the Python API against their annotations, in one place."""

import inspect
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import is_dataclass
from functools import wraps
from numbers import Real
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import numpy as np

from adln.errors import AdlnError

T = TypeVar("T")

_SHOWN = 80  # characters of a value in a message


def checked(raises: type[AdlnError]) -> Callable[[T], T]:
    """Decorate a function, or the public methods of a class.

    Options that are True or False, records such as a filter, and objects with certain methods are
    checked before the call: a wrong one may be taken for another value, or fail much later. Other
    arguments are checked when the call fails with an error that Python raises for a wrong type, or
    before the first result of a generator. The error is of the class `raises` and names the
    argument, what was expected and what came.
    """

    def decorate(one: T) -> T:
        if not isinstance(one, type):
            function: T = _checked_function(one, raises)
            return function
        for name, method in list(vars(one).items()):
            if inspect.isfunction(method) and (name == "__init__" or not name.startswith("_")):
                setattr(one, name, _checked_function(method, raises))
        return one

    return decorate


def _checked_function(function: Any, raises: type[AdlnError]) -> Any:
    signature = inspect.signature(function)
    kinds = {name: one.annotation for name, one in signature.parameters.items()}
    is_generator = inspect.isgeneratorfunction(function)
    before = {name: kind for name, kind in kinds.items() if is_generator or _is_unsafe(kind)}

    def refuse(wanted: Mapping[str, Any], args: Any, given: Any, cause: Exception | None) -> None:
        try:
            values = signature.bind(*args, **given).arguments
        except TypeError:
            # Python says which argument is missing or unknown.
            return
        for name, kind in wanted.items():
            if name in values and not _fits(values[name], kind):
                value = values[name]
                raise raises(
                    f"{name}: expected {_words(kind)}, got {value!r:.{_SHOWN}} "
                    f"({type(value).__name__})."
                ) from cause

    @wraps(function)
    def call(*args: Any, **given: Any) -> Any:
        if before:
            refuse(before, args, given, None)
        try:
            return function(*args, **given)
        except (AttributeError, TypeError, ValueError) as error:
            refuse(kinds, args, given, error)
            raise

    return call


def _is_unsafe(kind: Any) -> bool:
    """Whether a value of another type may go unnoticed for a while."""
    if get_origin(kind) in (Union, UnionType):
        return any(map(_is_unsafe, get_args(kind)))
    is_record = isinstance(kind, type) and is_dataclass(kind)
    return kind is bool or is_record or getattr(kind, "_is_runtime_protocol", False)


def _fits(value: object, kind: Any) -> bool:
    """Whether a value is of an annotated type; True for types that are checked elsewhere."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return any(_fits(value, part) for part in parts)
    if origin is Literal:
        return isinstance(value, str) and value in parts
    if isinstance(kind, TypeVar):
        return _fits(value, kind.__bound__)
    if kind in (None, NoneType):
        return value is None
    if isinstance(origin, type) and issubclass(origin, Iterable) and origin is not np.ndarray:
        if not isinstance(value, Iterable):
            return False
        # What can be gone through only once is left alone.
        is_looked_into = isinstance(value, Collection) and len(parts) == 1
        return not is_looked_into or all(_fits(each, parts[0]) for each in value)
    if not isinstance(kind, type) or kind in (Any, inspect.Parameter.empty):
        return True
    if kind is bool:
        return isinstance(value, bool | np.bool_)
    if kind is int:
        return hasattr(value, "__index__")
    if kind is float:
        return isinstance(value, Real)
    if issubclass(kind, os.PathLike):
        return isinstance(value, os.PathLike)
    if getattr(kind, "_is_protocol", False):
        return not getattr(kind, "_is_runtime_protocol", False) or isinstance(value, kind)
    return isinstance(value, kind)


def _words(kind: Any) -> str:
    """An annotated type, for a message."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return " or ".join(map(_words, parts))
    if origin is Literal:
        return " or ".join(map(repr, parts))
    if isinstance(kind, TypeVar):
        return _words(kind.__bound__)
    if kind in (None, NoneType):
        return "None"
    if len(parts) == 1:
        return f"an iterable of {_words(parts[0])}"
    if getattr(kind, "_is_protocol", False) and kind.__annotations__:
        return f"an object with {', '.join(kind.__annotations__)}"
    return str(getattr(kind, "__name__", kind))
