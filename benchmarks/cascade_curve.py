r"""mAP against time for a cascade, beside its network at each depth and beside peers, in one run.

    python -m benchmarks.cascade_curve --network runs/market/network.safetensors \
        --data data/Market-1501-v15.09.15 --work out/cascade --precision int8 \
        --peers peers.toml --json cascade.json --picture cascade.png \
        --require-loss 0.5 --require-time 0.55

1. Exports the network: split at the two depths of the cascade, and each depth as a file of its own
   (kept in the work folder, and made again if the network is another).
2. Embeds query and gallery (kept as well) and turns the dial: see `adln evaluate --cascade`.
3. Times everything in turns and in random order in one process, one crop at a time on one core:
   both halves of the cascade, the files alone, the peers, and a search in the gallery. What is
   compared are medians of the CPU time.
4. Runs a stream: query after query, by the cascade with every so many going deeper (`--share`) and
   by the deep file alone, in random order. This measures what the averages only compute.

Without `--data`, people are drawn. `--peers` is a TOML file of other networks:

    [[peer]]
    name = "OSNet x1.0"
    mean_ap = 82.6              # percent, on the same data
    file = "osnet_x1_0.onnx"    # .onnx, or .xml for OpenVINO: timed in this run
    # ms = 8.1                  # or measured elsewhere
    # precision = "int8"        # the colour; told by the file if there is one

`--require-loss 0.5 --require-time 0.55`: some position of the dial loses at most 0.5 points of mAP
against the deep file and takes at most 0.55 of its time.
"""

import json
import random
import statistics
import time
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import click
import numpy as np
from numpy.typing import NDArray

from adln.bench.benchmark import describe_machine
from adln.bench.candidates import open_peer
from adln.bench.cascade_costs import count_macs
from adln.bench.measuring import Times, time_in_turns
from adln.bench.operations import count_operations
from adln.cli.progress import counting
from adln.datasets.catalogue import open_dataset
from adln.datasets.loading import load_crops
from adln.datasets.split import ReidDataset
from adln.embedders.cascade import Cascade
from adln.embedders.deeper import ChainedEmbedder
from adln.embedders.embedder import OnnxEmbedder
from adln.embedders.session import open_session, usable_cores
from adln.embeddings import Embedder
from adln.errors import AdlnError, SettingsError
from adln.evaluation.cascade import (
    CascadeResult,
    StageCosts,
    cascade_text,
    evaluate_cascade,
)
from adln.evaluation.protocol import DepthResult, Evaluation, embed_split
from adln.evaluation.ranking import evaluate_features
from adln.export.exporting import export_network
from adln.manifest import PRECISIONS, Precision
from adln.model.checkpoint import load_network
from adln.reports.chart import ChartPoint, draw_chart
from adln.scenes.synthetic import Plan, draw_dataset

PERSONS_TO_DRAW = 120


@dataclass(frozen=True)
class Peer:
    """Another network in the picture.

    Attributes:
        name: Its label.
        mean_ap: In percent.
        file: To be timed here; None if `ms` is given.
        ms: Time of one crop, measured elsewhere.
        precision: "fp32", "fp16", "bf16" or "int8".
    """

    name: str
    mean_ap: float
    file: Path | None = None
    ms: float | None = None
    precision: str = "fp32"


@dataclass(frozen=True)
class Stream:
    """Crops that went one after the other through the cascade and through the deep file.

    Attributes:
        crops: How many.
        deeper: Share of them that went deeper.
        cascade_ms: Mean CPU time of a crop in the cascade.
        alone_ms: Mean CPU time of a crop in the deep file.
    """

    crops: int
    deeper: float
    cascade_ms: float
    alone_ms: float


