"""`adln`: the one command, with a sub-command for each job.

Each sub-command's module is imported only when it is asked for: help is instant, and a device needs
no torch.
"""

import importlib
import io
import os
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import Any

import click

from adln import __version__
from adln.errors import AdlnError, how_to_install

# What people want to do -> name -> (module with a click command of that name, a line of help).
GROUPS = {
    "Try it": {
        "demo": ("adln.cli.demo", "Draw people, train on them, evaluate, write a report."),
        "data": ("adln.cli.data", "Draw people to try things with, or check a data set."),
    },
    "Remember and find people": {
        "gallery": ("adln.cli.gallery", "Enrol people; list, name, merge and forget them."),
        "search": ("adln.cli.search", "Identify a picture: matched, candidate or unknown."),
        "serve": ("adln.cli.serve", "Serve a gallery: web page and HTTP API. Try --demo."),
        "tokens": ("adln.cli.tokens", "Manage the access tokens of a service."),
        "calibrate": ("adln.cli.calibrate", "Find the thresholds of matched and candidate."),
    },
    "Cameras": {
        "watch": ("adln.cli.watch", "Track and identify people in cameras and videos."),
        "frigate": ("adln.cli.frigate", "Name the people in the events of a Frigate."),
        "doctor": ("adln.cli.doctor", "Check if people can be told apart in a recording."),
        "adapt": ("adln.cli.adapt", "Adapt a gallery to its cameras, if tracks show a gain."),
        "track": ("adln.cli.track", "Track boxes of a detector (MOTChallenge files)."),
    },
    "Networks": {
        "networks": ("adln.cli.networks", "List networks; add any ONNX or OpenVINO network."),
        "embed": ("adln.cli.embed", "Embed pictures, or the people in a video."),
        "evaluate": ("adln.cli.evaluate", "Measure Rank-1, mAP and mINP on data sets."),
        "bench": ("adln.cli.bench", "Measure speed and memory on this machine."),
        "complexity": ("adln.cli.complexity", "Count parameters and FLOPs of Res1 to Res4."),
    },
    "Train": {
        "train": ("adln.cli.train", "Train a network with four exits, or resume a run."),
        "align": ("adln.cli.align", "Bring all depths of a network into one space."),
        "average": ("adln.cli.average", "Average networks trained on from one another."),
        "whiten": ("adln.cli.whiten", "Make strangers less alike to a trained network."),
        "export": ("adln.cli.export", "Export a depth to ONNX, OpenVINO or ncnn."),
    },
}
COMMANDS = {name: about for group in GROUPS.values() for name, about in group.items()}

# Signals of this process: what is interrupted within SQLite does not say by which.
_RECEIVED: list[int] = []

# Package that may be missing -> extra of pyproject.toml that brings it.
_EXTRA_OF = {
    "torch": "train",
    "lightning_fabric": "train",
    "safetensors": "train",
    "tensorboard": "train",
    "onnx": "export",
    "onnxscript": "export",
    "onnx_ir": "export",
    "cv2": "camera",
    "lap": "camera",
    "paho": "watch",
    "prometheus_client": "watch",
    "pydantic": "watch",
    "fastapi": "serve",
    "uvicorn": "serve",
    "segno": "serve",
    "sklearn": "cluster",
    "numkong": "gallery",
    "pymilvus": "milvus",
    "pyarrow": "parquet",
    "openvino": "openvino",
}


class LazyGroup(click.Group):
    """A group that imports a command when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order in which a newcomer meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(COMMANDS[cmd_name][0])
        command: click.Command = getattr(module, cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a signal is no failure, and has the exit status that shells give it."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            interrupt = error
        except click.Abort as error:
            # A question that a signal ends; others are answered no, or have no more input.
            if not isinstance(error.__context__, KeyboardInterrupt):
                raise
            interrupt = error.__context__
        except (AdlnError, ImportError) as error:
            if not _RECEIVED:
                raise
            if isinstance(error, AdlnError) and isinstance(error.__context__, KeyboardInterrupt):
                # What failed while a signal was handled, such as a removal.
                click.echo(f"\nerror: {error}", err=True)
            # Else what a library that is being imported makes of a signal: "not installed".
            interrupt = KeyboardInterrupt()
        with suppress(OSError):  # the terminal may be gone
            click.echo("\ninterrupted", err=True)
        return ctx.exit(128 + [signal.SIGINT, *_RECEIVED, *interrupt.args][-1])

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Commands first, without importing them, by what people want to do."""
        widest = max(map(len, COMMANDS))
        for title, group in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl(
                    [(name.ljust(widest), text) for name, (_, text) in group.items()]
                )
        formatter.write_paragraph()
        formatter.write_text("`adln COMMAND -h` explains a command; `adln --version` says which.")


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="adln")
def adln() -> None:
    """Person re-identification that runs where the cameras are.

    Start with `adln serve --demo` (in the browser) or `adln demo` (training).
    """


def main() -> None:
    """Run the command; an expected error becomes one line and exit status 1."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        # Closed by whoever started this (`<&-`); no file of ours may get its number either.
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        # The name of a file need not be in the encoding of the terminal, or in any.
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Ended like Ctrl-C, so that temporary files are removed; `nohup` stays in force.
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _interrupt)
    try:
        adln()
    except AdlnError as error:
        _fail(str(error))
    except ImportError as error:
        extra = _EXTRA_OF.get(_package(error))
        if extra is None:
            raise
        _fail(f"this needs {_package(error)}, which is not installed; {how_to_install(extra)}")
    except OSError as error:
        if error.errno is None:
            raise
        # Without a name it is where the output goes: a disk that is full, a terminal that is gone.
        _fail(f"{error.filename or 'output or input'}: {error.strerror or error}.")


class _SignalInterrupt(KeyboardInterrupt):
    """A signal. After a plain KeyboardInterrupt in an import, Python would end by SIGINT."""


def _interrupt(number: int, frame: FrameType | None) -> None:
    _RECEIVED.append(number)
    raise _SignalInterrupt(number)


def _package(error: ImportError) -> str:
    """The top-level package that is missing."""
    return (error.name or str(error)).split(" ")[0].split(".")[0]


def _fail(text: str) -> None:
    click.secho("error: ", fg="red", bold=True, err=True, nl=False)
    click.echo(text, err=True)
    sys.exit(1)
