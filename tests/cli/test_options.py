import click
import pytest

from adln.cli.gallery_rules import _keep
from adln.cli.options import duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("540s", 540), ("9m", 540), ("2h", 7200), ("30d", 2_592_000), ("1.5w", 907_200), ("7", 7)],
)
def test_times_are_written_alike_everywhere(text: str, seconds: float) -> None:
    assert duration(text) == seconds
    if not text.isdigit():
        assert _keep(text) == seconds


@pytest.mark.parametrize("text", ["", "3x", "d", "-3d", "1h30m"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="write 540s"):
        duration(text)