def read_peers(path: Path) -> list[Peer]:
    """Read the peers of a TOML file; files are looked for beside it."""
    try:
        rows = tomllib.loads(path.read_text(encoding="utf-8"))["peer"]
        peers = [Peer(**row) for row in rows]
    except (OSError, KeyError, TypeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(
            f"{path}: expected tables [[peer]] with name, mean_ap and file or ms, and perhaps "
            f"precision ({error})."
        ) from error
    for peer in peers:
        if (peer.file is None) == (peer.ms is None):
            raise SettingsError(f"{path}: {peer.name} needs either file or ms.")
    return [
        peer if peer.file is None else Peer(**{**asdict(peer), "file": path.parent / peer.file})
        for peer in peers
    ]


@click.command()
@click.option("--network", required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--data", "data_path", type=click.Path(path_type=Path, exists=True))
@click.option("--work", required=True, type=click.Path(path_type=Path, file_okay=False))
@click.option("--precision", type=click.Choice(PRECISIONS), default="int8", show_default=True)
@click.option("--from", "from_depth", default=2, show_default=True, type=click.IntRange(1, 3))
@click.option("--to", "to_depth", default=4, show_default=True, type=click.IntRange(2, 4))
@click.option("--share", default=0.3, show_default=True, help="Of the stream that goes deeper.")
@click.option("--rounds", default=40, show_default=True, help="Turns; five timed runs in each.")
@click.option("--stream", "stream_crops", default=400, show_default=True, help="Crops in a row.")
@click.option("--peers", "peers_path", type=click.Path(path_type=Path, exists=True))
@click.option("--json", "json_path", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--picture", "picture_path", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--require-loss", type=float, help="Points of mAP that may be lost.")
@click.option("--require-time", type=float, help="Share of the deep file's time.")
def main(
    network: Path,
    data_path: Path | None,
    work: Path,
    precision: str,
    from_depth: int,
    to_depth: int,
    share: float,
    rounds: int,
    stream_crops: int,
    peers_path: Path | None,
    json_path: Path | None,
    picture_path: Path | None,
    require_loss: float | None,
    require_time: float | None,
) -> None:
    """Measure mAP against time for a cascade."""
    peers = read_peers(peers_path) if peers_path is not None else []
    work.mkdir(parents=True, exist_ok=True)
    dataset = open_dataset(data_path) if data_path is not None else drawn(work)
    parts, alone = export_all(
        network, work, cast("Precision", precision), (from_depth, to_depth), dataset
    )
    evaluation = embed_all(parts, alone, dataset, work / "features.npz")
    result = evaluate_cascade(evaluation, from_depth=from_depth, to_depth=to_depth)
    times = time_all(parts, alone, peers, evaluation, rounds)
    costs = cascade_costs(parts, times)
    stream = run_stream(parts, alone[to_depth], dataset, result, share, stream_crops)

    alone_ms = 1e3 * times[f"Res{to_depth}"].cpu()
    click.echo(f"{describe_machine()}\n\n{cascade_text(result, costs)}\n")
    for depth in sorted(alone):
        metrics = evaluation.results[depth].metrics
        click.echo(
            f"Res{depth} alone: {1e3 * times[f'Res{depth}'].cpu():7.2f} ms, "
            f"{macs_of_file(alone[depth]) / 1e9:.2f} GMACs, Rank-1 {100 * metrics.rank1:.2f}, "
            f"mAP {100 * metrics.mean_ap:.2f}"
        )
    search_ms = 1e3 * times["search"].cpu()
    click.echo(
        f"one search among {len(dataset.gallery):,}: {search_ms:.2f} ms; whoever goes deeper "
        "searches twice"
    )
    click.echo(
        f"stream of {stream.crops} queries, {stream.deeper:.0%} of them deeper: "
        f"{stream.cascade_ms:.2f} ms a crop, Res{to_depth} alone {stream.alone_ms:.2f} ms: "
        f"{stream.cascade_ms / stream.alone_ms:.3f} of its time"
    )
    missed = 0
    if require_loss is not None and require_time is not None:
        missed = judge(result, costs, alone_ms, require_loss, require_time)
    points = chart_points(result, costs, evaluation, alone, times, peers, precision)
    if picture_path is not None:
        draw_chart(
            points,
            title="Only unsure crops go deeper: accuracy against time",
            accuracy_name=f"mAP on {dataset.name} (%)",
            footer=(describe_machine(), "1 thread, one crop at a time; the cascade's times: means"),
        ).save(picture_path)
    if json_path is not None:
        content = {
            "machine": describe_machine(),
            "dataset": dataset.name,
            "precision": precision,
            "cascade": asdict(result),
            "costs": asdict(costs),
            "alone_ms": {f"Res{depth}": 1e3 * times[f"Res{depth}"].cpu() for depth in alone},
            "alone_mean_ap": {
                f"Res{depth}": evaluation.results[depth].metrics.mean_ap for depth in alone
            },
            "search_ms": search_ms,
            "stream": asdict(stream),
            "points": [asdict(point) for point in points],
        }
        json_path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if missed:
        raise SystemExit(1)


def drawn(work: Path) -> ReidDataset:
    """Drawn people whom no network has learned from."""
    folder = work / "people"
    if not folder.exists():
        half = PERSONS_TO_DRAW // 2
        plan = Plan(num_train_persons=half, num_test_persons=half, seed=99)
        draw_dataset(folder, plan)
    return open_dataset(folder)


def export_all(
    network: Path,
    work: Path,
    precision: Precision,
    depths: tuple[int, int],
    dataset: ReidDataset,
) -> tuple[list[Path], dict[int, Path]]:
    """The split files of the cascade, and a file for each depth that the network has."""
    exits = load_network(network).architecture.exits
    digest = file_digest(network)

    def export(name: str, wanted: Sequence[int], paths: list[Path], *, split: bool) -> list[Path]:
        if all(path.exists() and is_of(path, digest) for path in paths):
            return paths
        files = export_network(
            network,
            work / f"{name}.onnx",
            depths=wanted,
            precision=precision,
            calibrate=dataset.root,
            split_files=split,
            on_step=lambda text: click.echo(f"{name}: {text}", err=True),
        )
        return [file.path for file in files]

    def path(ending: str) -> Path:
        return work / f"{precision}-{ending}.onnx"

    name = f"{precision}-cascade{depths[0]}{depths[1]}"
    parts = export(name, depths, [work / f"{name}-{depth}.onnx" for depth in depths], split=True)
    alone = {
        depth: export(f"{precision}-res{depth}", [depth], [path(f"res{depth}")], split=False)[0]
        for depth in exits
    }
    return parts, alone


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_of(path: Path, digest: str) -> bool:
    """Whether an exported file was made of the network with this digest."""
    return open_session(path).manifest.source_sha256 == digest


def embed_all(
    parts: list[Path], alone: dict[int, Path], dataset: ReidDataset, kept: Path
) -> Evaluation:
    """Features of all depths; those of the cascade's depths by its own files."""
    chain = ChainedEmbedder(parts, batch_size=8, threads=usable_cores())
    embedders: list[Embedder] = [
        chain,
        *(OnnxEmbedder(path) for depth, path in alone.items() if depth not in chain.depths),
    ]
    digests = [file_digest(path) for path in (*parts, *alone.values())]
    splits = (dataset.query, dataset.gallery)
    names = [str(path) for split in splits for path in split.paths]
    features: dict[str, NDArray[np.float32]] = {}
    if kept.exists():
        with np.load(kept) as content:
            if content["digests"].tolist() == digests and content["names"].tolist() == names:
                features = {name: content[name] for name in content.files}
    if not features:
        total = len(names) * len(embedders)
        with counting(total, "embedding") as on_progress:
            for embedder in embedders:
                for split in splits:
                    found = embed_split(embedder, split, on_progress=on_progress)
                    features |= {f"{split.name}_{depth}": rows for depth, rows in found.items()}
        partial = kept.with_suffix(".partial.npz")
        np.savez(partial, digests=digests, names=names, **features)  # type: ignore[arg-type]
        partial.replace(kept)
    query, gallery = splits
    results = {}
    for depth in sorted({*alone, *chain.depths}):
        pair = features[f"{query.name}_{depth}"], features[f"{gallery.name}_{depth}"]
        metrics = evaluate_features((pair[0], *query.ids), (pair[1], *gallery.ids))
        results[depth] = DepthResult(*pair, metrics, None)
    return Evaluation(query, gallery, results)


def time_all(
    parts: list[Path],
    alone: dict[int, Path],
    peers: Sequence[Peer],
    evaluation: Evaluation,
    rounds: int,
) -> dict[str, Times]:
    """Time one crop, and one search, of everything in turns."""
    cascade = Cascade(parts)
    crop = np.random.default_rng(0).integers(0, 256, (1, *cascade.crop_size, 3), dtype=np.uint8)
    _, first_map = cascade.embed_first(crop)
    of_deep = evaluation.results[cascade.depths[1]]
    tasks: dict[str, Callable[[], object]] = {
        "shallow": lambda: cascade.embed_first(crop),
        "deeper": lambda: cascade.embed_deeper(first_map),
        "search": lambda: np.argmax(of_deep.gallery_features @ of_deep.query_features[0]),
    }
    for depth, path in alone.items():
        embedder = OnnxEmbedder(path, threads=1)
        tasks[f"Res{depth}"] = lambda embedder=embedder: embedder.embed(crop)  # type: ignore[misc]
    for peer in peers:
        if peer.file is not None:
            run = open_peer(peer.file, threads=1).build_run(1)
            if run is None:
                raise SettingsError(f"{peer.file}: does not take one crop at a time.")
            tasks[f"peer {peer.name}"] = run
    with counting(rounds * len(tasks), "measuring") as on_progress:
        return time_in_turns(tasks, rounds=rounds, on_progress=on_progress)


def cascade_costs(parts: list[Path], times: dict[str, Times]) -> StageCosts:
    """Costs of the cascade by the times of this run."""
    cascade = Cascade(parts)
    shallow_macs, deeper_macs = count_macs(cascade)
    return StageCosts(
        depths=cascade.depths,
        shallow_macs=shallow_macs,
        deeper_macs=deeper_macs,
        shallow_ms=1e3 * times["shallow"].cpu(),
        deeper_ms=1e3 * times["deeper"].cpu(),
    )


def macs_of_file(path: Path) -> int:
    """Multiply-accumulates for one crop of a file of its own."""
    manifest = open_session(path).manifest
    crop = np.zeros((1, manifest.height_px, manifest.width_px, 3), np.uint8)
    return count_operations(path, {manifest.input_names[0]: crop}).macs


def run_stream(
    parts: list[Path],
    deep_file: Path,
    dataset: ReidDataset,
    result: CascadeResult,
    share: float,
    count: int,
) -> Stream:
    """Query after query through both, in random order; who goes deeper was decided before."""
    cascade, alone = Cascade(parts), OnnxEmbedder(deep_file, threads=1)
    query = dataset.query
    order = random.Random(0)
    rows = order.sample(range(len(query)), min(count, len(query)))
    height, width = cascade.crop_size
    crops = load_crops([query.paths[row] for row in rows], height_px=height, width_px=width)
    # The share is what is paid for; which crops they are changes nothing in their time.
    deeper = [at < round(share * len(rows)) for at in range(len(rows))]
    order.shuffle(deeper)
    spent: dict[str, list[float]] = {"cascade": [], "alone": []}

    def by_cascade(crop: NDArray[np.uint8], goes_deeper: bool) -> None:
        _, maps = cascade.embed_first(crop)
        if goes_deeper:
            cascade.embed_deeper(maps)

    for at, goes_deeper in enumerate(deeper):
        crop = crops[at : at + 1]
        tasks = ["cascade", "alone"]
        order.shuffle(tasks)
        for task in tasks:
            start = time.process_time()
            if task == "cascade":
                by_cascade(crop, goes_deeper)
            else:
                alone.embed(crop)
            spent[task].append(1e3 * (time.process_time() - start))
    ms = {task: statistics.fmean(values) for task, values in spent.items()}
    return Stream(len(rows), sum(deeper) / len(rows), ms["cascade"], ms["alone"])


def judge(
    result: CascadeResult,
    costs: StageCosts,
    alone_ms: float,
    loss: float,
    time_share: float,
) -> int:
    """Print which positions of the dial keep both bounds; returns 1 if none does."""
    missed = 0
    for expanded in (False, True):
        curve = result.curve(result.better_gallery, persons_known=True, expanded=expanded)
        deep = 100 * curve.points[-1].mean_ap
        good = [
            point
            for point in curve.points
            if deep - 100 * point.mean_ap <= loss
            and costs.ms(point.deeper) <= time_share * alone_ms
        ]
        name = "query expansion" if expanded else "plain"
        if good:
            point = good[0]
            click.echo(
                f"reached ({name}): {point.deeper:.0%} deeper keep mAP "
                f"{100 * point.mean_ap:.2f} of {deep:.2f} at {costs.ms(point.deeper):.2f} ms, "
                f"{costs.ms(point.deeper) / alone_ms:.3f} of Res{result.to_depth} alone"
            )
        else:
            click.echo(f"MISSED ({name}): no position keeps {loss} mAP at {time_share} of the time")
            missed += not expanded
    return missed


def chart_points(
    result: CascadeResult,
    costs: StageCosts,
    evaluation: Evaluation,
    alone: dict[int, Path],
    times: dict[str, Times],
    peers: Sequence[Peer],
    precision: str,
) -> list[ChartPoint]:
    """Depths alone from the cascade's first on, positions of the dial, and peers."""
    points = [
        ChartPoint(
            f"Res{depth}",
            1e3 * times[f"Res{depth}"].cpu(),
            100 * evaluation.results[depth].metrics.mean_ap,
            precision,
            is_own=True,
        )
        for depth in sorted(alone)
        if depth >= result.from_depth
    ]
    curve = result.curve(result.better_gallery, persons_known=True, expanded=False)
    for point in curve.points:
        label = f"{point.deeper:.0%} deeper" if round(10 * point.asked) in (3, 6) else ""
        points.append(
            ChartPoint(label, costs.ms(point.deeper), 100 * point.mean_ap, "cascade", is_own=True)
        )
    for peer in peers:
        ms = 1e3 * times[f"peer {peer.name}"].cpu() if peer.ms is None else peer.ms
        points.append(ChartPoint(peer.name, ms, peer.mean_ap, peer.precision, is_own=False))
    return points


if __name__ == "__main__":
    try:
        main()
    except AdlnError as error:
        raise SystemExit(f"error: {error}") from error
