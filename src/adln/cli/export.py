"""`adln export`: a trained network as a file for small devices, proved before it is written."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adln.atomic import suffix_of
from adln.cli import options
from adln.cli.progress import counting, mention, print_json
from adln.datasets.catalogue import open_dataset
from adln.manifest import PRECISIONS

if TYPE_CHECKING:
    from adln.export.exporting import ExportedFile


def some_depths(text: str) -> tuple[int, ...]:
    """Depths such as 2 or 2,3,4; an option type for click."""
    pieces = text.split(",")
    if not all(piece.strip() in ("1", "2", "3", "4") for piece in pieces):
        raise click.BadParameter(f"{text!r} are not depths; write 2, or 2,3,4.")
    return tuple(sorted({int(piece) for piece in pieces}))


@click.command()
@options.path_argument("network")
@click.option(
    "--depth",
    "--depths",
    "depths",
    type=some_depths,
    metavar="DEPTHS",
    required=True,
    help="Where to cut, 1 to 4. Several (2,3,4) give one file that answers all in one pass.",
)
@options.shown(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="fp32",
    help="int8 is about three times as fast; fp16 halves the file and is for GPUs.",
)
@options.path(
    "--out", required=True, help="File to write: .onnx, .xml for OpenVINO, or .param for ncnn."
)
@options.path(
    "--calibrate",
    help="Folder of crops, or a data set: measures the ranges of int8, and proves the file.",
)
@options.path(
    "--data",
    help="Data set on which Rank-1 and mAP of file and network are compared too.",
)
@options.layout
@options.flag(
    "--split",
    "split_files",
    help="A file for each depth, each going on from the map of the one before.",
)
@click.option("--licence", default="", help="Terms of weights and data, kept in the file.")
@options.flag("--json", "as_json", help="Print the manifests as JSON for a program.")
def export(
    network: Path, out: Path, data: Path | None, layout: str, as_json: bool, **how: Any
) -> None:
    """Write NETWORK, cut at a depth, as a file for a device without torch.

    The file is compared with the network crop by crop, at batch 1, 7 and 32. If the outputs differ,
    nothing is written.
    """
    from adln.export.exporting import export_network

    dataset = open_dataset(data, layout) if data is not None else None
    # Both the network and the file embed them.
    pictures = 2 * (len(dataset.query) + len(dataset.gallery)) if dataset is not None else 0
    with counting(pictures, "embedding", quiet=as_json or dataset is None) as on_progress:
        files = export_network(
            network,
            out,
            dataset=dataset,
            on_step=None if as_json else mention,
            on_progress=on_progress,
            **how,
        )
    if as_json:
        rows = [{"path": str(file.path), **asdict(file.manifest)} for file in files]
        print_json(rows, indent=1)
        return
    for file in files:
        _report(file)


def _report(file: "ExportedFile") -> None:
    from adln.export.saturation import LARGEST_SUM

    # All but ONNX keep their weights beside the file.
    more = [] if suffix_of(file.path) == ".onnx" else [file.path.with_suffix(".bin")]
    size_mb = sum(path.stat().st_size for path in (file.path, *more)) / 1e6
    click.echo(f"{file.path}  {size_mb:.1f} MB, {file.manifest.precision}")
    pairs = file.manifest.pairs
    if pairs is not None:
        click.echo(
            f"  {pairs.products} products of bytes, none overflows on any processor: sums of two "
            f"reach {pairs.largest_sum} of {LARGEST_SUM}"
        )
    for row in file.manifest.parity:
        click.echo(
            f"  Res{row.depth} batch {row.batch_size:>2}: cosine to torch least {row.least:.5f}, "
            f"mean {row.mean:.5f}, first percentile {row.first_percentile:.5f}"
        )
    for accuracy in file.manifest.accuracy:
        click.echo(
            f"  Res{accuracy.depth} on {accuracy.dataset}: "
            f"Rank-1 {accuracy.rank1:.1%} (torch {accuracy.torch_rank1:.1%}), "
            f"mAP {accuracy.mean_ap:.1%} (torch {accuracy.torch_mean_ap:.1%})"
        )
    for space in dict.fromkeys(file.manifest.spaces):
        depths = [d for d in file.manifest.depths if file.manifest.space_of(d) == space]
        names = ", ".join(f"Res{depth}" for depth in depths)
        shared = ", can be compared with each other" if len(depths) > 1 else ""
        click.echo(f"  {names} in space {space}{shared}")
