"""`adln evaluate`: Table 1 of the paper for a network of your own."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from adln.cli.options import data_option, device_option, layout_option
from adln.cli.progress import counting

if TYPE_CHECKING:
    from adln.embeddings import Embedder

ONNX_SUFFIXES = (".onnx",)


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@data_option
@layout_option
@click.option(
    "--depth",
    "depths",
    type=click.IntRange(1, 4),
    multiple=True,
    help="Only this depth; may be repeated. All that the file has if left out.",
)
@click.option(
    "--flip/--no-flip",
    default=True,
    show_default=True,
    help="Average with the mirrored crop, as the paper does; twice the work.",
)
@click.option("--rerank", is_flag=True, help="Also rank after k-reciprocal re-ranking.")
@click.option("--bf16", is_flag=True, help="Compute in bfloat16 (torch networks).")
@click.option("--batch-size", type=click.IntRange(1), default=64, show_default=True)
@device_option
@click.option(
    "--report",
    "report_folder",
    type=click.Path(path_type=Path),
    help="Also write a page with ranked lists, the table and JSON into this folder.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for a program.")
def evaluate(
    model: Path,
    data_path: Path,
    layout: str,
    depths: tuple[int, ...],
    flip: bool,
    rerank: bool,
    bf16: bool,
    batch_size: int,
    device: str,
    report_folder: Path | None,
    as_json: bool,
) -> None:
    """Rank-1, mAP and mINP of MODEL at every depth, by the protocol of Market-1501.

    MODEL is a network written by `adln train` (.safetensors), or an exported one (.onnx), which
    needs no torch.
    """
    from adln.datasets.catalogue import open_dataset
    from adln.evaluation.protocol import evaluate as run
    from adln.evaluation.report import make_report

    dataset = open_dataset(data_path, layout)
    wanted = tuple(sorted(set(depths)))
    params: dict[int, int] = {}
    flops: dict[int, int] = {}
    if model.suffix in ONNX_SUFFIXES:
        embedder = _open_exported(model, wanted, flip=flip)
    else:
        embedder, params, flops = _open_trained(model, wanted, device=device, flip=flip, bf16=bf16)
    pictures = len(dataset.query) + len(dataset.gallery)
    with counting(pictures, "embedding", quiet=as_json) as on_progress:
        evaluation = run(
            embedder,
            dataset.query,
            dataset.gallery,
            batch_size=batch_size,
            rerank=rerank,
            on_progress=on_progress,
        )
    report = make_report(
        evaluation,
        dataset=dataset.name,
        flip=flip,
        params=params,
        flops=flops,
        command=shlex.join(["adln", *sys.argv[1:]]),
        notes=[dataset.notice] if dataset.notice else [],
    )
    if report_folder is not None:
        from adln.cli.report_files import write_report

        page = write_report(report_folder, report, evaluation)
        click.echo(f"report: {page}", err=True)
    click.echo(report.to_json() if as_json else report.to_text())


def _open_trained(
    path: Path, depths: tuple[int, ...], *, device: str, flip: bool, bf16: bool
) -> tuple["Embedder", dict[int, int], dict[int, int]]:
    """A network in torch, and size and work of its depths."""
    import torch

    from adln.model.checkpoint import load_network
    from adln.model.complexity import count_exits
    from adln.model.embedder import TorchEmbedder

    network = load_network(path, exits=depths or None)
    counts = count_exits(network)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    embedder = TorchEmbedder(network, device=device, flip=flip, bf16=bf16)
    params = {depth: counted.params for depth, counted in counts.items()}
    flops = {depth: counted.flops for depth, counted in counts.items()}
    return embedder, params, flops


def _open_exported(path: Path, depths: tuple[int, ...], *, flip: bool) -> "Embedder":
    """An exported network, on the device's own runtime."""
    from adln.errors import ModelFileError
    from adln.runtime.embedder import OnnxEmbedder

    embedder = OnnxEmbedder(path, flip=flip)
    if depths and depths != embedder.depths:
        raise ModelFileError(
            f"{path} holds depth {list(embedder.depths)}, asked for {list(depths)}. "
            "Leave --depth out, or export that depth."
        )
    return embedder
