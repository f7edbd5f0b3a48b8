"""`adln`: the one command, with a sub-command for each job.

Each sub-command's module is imported only when it is asked for, so that help is instant and a
device without torch can run what needs none.
"""

import importlib
import sys

import click

from adln import __version__
from adln.errors import AdlnError, how_to_install

# name -> (module with a click command of that name, one line of help)
COMMANDS = {
    "demo": ("adln.cli.demo", "Draw people, train on them, evaluate four depths, write a report."),
    "data": ("adln.cli.data", "Check a data set, or draw people."),
    "train": ("adln.cli.train", "Train the network; go on where a run was interrupted."),
    "evaluate": ("adln.cli.evaluate", "Rank-1, mAP and mINP of a network at every depth."),
    "calibrate": ("adln.cli.calibrate", "Which score means the same person, at which risk."),
    "export": ("adln.cli.export", "Write a depth as ONNX, proved against the network."),
    "embed": ("adln.cli.embed", "Features of pictures by an exported network."),
    "gallery": ("adln.cli.gallery", "Who was seen: enrol, list, merge, forget, retain."),
    "adapt": ("adln.cli.adapt", "Adapt a gallery to its cameras, if their tracks show a gain."),
    "search": ("adln.cli.search", "Find who a picture shows, in a gallery."),
    "serve": ("adln.cli.serve", "HTTP API and web page over a gallery."),
    "tokens": ("adln.cli.tokens", "Who may use a service."),
    "networks": ("adln.cli.networks", "The networks that are there; add one of another make."),
    "bench": ("adln.cli.bench", "Speed and memory of networks on this machine."),
    "track": ("adln.cli.track", "Follow a detector's boxes: det.txt in, result.txt out."),
    "watch": ("adln.cli.watch", "Watch cameras: who is where, and who was where before."),
    "frigate": ("adln.cli.frigate", "Say who the people of the events of a Frigate are."),
    "doctor": ("adln.cli.doctor", "Does re-identification do anything on your recording?"),
    "align": ("adln.cli.align", "Put a network's depths into one space, to mix them."),
    "complexity": ("adln.cli.complexity", "Parameters and operations of the four depths."),
}

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

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="adln")
def adln() -> None:
    """Person re-identification that runs where the cameras are.

    One network is trained and cut at four depths, Res1 to Res4. Start with `adln demo`.
    """


def main() -> None:
    """Run the command; an expected error becomes one line and exit status 1."""
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
        if error.filename is None:
            raise
        _fail(f"{error.filename}: {error.strerror or error}.")


def _package(error: ImportError) -> str:
    """The top-level package that is missing."""
    return (error.name or str(error)).split(" ")[0].split(".")[0]


def _fail(text: str) -> None:
    click.secho("error: ", fg="red", bold=True, err=True, nl=False)
    click.echo(text, err=True)
    sys.exit(1)
