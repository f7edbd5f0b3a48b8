"""Market-1501 through a gallery: the same Rank-1 and mAP, and error rates of calibrated thresholds.

    python -m benchmarks.gallery_market --data data/Market-1501-v15.09.15 --model res2.onnx

1. All gallery pictures are added to a gallery in a folder; every query is searched for in it. The
   ranks must be those of `adln evaluate`, to the last digit.
2. Open-set figures with half of the persons enrolled: TPR@FPR and DIR@FAR, as
   `adln evaluate --open-set` gives them.
3. Half of the persons calibrate. Of the others, half are enrolled in a second gallery with their
   names; all queries of those others are searched for, and the answers counted.

``--features`` keeps the embeddings in a file, so that a second run need not embed again.
"""

import tempfile
import time
from collections import Counter
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from adln.cli.embedders import is_exported, open_chain, open_trained
from adln.datasets.catalogue import open_dataset
from adln.datasets.split import Split
from adln.embeddings import Embedder
from adln.evaluation.calibrating import calibrate, person_material
from adln.evaluation.open_set import PersonScores, evaluate_open_set, open_set_text, person_scores
from adln.evaluation.protocol import embed_split
from adln.evaluation.ranking import evaluate_distance_matrix, evaluate_features
from adln.gallery.records import ModelKey, Sighting
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.matching.calibration import Calibration
from adln.reports.calibration_text import calibration_text

_BLOCK = 32
_FOUND = 200
Features = NDArray[np.float32]


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option("--model", type=click.Path(path_type=Path), required=True)
@click.option("--depth", type=click.IntRange(1, 4), help="The deepest if left out.")
@click.option("--flip/--no-flip", default=False)
@click.option("--features", type=click.Path(path_type=Path), help=".npz to write, or to read.")
@click.option("--queries", type=click.IntRange(1), help="Only so many, for part 1.")
def main(
    data: Path, model: Path, depth: int | None, flip: bool, features: Path | None, queries: int
) -> None:
    """Compare a gallery with the evaluation, and calibrated thresholds with what holds."""
    dataset = open_dataset(data)
    query, gallery = dataset.query, dataset.gallery
    of_query, of_gallery, depth = load(model, query, gallery, depth, flip, features)
    same_ranks(of_query, query, of_gallery, gallery, depth, queries or len(query))
    sides = (of_query, *query.ids), (of_gallery, *gallery.ids)
    click.echo("\n" + open_set_text({depth: evaluate_open_set(*sides)}) + "\n")
    thresholds(person_scores(*sides), *sides, depth=depth, flip=flip)


def load(
    model: Path,
    query: Split,
    gallery: Split,
    depth: int | None,
    flip: bool,
    path: Path | None,
) -> tuple[Features, Features, int]:
    """Embeddings of both splits, from the file if it is there, and their depth."""
    if path is not None and path.exists():
        with np.load(path) as content:
            chosen = depth or int(content["depths"].max())
            return content[f"query_{chosen}"], content[f"gallery_{chosen}"], chosen
    embedder: Embedder
    wanted = () if depth is None else (depth,)
    if is_exported(model):
        embedder = open_chain([model], wanted, flip=flip)
    else:
        embedder, _, _ = open_trained(model, wanted, device="auto", flip=flip, bf16=False)
    start = time.perf_counter()
    parts = {"query": embed_split(embedder, query), "gallery": embed_split(embedder, gallery)}
    click.echo(f"embedded in {time.perf_counter() - start:.0f} s")
    if path is not None:
        named = {f"{name}_{d}": f for name, part in parts.items() for d, f in part.items()}
        np.savez(path, depths=np.array(embedder.depths), **named)  # type: ignore[arg-type]
    chosen = embedder.depths[-1]
    return parts["query"][chosen], parts["gallery"][chosen], chosen


