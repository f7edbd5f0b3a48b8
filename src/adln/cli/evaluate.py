"""`adln evaluate`: Table 1 of the paper for a network of your own."""

import json
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from adln.cli.embedders import is_exported, open_chain, open_trained
from adln.cli.options import data_option, device_option, layout_option
from adln.cli.progress import counting

if TYPE_CHECKING:
    from adln.embeddings import Embedder
    from adln.evaluation.cascade import CascadeResult, StageCosts
    from adln.evaluation.open_set import OpenSetResult
    from adln.evaluation.protocol import Evaluation


@click.command()
@click.argument(
    "models", metavar="MODEL...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
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
@click.option(
    "--open-set",
    "with_open_set",
    is_flag=True,
    help="Also judge pairs and searches with a threshold: TPR@FPR and DIR@FAR.",
)
@click.option(
    "--cross-depth",
    is_flag=True,
    help="Also search with the queries of each depth in the gallery of each.",
)
@click.option(
    "--cascade",
    "with_cascade",
    is_flag=True,
    help="Also let only unsure queries go from the least depth to the greatest: mAP against cost.",
)
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
    models: tuple[Path, ...],
    data_path: Path,
    layout: str,
    depths: tuple[int, ...],
    flip: bool,
    rerank: bool,
    with_open_set: bool,
    cross_depth: bool,
    with_cascade: bool,
    bf16: bool,
    batch_size: int,
    device: str,
    report_folder: Path | None,
    as_json: bool,
) -> None:
    """Rank-1, mAP and mINP of MODEL at every depth, by the protocol of Market-1501.

    MODEL is a network written by `adln train` (.safetensors), or an exported one (.onnx), which
    needs no torch: a file, or res1 or res2, which come with adln. Several MODELs are the files of
    one split export, from the shallowest on.
    """
    from adln.atomic import require_writable
    from adln.datasets.catalogue import open_dataset
    from adln.errors import SettingsError
    from adln.evaluation.cross_depth import evaluate_cross_depth
    from adln.evaluation.protocol import evaluate as run
    from adln.evaluation.report import make_report

    if report_folder is not None:
        require_writable(report_folder, raises=SettingsError, folder=True)
    dataset = open_dataset(data_path, layout)
    wanted = tuple(sorted(set(depths)))
    params: dict[int, int] = {}
    flops: dict[int, int] = {}
    embedder: Embedder
    if len(models) > 1 or is_exported(models[0]):
        embedder = open_chain(models, wanted, flip=flip)
    else:
        embedder, params, flops = open_trained(
            models[0], wanted, device=device, flip=flip, bf16=bf16
        )
    if with_cascade:
        _require_two_depths(embedder)
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
        cross_depth=evaluate_cross_depth(evaluation) if cross_depth else (),
    )
    open_set = _open_set(evaluation) if with_open_set else {}
    if report_folder is not None:
        from adln.cli.report_files import write_report

        page = write_report(report_folder, report, evaluation)
        click.echo(f"report: {page}", err=True)
    cascade, costs = _cascade(evaluation, models) if with_cascade else (None, None)
    if as_json:
        click.echo(_json(report.to_json(), open_set, cascade, costs))
        return
    click.echo(report.to_text())
    if open_set:
        from adln.evaluation.open_set import open_set_text

        click.echo("\n" + open_set_text(open_set))
    if cascade is not None:
        from adln.evaluation.cascade import cascade_text

        click.echo("\n" + cascade_text(cascade, costs))
        if costs is not None and flip:
            click.echo("The mirrored crop, which --no-flip leaves out, doubles time and GMACs.")


def _open_set(evaluation: "Evaluation") -> "dict[int, OpenSetResult]":
    from adln.evaluation.open_set import evaluate_open_set

    query, gallery = evaluation.query, evaluation.gallery
    return {
        depth: evaluate_open_set(
            result.query_features,
            query.person_ids,
            query.camera_ids,
            result.gallery_features,
            gallery.person_ids,
            gallery.camera_ids,
        )
        for depth, result in evaluation.results.items()
    }


def _require_two_depths(embedder: "Embedder") -> None:
    from adln.errors import SettingsError

    if len(embedder.depths) < 2:
        raise SettingsError(
            f"--cascade goes from one depth to a deeper one, and there is only {embedder.depths}: "
            "give a network of several depths, or all files of `adln export --depths 2,4 --split`."
        )


def _cascade(
    evaluation: "Evaluation", models: tuple[Path, ...]
) -> "tuple[CascadeResult, StageCosts | None]":
    """What is found; and what it costs, where the files of a split export are there to be timed."""
    from adln.evaluation.cascade import evaluate_cascade
    from adln.runtime.cascade import measure_costs

    result = evaluate_cascade(evaluation)
    costs = measure_costs(models) if len(models) > 1 else None
    if costs is not None and costs.depths != (result.from_depth, result.to_depth):
        costs = None
    return result, costs


def _json(
    report: str,
    open_set: "dict[int, OpenSetResult]",
    cascade: "CascadeResult | None",
    costs: "StageCosts | None",
) -> str:
    content = json.loads(report)
    if open_set:
        content["open_set"] = [
            {"depth": depth, **asdict(result)} for depth, result in open_set.items()
        ]
    if cascade is not None:
        content["cascade"] = {
            "better_gallery": cascade.better_gallery,
            **asdict(cascade),
            "costs": None if costs is None else asdict(costs),
        }
    return json.dumps(content, indent=2, ensure_ascii=False)
