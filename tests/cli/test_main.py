"""The first thing that people read: `adln --help`."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

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


def test_ctrl_c_is_one_word_and_no_failure_of_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    command = click.Command("embed", callback=interrupt)
    monkeypatch.setattr(type(adln), "get_command", lambda *_: command)
    result = CliRunner().invoke(adln, ["embed"])
    assert (result.exit_code, result.output.split()) == (130, ["interrupted"])


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_ends_a_command_and_leaves_no_temporary_files(tmp_path: Path, name: str) -> None:
    code = f"""
import os, signal, tempfile, time
import click
from adln.cli import main

def work():
    with tempfile.TemporaryDirectory(dir={str(tmp_path)!r}):
        os.kill(os.getpid(), signal.{name})
        time.sleep(10)

main.LazyGroup.get_command = lambda *_: click.Command("embed", callback=work)
# A shell hands SIGINT on as ignored to what it runs in the background, nohup SIGHUP.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
main.main()
"""
    run = subprocess.run([sys.executable, "-c", code, "embed"], capture_output=True, text=True)
    assert run.returncode == 128 + signal.Signals[name]
    assert run.stderr == "\ninterrupted\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_at_a_question_ends_like_anywhere_else(name: str) -> None:
    code = """
import signal
import click
from adln.cli import main

def ask():
    click.confirm("Sure?", abort=True, err=True)

main.LazyGroup.get_command = lambda *_: click.Command("embed", callback=ask)
signal.signal(signal.SIGINT, signal.default_int_handler)
main.main()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code, "embed"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        assert run.stderr is not None
        question = "Sure? [y/N]: "
        assert run.stderr.read(len(question)) == question
        for _ in range(10):
            run.send_signal(signal.Signals[name])
            # Just before the reading, Python keeps a signal until something else wakes it.
            with suppress(subprocess.TimeoutExpired):
                run.wait(timeout=2)
                break
        assert run.returncode == 128 + signal.Signals[name]
        assert run.stderr.read() == "\ninterrupted\n"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("KeyboardInterrupt", ""),
        ("ImportError('openvino')", ""),
        ("AdlnError('half of it is still there')", "\nerror: half of it is still there\n"),
    ],
)
def test_an_interruption_that_lost_its_signal_ends_with_it_nevertheless(
    error: str, said: str
) -> None:
    code = f"""
import os, signal, time
import click
from adln.cli import main
from adln.errors import AdlnError

def work():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
    except KeyboardInterrupt:
        raise {error} from None

main.LazyGroup.get_command = lambda *_: click.Command("embed", callback=work)
main.main()
"""
    run = subprocess.run([sys.executable, "-c", code, "embed"], capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (143, f"{said}\ninterrupted\n")


@pytest.mark.parametrize("answer", ["n\n", ""])
def test_a_question_that_is_not_answered_yes_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    command = click.Command("embed", callback=lambda: click.confirm("Sure?", abort=True))
    monkeypatch.setattr(type(adln), "get_command", lambda *_: command)
    result = CliRunner().invoke(adln, ["embed"], input=answer)
    assert result.exit_code == 1
    assert "Aborted!" in result.output


@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_fault(closed: str) -> None:
    code = """
import sys
import click
from adln.cli import main

def work():
    assert not any(one.isatty() for one in (sys.stdin, sys.stdout, sys.stderr))
    click.echo("told")
    click.confirm("Sure?", abort=True, err=True)

main.LazyGroup.get_command = lambda *_: click.Command("embed", callback=work)
main.main()
"""
    shell = f'exec "$0" -c "$1" embed {closed}'
    run = subprocess.run(
        ["sh", "-c", shell, sys.executable, code],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1
    assert run.stderr in ("", "Sure? [y/N]: Aborted!\n", "Sure? [y/N]: \nAborted!\n")


@pytest.mark.parametrize("to_error", [False, True])
def test_names_of_files_that_are_in_no_encoding_are_escaped(to_error: bool) -> None:
    code = f"""
import click
from adln.cli import main
work = lambda: click.echo("caf\\udce9", err={to_error})
main.LazyGroup.get_command = lambda *_: click.Command("embed", callback=work)
main.main()
"""
    run = subprocess.run(
        [sys.executable, "-c", code, "embed"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"},
    )
    assert (run.returncode, run.stdout + run.stderr) == (0, b"caf\\udce9\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_output_that_goes_nowhere_is_one_line_and_no_traceback() -> None:
    with Path("/dev/full").open("w") as full:
        run = subprocess.run(
            [sys.executable, "-m", "adln", "--help"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert run.returncode == 1
    assert run.stderr == "error: output or input: No space left on device.\n"