def same_ranks(
    of_query: Features, query: Split, of_gallery: Features, gallery: Split, depth: int, count: int
) -> None:
    """Rank the gallery for every query by searching in it; require the evaluation's figures."""
    key = ModelKey("benchmark", depth, of_query.shape[1])
    chosen = np.linspace(0, len(query) - 1, count).astype(int)
    distances = np.empty((count, len(gallery)), np.float32)
    with tempfile.TemporaryDirectory() as folder, SqliteGallery(folder, create=True) as opened:
        start = time.perf_counter()
        position: dict[int | None, int] = {}
        for first in range(0, len(gallery), 1000):
            rows = range(first, min(first + 1000, len(gallery)))
            ids = opened.add([look(of_gallery[at], key, gallery, at) for at in rows])
            position.update(zip(ids, rows, strict=True))
        added_s = time.perf_counter() - start
        start = time.perf_counter()
        for first in range(0, count, _BLOCK):
            block = of_query[chosen[first : first + _BLOCK]]
            for row, result in enumerate(opened.search(block, model=key, k=len(gallery)), first):
                columns = [position[number] for number in result.sighting_ids.tolist()]
                distances[row, columns] = 1 - result.similarity
        searched_s = time.perf_counter() - start
    ids_of = (query.person_ids[chosen], query.camera_ids[chosen])
    expected = evaluate_features((of_query[chosen], *ids_of), (of_gallery, *gallery.ids))
    found = evaluate_distance_matrix(distances, ids_of, gallery.ids)
    click.echo(
        f"Res{depth}, {count:,} queries, {len(gallery):,} sightings added in {added_s:.1f} s, "
        f"whole ranked lists in {1000 * searched_s / count:.0f} ms a query"
    )
    for name, metrics in (("evaluate", expected), ("gallery", found)):
        click.echo(f"  {name:<10} Rank-1 {metrics.rank1:.6f}  mAP {metrics.mean_ap:.6f}")
    if found.rank1 != expected.rank1 or abs(found.mean_ap - expected.mean_ap) > 1e-5:
        raise SystemExit("the gallery ranks otherwise than the evaluation")


def thresholds(
    compared: PersonScores,
    query: tuple[Features, NDArray[np.int64], NDArray[np.int64]],
    gallery: tuple[Features, NDArray[np.int64], NDArray[np.int64]],
    *,
    depth: int,
    flip: bool,
) -> None:
    """Calibrate on half of the persons and count the answers that the other half gets."""
    searched = np.intersect1d(compared.person_ids, compared.query_person_ids)
    shuffled = np.random.default_rng(1).permutation(searched)
    fitting, others = np.array_split(shuffled, 2)
    enrolled = others[: len(others) // 2]
    rows = np.isin(compared.query_person_ids, fitting)
    part = PersonScores(
        compared.scores[rows],
        compared.person_ids,
        compared.query_person_ids[rows],
        compared.mates[rows],
    )
    material = person_material(part, across_cameras=True)
    calibration = calibrate(material, depth=depth, flip=flip, data="market1501, half of it")
    click.echo(calibration_text(calibration) + "\n")
    answers = searched_answers(calibration, query, gallery, enrolled, others)
    for kind in ("stranger", "enrolled"):
        total = sum(number for (one, _), number in answers.items() if one == kind)
        shares = ", ".join(
            f"{what} {100 * number / total:.2f} %"
            for (one, what), number in sorted(answers.items())
            if one == kind
        )
        click.echo(
            f"{total:,} searches for {kind} people in a gallery of {len(enrolled)}: {shares}"
        )


def searched_answers(
    calibration: Calibration,
    query: tuple[Features, NDArray[np.int64], NDArray[np.int64]],
    gallery: tuple[Features, NDArray[np.int64], NDArray[np.int64]],
    enrolled: NDArray[np.int64],
    others: NDArray[np.int64],
) -> Counter[tuple[str, str]]:
    """Enrol people by name, search for everybody, and count the answers."""
    key = ModelKey("benchmark", calibration.depth, query[0].shape[1])
    counts: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory() as folder, SqliteGallery(folder, create=True) as opened:
        named = {int(person): opened.enrol(str(person)) for person in enrolled}
        rows = np.flatnonzero(np.isin(gallery[1], enrolled))
        opened.add(
            [
                Sighting(
                    embedding=gallery[0][at],
                    model=key,
                    camera_id=int(gallery[2][at]),
                    time_s=float(at),
                    person_id=named[int(gallery[1][at])],
                )
                for at in rows
            ]
        )
        for at in np.flatnonzero(np.isin(query[1], others)):
            person = named.get(int(query[1][at]), -1)
            (result,) = opened.search(query[0][at], model=key, k=_FOUND)
            own_camera = (result.person_ids == person) & (result.camera_ids == query[2][at])
            left = np.flatnonzero(~own_camera)
            best = left[0] if len(left) else None
            score = None if best is None else float(result.similarity[best])
            verdict = calibration.decide(score, len(enrolled)).verdict
            if person >= 0 and verdict != "unknown":
                right = best is not None and result.person_ids[best] == person
                verdict_text = f"{verdict}, {'right' if right else 'wrong'} name"
            else:
                verdict_text = verdict
            counts["enrolled" if person >= 0 else "stranger", verdict_text] += 1
    return counts


def look(embedding: Features, key: ModelKey, split: Split, at: int) -> Sighting:
    """A picture of the gallery, as a camera would have handed it over."""
    return Sighting(
        embedding=embedding, model=key, camera_id=int(split.camera_ids[at]), time_s=float(at)
    )


if __name__ == "__main__":
    main()
