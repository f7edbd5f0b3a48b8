"""Options and parameter types that several commands share."""

import re
from pathlib import Path

import click

UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0, "": 1.0}

data_option = click.option(
    "--data",
    "data_path",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder or CSV of the data set.",
)
layout_option = click.option(
    "--layout",
    default="auto",
    show_default=True,
    help="market1501, dukemtmc, msmt17, folder, csv, or auto to recognise it.",
)
device_option = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where to compute.",
)


def duration(text: str) -> float:
    """Seconds of a time such as 540s, 9m, 2h, 30d or 4w; an option type for click."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw]?)", text.strip())
    if match is None:
        raise click.BadParameter(f"{text!r} is not a time; write 540s, 9m, 2h, 30d or 4w.")
    return float(match[1]) * UNITS_S[match[2]]


def clock(seconds: float) -> str:
    """Seconds as a person reads them: 42 s, 3:07 min, 2:15 h."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d} min"
    return f"{minutes // 60}:{minutes % 60:02d} h"
