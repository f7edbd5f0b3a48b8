"""`adln evaluate`: Table 1 of the paper for a network of your own, on data sets seen and unseen."""

import json
import shlex
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from adln.atomic import require_writable, suffix_of
from adln.bench.cascade_costs import measure_costs
from adln.cli import options
from adln.cli.embedders import is_exported, open_chain, open_trained
from adln.cli.progress import counting, mention, print_json
from adln.cli.report_files import write_report
from adln.datasets.catalogue import open_dataset
from adln.datasets.checking import look_alike_note
from adln.datasets.split import ReidDataset, Split
from adln.embeddings import Embedder
from adln.errors import DatasetError, SettingsError
from adln.evaluation.cascade import CascadeResult, StageCosts, cascade_text, evaluate_cascade
from adln.evaluation.cross_depth import evaluate_cross_depth
from adln.evaluation.open_set import OpenSetResult, evaluate_open_set, open_set_text
from adln.evaluation.protocol import Evaluation, evaluate_embedded
from adln.evaluation.protocol import evaluate as run
from adln.evaluation.report import make_report
from adln.evaluation.unseen import SetRow, measure_set, require_known, unseen_text, was_seen
from adln.features import SUFFIXES, read_features


@click.command()
@options.path_argument("networks", metavar="NETWORK...", nargs=-1, required=True)
@options.path(
    "--data",
    required=True,
    multiple=True,
    help="Folder or CSV of a data set; may be repeated, e.g. for unseen people beside seen ones.",
)
@options.layout
@click.option(
    "--seen",
    "seen_names",
    multiple=True,
    metavar="NAME",
    help="A data set that the network was trained on, besides those its file states.",
)
@options.depths
@options.shown(
    "--flip/--no-flip",
    default=True,
    help="Average with the mirrored crop, as the paper does; twice the work.",
)
@options.flag("--rerank", help="Also rank after k-reciprocal re-ranking.")
@options.flag(
    "--open-set",
    "with_open_set",
    help="Also judge pairs and searches with a threshold: TPR@FPR and DIR@FAR.",
)
@options.flag(
    "--cross-depth", help="Also search with the queries of each depth in the gallery of each."
)
@options.flag(
    "--cascade",
    "with_cascade",
    help="Also a cascade: only uncertain queries go on to the deepest exit; mAP against cost.",
)
@options.flag("--bf16", help="Compute in bfloat16 (torch networks).")
@options.shown("--batch-size", type=click.IntRange(1), default=64)
@options.device
@options.path(
    "--report",
    "report_folder",
    help="Also write a page with ranked lists, the table and JSON into this folder; for each "
    "further data set into a folder in it.",
)
@options.flag(
    "--json",
    "as_json",
    help="Print JSON for a program: an object, or a list of them for several data sets.",
)
def evaluate(
    networks: tuple[Path, ...],
    data: tuple[Path, ...],
    layout: str,
    seen_names: tuple[str, ...],
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
    """Rank-1, mAP and mINP of NETWORK at every depth, by the protocol of Market-1501.

    NETWORK is a network written by `adln train` (.safetensors), or an exported one (.onnx), which
    needs no torch: a file, or res1 or res2, which come with adln. Several NETWORKs are the files of
    one split export, from the shallowest on. It may also be a file of `adln embed` that holds the
    pictures of all data sets.

    A table shows each data set with 95 % intervals, and whether the network was trained on it.
    """
    if report_folder is not None:
        require_writable(report_folder, raises=SettingsError, folder=True)
    require_known(seen_names)
    datasets = [open_dataset(path, layout) for path in data]
    titles = _titles(datasets)
    wanted = tuple(sorted(set(depths)))
    subject = _open(networks, wanted, device=device, flip=flip, bf16=bf16)
    if with_cascade and len(subject.depths) < 2:
        raise SettingsError(
            f"--cascade goes from one depth to a deeper one, and there is only {subject.depths}: "
            "give a network of several depths, or all files of `adln export --depths 2,4 --split`."
        )
    evaluations, sets = list[Evaluation](), list[SetRow]()
    for dataset, title in zip(datasets, titles, strict=True):
        if dataset.left_out:
            mention(dataset.left_out)
        pictures = len(dataset.query) + len(dataset.gallery)
        label = "embedding" if len(datasets) == 1 else f"embedding {title}"
        with counting(pictures, label, quiet=as_json) as on_progress:
            evaluation = subject.evaluate(
                dataset.query,
                dataset.gallery,
                batch_size=batch_size,
                rerank=rerank,
                on_progress=on_progress,
            )
        evaluations.append(evaluation)
        seen = was_seen(title, subject.trained_on, also=seen_names)
        sets += measure_set(evaluation, dataset=title, seen=seen, names=subject.names)
    # Depth by depth, the data sets one under the other.
    sets.sort(key=lambda row: row.depth)
    contents = []
    for number, (dataset, title, evaluation) in enumerate(
        zip(datasets, titles, evaluations, strict=True)
    ):
        notes = dataset.notice, dataset.left_out, look_alike_note(dataset)
        report = make_report(
            evaluation,
            dataset=title,
            flip=subject.flip,
            params=subject.params,
            flops=subject.flops,
            command=shlex.join(["adln", *sys.argv[1:]]),
            notes=list(filter(None, notes)),
            cross_depth=evaluate_cross_depth(evaluation) if cross_depth else (),
            sets=sets,
            names=subject.names,
        )
        open_set = {
            depth: evaluate_open_set(*evaluation.sides(depth))
            for depth in evaluation.results
            if with_open_set
        }
        if report_folder is not None:
            own = report_folder if number == 0 else report_folder / title
            mention(f"report: {write_report(own, report, evaluation)}")
        cascade = evaluate_cascade(evaluation) if with_cascade else None
        costs = None
        if cascade is not None and len(networks) > 1:
            # The files of a split export are there to be timed.
            costs = measure_costs(networks)
            if costs.depths != (cascade.from_depth, cascade.to_depth):
                costs = None
        if as_json:
            contents.append(_json(report.to_json(), open_set, cascade, costs))
            continue
        # One table for all of them stands at the end.
        shown = report if len(datasets) == 1 else replace(report, sets=())
        click.echo(shown.to_text())
        if open_set:
            click.echo("\n" + open_set_text(open_set, subject.names))
        if cascade is not None:
            click.echo("\n" + cascade_text(cascade, costs))
            if costs is not None and flip:
                click.echo("The mirrored crop, which --no-flip leaves out, doubles time and GMACs.")
        if len(datasets) > 1:
            click.echo("\n")
    if as_json:
        plain = contents[0] if len(contents) == 1 else contents
        print_json(plain, ensure_ascii=False)
    elif len(datasets) > 1:
        click.echo(unseen_text(sets))


@dataclass(frozen=True)
class _Subject:
    """What is judged: a network, or embeddings that somebody has made before."""

    depths: tuple[int, ...]
    flip: bool
    trained_on: str
    params: dict[int, int]
    flops: dict[int, int]
    names: dict[int, str]
    evaluate: Callable[..., Evaluation]  # as `adln.evaluation.protocol.evaluate`


def _titles(datasets: list[ReidDataset]) -> list[str]:
    """Names of the data sets; those of one layout are told apart by their folders."""
    counts = Counter(dataset.name for dataset in datasets)
    titles = [
        dataset.name if counts[dataset.name] == 1 else f"{dataset.name}-{dataset.root.stem}"
        for dataset in datasets
    ]
    again = Counter(titles)
    return [
        title if again[title] == 1 else f"{title}-{number}"
        for number, title in enumerate(titles, start=1)
    ]


def _open(
    networks: tuple[Path, ...], depths: tuple[int, ...], *, device: str, flip: bool, bf16: bool
) -> _Subject:
    if len(networks) == 1 and suffix_of(networks[0]) in SUFFIXES:
        return _open_features(networks[0], depths)
    names: dict[int, str] = {}
    params: dict[int, int] = {}
    flops: dict[int, int] = {}
    embedder: Embedder
    if len(networks) > 1 or is_exported(networks[0]):
        embedder = chain = open_chain(networks, depths, flip=flip)
        trained_on = chain.models[0].manifest.training_data
        names = {
            depth: model.depth_name(depth)
            for model in chain.models
            for depth in model.manifest.depths
        }
    else:
        embedder, params, flops = open_trained(
            networks[0], depths, device=device, flip=flip, bf16=bf16
        )
        from adln.model.checkpoint import stated_data

        trained_on = stated_data(networks[0])

    return _Subject(embedder.depths, flip, trained_on, params, flops, names, partial(run, embedder))


def _open_features(path: Path, depths: tuple[int, ...]) -> _Subject:
    """Embeddings of a feature file, found by the paths of their pictures."""
    features = read_features(path)
    depth = features.source.depth
    if depths and depths != (depth,):
        raise SettingsError(f"{path} holds depth {depth}, asked for {list(depths)}.")
    rows = {Path(name).resolve(): row for row, name in enumerate(features.paths)}

    def evaluate(
        query: Split, gallery: Split, *, rerank: bool, on_progress: Callable[[int], None], **_: Any
    ) -> Evaluation:
        sides = []
        for split in (query, gallery):
            found = [rows.get(picture.resolve(), -1) for picture in split.paths]
            if -1 in found:
                raise DatasetError(
                    f"{path}: {found.count(-1):,} of the {len(split):,} pictures of the "
                    f"{split.name} split are not in it, such as {split.paths[found.index(-1)]}. "
                    "Embed all of them, from the folder where you are now."
                )
            sides.append({depth: features.embeddings[found]})
            on_progress(len(split))
        return evaluate_embedded(query, gallery, *sides, rerank=rerank)

    return _Subject((depth,), features.source.flip, "", {}, {}, {}, evaluate)


def _json(
    report: str,
    open_set: dict[int, OpenSetResult],
    cascade: CascadeResult | None,
    costs: StageCosts | None,
) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(report)
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
    return content
