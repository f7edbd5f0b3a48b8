"""Options and parameter types that several commands share."""

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

from adln.embedders.quality import QUALITIES
from adln.embedders.shipped import DEFAULT

UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0, "": 1.0}

_PATH, _FILE = click.Path(path_type=Path), click.Path(path_type=Path, dir_okay=False)
# Options and arguments that take the path of a file or folder; those of a file refuse a folder.
path, file = (partial(click.option, type=kind) for kind in (_PATH, _FILE))
path_argument, file_argument = (partial(click.argument, type=kind) for kind in (_PATH, _FILE))
folder = path_argument("folder")
# Options whose help shows their default, and options without a value.
shown = partial(click.option, show_default=True)
flag = partial(click.option, is_flag=True)

layout = shown(
    "--layout",
    default="auto",
    help="market1501, dukemtmc, msmt17, cuhk01, cuhk02, cuhk03, viper, prid2011, grid, ilids-vid, "
    "folder, csv, or auto.",
)
depths = click.option(
    "--depth",
    "depths",
    type=click.IntRange(1, 4),
    multiple=True,
    help="Only this depth; may be repeated. Default: all depths of the file.",
)
depth = click.option(
    "--depth", type=click.IntRange(1, 4), help="Depth; default: the deepest of the network."
)
quality = click.option(
    "--quality",
    type=click.Choice(QUALITIES),
    help="fast embeds people by Res1, best by Res2, balanced by Res2 where Res1 finds no match.  "
    "[default: best]",
)
as_json = flag("--json", "as_json", help="Print JSON for a program.")
quiet = flag("--quiet", help="Show no progress bar.")
device = shown(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    help="Where to compute.",
)


class NetworkOption(click.Option):
    """`--network`, which older command lines call `--model`; help shows the first name only."""

    def __init__(self, param_decls: Sequence[str] | None = None, **facts: Any) -> None:
        super().__init__([*(param_decls or ()), "--model"], **facts)

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """The line in the help of a command."""
        self.opts, known = [name for name in self.opts if name != "--model"], self.opts
        try:
            return super().get_help_record(ctx)
        finally:
            self.opts = known


def network(
    *, default: str | None = DEFAULT, help: str = "", multiple: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`--network`, as the parameter `network`, or `networks` if it may be repeated."""
    return path(
        "--network",
        "networks" if multiple else "network",
        cls=NetworkOption,
        default=default,
        show_default=default is not None,
        multiple=multiple,
        help=help or "Name or file of a network; see `adln networks`.",
    )


def duration(text: str) -> float:
    """Seconds of a time such as 540s, 9m, 2h, 30d or 4w; an option type for click."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw]?)", text.strip())
    if match is None:
        raise click.BadParameter(f"{text!r} is not a duration; write 540s, 9m, 2h, 30d or 4w.")
    return float(match[1]) * UNITS_S[match[2]]
