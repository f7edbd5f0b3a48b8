"""What is read from JSON is what was written, or refused."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import pytest

from adln.errors import ModelFileError
from adln.strict import parse_json, read_strictly


@dataclass(frozen=True)
class Row:
    share: float
    kind: Literal["a", "b"] = "a"


@dataclass(frozen=True)
class Table:
    rows: tuple[Row, ...]
    sizes: tuple[int, ...] = ()
    best: Row | None = None
    is_whole: bool = True


TABLE = Table((Row(0.5), Row(1, "b")), sizes=(1, 2), best=Row(0.25))


def plain(**changes: Any) -> dict[str, Any]:
    values = asdict(TABLE)
    values["rows"] = [dict(row) for row in values["rows"]]
    return {**values, "sizes": list(TABLE.sizes), **changes}


def test_what_was_written_is_read_again() -> None:
    assert read_strictly(Table, plain(), "table") == TABLE
    assert read_strictly(Table, {"rows": [], "best": None}, "table") == Table(())


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ([], "table is .*, expected an object"),
        ({}, r"table lacks \['rows'\]; it should have the keys"),
        (plain(colour=1), r"table has unknown keys \['colour'\]"),
        (plain(rows=[{"share": "1"}]), r"table\.rows\[0\]\.share is '1', expected float or int"),
        (plain(rows={}), r"table\.rows is .*, expected a list"),
        (plain(sizes=[True]), r"table\.sizes\[0\] is True, expected int"),
        (plain(is_whole=1), r"table\.is_whole is 1, expected bool"),
        (plain(best=2), r"table\.best is 2, expected an object"),
        (plain(rows=[{"share": 1, "kind": 3}]), r"\.kind is 3, expected str"),
    ],
)
def test_everything_else_is_refused_with_its_place(values: object, complaint: str) -> None:
    with pytest.raises(ModelFileError, match=complaint):
        read_strictly(Table, values, "table")


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, b"\xff"])
def test_what_is_no_json_is_one_kind_of_error(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_json(text)
