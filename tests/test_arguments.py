"""What a wrong type of argument says."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import pytest

from adln.arguments import checked
from adln.errors import SettingsError


@dataclass(frozen=True)
class Record:
    number: int = 0


@runtime_checkable
class Speaker(Protocol):
    def __call__(self) -> str: ...


@checked(SettingsError)
def ask(
    names: Iterable[str] | str = (),
    *,
    is_loud: bool = False,
    record: Record | None = None,
    path: str | Path = "",
    speaker: Speaker | None = None,
    share: float = 0.5,
    kind: Literal["one", "two"] = "one",
    rows: Sequence[int] = (),
) -> int:
    """Goes wrong as Python does."""
    if kind not in ("one", "two"):
        raise ValueError(kind)
    return len(list(names)) + len(str(path)) + int(share + sum(rows))


@pytest.mark.parametrize(
    "right",
    [
        {"names": "ab"},
        {"names": ["a", "b"], "is_loud": np.bool_(True)},
        {"record": Record(), "path": Path("a"), "speaker": lambda: "a", "share": np.float32(0.1)},
        {"rows": np.array([1, 2])},
        {"share": 1},
    ],
)
def test_what_fits_is_handed_on(right: dict[str, Any]) -> None:
    assert ask(**right) >= 0


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"is_loud": "no"}, r"is_loud: expected bool, got 'no' \(str\)"),
        ({"is_loud": 1}, "is_loud: expected bool, got 1"),
        ({"record": {}}, r"record: expected Record or None, got {} \(dict\)"),
        ({"speaker": 5}, "speaker: expected Speaker or None, got 5"),
        ({"names": None}, "names: expected an iterable of str or str, got None"),
        ({"names": 3}, "names: expected an iterable of str or str, got 3"),
        ({"share": "x"}, "share: expected float, got 'x'"),
        ({"kind": "three"}, "kind: expected 'one' or 'two', got 'three'"),
        ({"rows": ["x"]}, r"rows: expected an iterable of int, got \['x'\]"),
    ],
)
def test_what_does_not_fit_is_named_with_what_was_expected(
    wrong: dict[str, Any], said: str
) -> None:
    with pytest.raises(SettingsError, match=said):
        ask(**wrong)


def test_a_fault_that_no_argument_explains_stays_what_it_is() -> None:
    @checked(SettingsError)
    def fail(name: str) -> None:
        raise ValueError(name)

    with pytest.raises(ValueError, match="a"):
        fail("a")
    with pytest.raises(TypeError, match="missing"):
        fail()  # type: ignore[call-arg]


def test_methods_and_generators_of_a_class_are_checked() -> None:
    @checked(SettingsError)
    class Counter:
        def __init__(self, *, is_up: bool = True) -> None:
            self._is_up = is_up

        def numbers(self, count: int) -> Iterator[int]:
            yield from range(count)

    wrong: Any = "no"
    with pytest.raises(SettingsError, match="is_up: expected bool"):
        Counter(is_up=wrong)
    with pytest.raises(SettingsError, match="count: expected int"):
        Counter().numbers(wrong)
    assert list(Counter().numbers(2)) == [0, 1]
