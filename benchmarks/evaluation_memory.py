"""Peak memory of the evaluation at the size of MSMT17: 11,659 queries, 82,161 gallery pictures.

    python -m benchmarks.evaluation_memory [--rerank]

Prints the peak of the whole process, with the interpreter, numpy and the 2048-d float32 features
themselves (769 MB), which are made up in this process too. With ``--rerank``, k-reciprocal
re-ranking follows at the size of Market-1501; at that of MSMT17 it takes many minutes.
"""

import resource
import sys
import time

import click
from benchmarks.evaluation_speed import machine, made_up_market_ids
from benchmarks.made_up_features import Ids, made_up_features, made_up_ids

from adln.evaluation.ranking import evaluate_features
from adln.evaluation.reranking import evaluate_reranked


@click.command()
@click.option("--rerank", is_flag=True, help="Also re-rank, at the size of Market-1501.")
def main(rerank: bool) -> None:
    """Measure the peak memory of evaluation and of re-ranking."""
    click.echo(machine())
    if rerank:
        # First, since a peak never falls: re-ranking at this size needs less than what follows.
        measure("Market-1501", made_up_market_ids(), rerank=True)
    msmt17 = made_up_ids(
        num_query=11_659, num_gallery=82_161, num_persons=3_060, num_cameras=15, num_distractors=0
    )
    measure("MSMT17", msmt17, rerank=False)


def measure(name: str, ids: Ids, *, rerank: bool) -> None:
    """Evaluate made-up features at the size of a data set and print time and peak memory."""
    query, gallery = made_up_features(ids)
    before = peak_mb()
    evaluator = evaluate_reranked if rerank else evaluate_features
    start = time.perf_counter()
    metrics = evaluator(
        (query, ids.query_person_ids, ids.query_camera_ids),
        (gallery, ids.gallery_person_ids, ids.gallery_camera_ids),
    )
    seconds = time.perf_counter() - start
    click.echo(
        f"{name}, {'re-ranking' if rerank else 'ranking'}: peak {peak_mb():.0f} MB, of which "
        f"{(query.nbytes + gallery.nbytes) / 1e6:.0f} MB features; {before:.0f} MB before the "
        f"evaluation. {seconds:.1f} s, Rank-1 {metrics.rank1:.4f}, mAP {metrics.mean_ap:.4f}"
    )


def peak_mb() -> float:
    """Largest resident memory of this process so far, in MB of 10^6 bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in KiB, macOS in bytes.
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


if __name__ == "__main__":
    main()
