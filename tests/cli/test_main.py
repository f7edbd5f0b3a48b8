"""The first thing that people read: `adln --help`."""

import click
import pytest
from click.testing import CliRunner

from adln.cli.main import COMMANDS, GROUPS, adln


def test_help_fits_a_screen_and_lists_every_command_once() -> None:
    shown = CliRunner().invoke(adln, ["--help"], terminal_width=80).output
    lines = shown.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) < 80
    firsts = [line.split()[0] for line in lines if line.startswith("  ")]
    for name in COMMANDS:
        assert firsts.count(name) == 1
    for title in GROUPS:
        assert f"{title}:" in lines


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_can_be_loaded_and_is_explained(name: str) -> None:
    command = adln.get_command(click.Context(adln), name)
    assert command is not None
    assert command.help
