"""Times the evaluation (features in; CMC, mAP, mINP out) against fast-reid's with compiled Cython.

Both run in this process, in turns, on the same 2048-d float32 features at the size of
Market-1501 (3,368 queries, 15,913 gallery pictures), and must give the same numbers.

    python -m benchmarks.evaluation_speed --fastreid ~/fast-reid [--market data/Market-1501]

``--fastreid`` is a checkout of fast-reid in which its own Cython module has been built
(`pip install cython`, then `make` in fastreid/evaluation/rank_cylib); nothing of it is part of
this project.
What is timed of it is what its evaluator does with the features: the cosine distance matrix and
the ranking with ``use_cython=True``. Without ``--fastreid``, adln alone is timed.
"""

import importlib
import os
import platform
import statistics
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
from benchmarks.made_up_features import Ids, made_up_features, made_up_ids, market_ids
from numpy.typing import NDArray

from adln.evaluation.ranking import evaluate_features

Numbers = tuple[NDArray[np.float64], float, float]
"""CMC (50,), mAP, mINP."""


@click.command()
@click.option("--fastreid", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--market", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--rounds", default=5, show_default=True, help="Each evaluator runs so many times.")
def main(fastreid: Path | None, market: Path | None, rounds: int) -> None:
    """Time adln's evaluation, in turns with fast-reid's."""
    if market is not None:
        ids, source = market_ids(market), "those of Market-1501"
    else:
        ids, source = made_up_market_ids(), "made up at the size of Market-1501"
    query, gallery = made_up_features(ids)
    click.echo(machine())
    click.echo(f"features: {query.shape} queries, {gallery.shape} gallery, float32; ids: {source}")

    runs: dict[str, Callable[[], tuple[Numbers, dict[str, float]]]] = {
        "adln": lambda: run_adln(ids, query, gallery)
    }
    if fastreid is not None:
        fastreid_run = load_fastreid(fastreid)
        runs["fast-reid"] = lambda: fastreid_run(ids, query, gallery)

    wall: dict[str, list[float]] = {name: [] for name in runs}
    cpu: dict[str, list[float]] = {name: [] for name in runs}
    parts: dict[str, list[dict[str, float]]] = {name: [] for name in runs}
    numbers: dict[str, Numbers] = {}
    for _ in range(rounds):
        for name, run in runs.items():
            wall_start, cpu_start = time.perf_counter(), time.process_time()
            numbers[name], seconds = run()
            wall[name].append(time.perf_counter() - wall_start)
            cpu[name].append(time.process_time() - cpu_start)
            parts[name].append(seconds)

    products = [matrix_product_s(query, gallery) for _ in range(3)]
    click.echo(f"numpy's matrix product alone: {statistics.median(products):.2f} s")
    for name in runs:
        cmc, mean_ap, minp = numbers[name]
        click.echo(
            f"{name:9s} {statistics.median(wall[name]):6.2f} s wall (from {min(wall[name]):.2f} to "
            f"{max(wall[name]):.2f}), {statistics.median(cpu[name]):6.2f} s CPU   "
            f"Rank-1 {cmc[0]:.6f}  mAP {mean_ap:.6f}  mINP {minp:.6f}"
        )
        for part in parts[name][0]:
            median = statistics.median(seconds[part] for seconds in parts[name])
            click.echo(f"            {part}: {median:.2f} s")
    if fastreid is not None:
        ours, theirs = numbers["adln"], numbers["fast-reid"]
        apart = max(
            float(np.abs(ours[0] - theirs[0]).max()),
            abs(ours[1] - theirs[1]),
            abs(ours[2] - theirs[2]),
        )
        click.echo(f"largest difference between the numbers: {apart:.1e}")
        for what, times in (("wall", wall), ("CPU", cpu)):
            ratio = statistics.median(times["fast-reid"]) / statistics.median(times["adln"])
            click.echo(f"adln is {ratio:.2f} times as fast ({what} time, ratio of medians)")
        if apart > 1e-5:
            raise SystemExit("The two evaluators disagree; the times mean nothing.")


def made_up_market_ids() -> Ids:
    """Ids at the size of Market-1501."""
    return made_up_ids(
        num_query=3368, num_gallery=15913, num_persons=750, num_cameras=6, num_distractors=2798
    )


def run_adln(
    ids: Ids, query: NDArray[np.float32], gallery: NDArray[np.float32]
) -> tuple[Numbers, dict[str, float]]:
    """Run adln's evaluation once."""
    metrics = evaluate_features(
        (query, ids.query_person_ids, ids.query_camera_ids),
        (gallery, ids.gallery_person_ids, ids.gallery_camera_ids),
    )
    return (metrics.cmc, metrics.mean_ap, metrics.minp), {}


def load_fastreid(root: Path) -> Callable[..., tuple[Numbers, dict[str, float]]]:
    """Import fast-reid's evaluator from a checkout, without the packages it imports around it."""
    import torch

    # fast-reid's package files import all of fast-reid; these two stand in for them.
    for name, folder in (("fr_evaluation", "evaluation"), ("fr_utils", "utils")):
        package = types.ModuleType(name)
        package.__path__ = [str(root / "fastreid" / folder)]
        sys.modules[name] = package
    # Only its re-ranking calls faiss, but the module of the distances imports it.
    faiss: Any = types.ModuleType("faiss")
    faiss.METRIC_L2 = faiss.METRIC_INNER_PRODUCT = 0
    sys.modules.setdefault("faiss", faiss)
    ranking = importlib.import_module("fr_evaluation.rank")
    distances = importlib.import_module("fr_utils.compute_dist")
    if not ranking.IS_CYTHON_AVAI:
        raise SystemExit(f"{root}: build the Cython module in fastreid/evaluation/rank_cylib first")

    def run(
        ids: Ids, query: NDArray[np.float32], gallery: NDArray[np.float32]
    ) -> tuple[Numbers, dict[str, float]]:
        start = time.perf_counter()
        matrix = distances.build_dist(
            torch.from_numpy(query), torch.from_numpy(gallery), metric="cosine"
        )
        middle = time.perf_counter()
        cmc, average_precision, inverse_negative_penalty = ranking.evaluate_rank(
            matrix,
            ids.query_person_ids,
            ids.gallery_person_ids,
            ids.query_camera_ids,
            ids.gallery_camera_ids,
            use_cython=True,
        )
        numbers = (cmc, float(np.mean(average_precision)), float(np.mean(inverse_negative_penalty)))
        end = time.perf_counter()
        return numbers, {"distance matrix": middle - start, "ranking": end - middle}

    return run


def matrix_product_s(query: NDArray[np.float32], gallery: NDArray[np.float32]) -> float:
    """Seconds for numpy's product of queries and gallery, the floor of what adln can reach."""
    start = time.perf_counter()
    query @ gallery.T
    return time.perf_counter() - start


def machine() -> str:
    """Processor, cores and libraries, in one line."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"machine: {model}, {os.cpu_count()} cores, load {load}; "
        f"Python {platform.python_version()}, numpy {np.__version__} "
        f"({blas['name']} {blas['version']})"
    )


if __name__ == "__main__":
    main()
