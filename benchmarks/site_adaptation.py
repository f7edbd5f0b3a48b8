r"""What adaptation to a site's cameras gives on cameras that a network never saw.

    python -m benchmarks.site_adaptation --data data/CUHK --cache /tmp/features \
        src/adln/networks/res1.onnx src/adln/networks/res2.onnx \
        person-reidentification-retail-0277.xml person-reidentification-retail-0288.xml

The persons are halved. One half is the site: each of its persons is seen by one camera only, so
that nothing links the cameras; the crops of a person are a track. It fits and decides. The other
half is searched: each crop among all crops of the other camera. Means of three halvings. CUHK01
was used to choose nothing; constants were chosen on CUHK03 and Market-1501.
"""

from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from adln.crops import read_crop
from adln.embedders.embedder import OnnxEmbedder
from adln.matching.adaptation import Adaptation, Method, TrackedCrops, fit_adaptation
from adln.matching.adaptation_gate import decide

_BATCH_SIZE = 64
_HALVINGS = 3
_FALSE_PAIRS = 0.001
_FEW_CROPS = 100
_SWITCHED = 0.3
_METHODS = (
    Method(name="mean of all cameras", by_camera=False),
    Method(name="camera means", by_camera=True),
    Method(name="camera means and deviations", by_camera=True, deviations=True),
    Method(name="camera means and half whitening", by_camera=True, whitening=0.5),
    Method(name="camera means and whitening", by_camera=True, whitening=1.0),
)


def _cuhk01(folder: Path) -> tuple[list[Path], list[int], list[int]]:
    """Paths, persons and cameras of names such as 0001003.png."""
    paths = sorted((folder / "CUHK01" / "campus").glob("*.png"))
    persons = [int(path.stem[:4]) for path in paths]
    return paths, persons, [int(int(path.stem[4:]) > 2) for path in paths]


def _cuhk03(folder: Path) -> tuple[list[Path], list[int], list[int]]:
    """Paths, persons and cameras of names such as 0001_07.jpg."""
    paths = sorted((folder / "labeled" / "train").glob("*.jpg"))
    persons = [int(path.stem.split("_")[0]) for path in paths]
    return paths, persons, [int(int(path.stem.split("_")[1]) > 4) for path in paths]


DATA_SETS = {"CUHK03": _cuhk03, "CUHK01": _cuhk01}


def _embed(network: Path, paths: list[Path]) -> NDArray[np.float32]:
    embedder = OnnxEmbedder(network, threads=1)
    height, width = embedder.crop_size
    parts = []
    for start in range(0, len(paths), _BATCH_SIZE):
        crops = [
            read_crop(path, height_px=height, width_px=width)
            for path in paths[start : start + _BATCH_SIZE]
        ]
        parts.append(embedder.embed(np.stack(crops))[embedder.depths[-1]])
    return np.concatenate(parts)


def search_figures(
    embeddings: NDArray[np.float32], persons: NDArray[np.int64], cameras: NDArray[np.int64]
) -> tuple[float, float, float]:
    """Rank-1, mAP and TPR at 0.1 % false pairs, in percent, across two cameras."""
    first, second = np.flatnonzero(cameras == 0), np.flatnonzero(cameras == 1)
    scores = embeddings[first] @ embeddings[second].T
    same = persons[first][:, np.newaxis] == persons[second]
    rank1, precision = [], []
    for table, truth in ((scores, same), (scores.T, same.T)):
        for row, is_own in zip(table, truth, strict=True):
            hits = is_own[np.argsort(-row, kind="stable")]
            ranks = np.flatnonzero(hits) + 1
            if len(ranks) > 0:
                rank1.append(hits[0])
                precision.append(np.mean(np.arange(1, len(ranks) + 1) / ranks))
    threshold = np.quantile(scores[~same], 1 - _FALSE_PAIRS)
    return (
        100 * float(np.mean(rank1)),
        100 * float(np.mean(precision)),
        100 * float(np.mean(scores[same] > threshold)),
    )


def with_switches(crops: TrackedCrops, share: float, seed: int) -> TrackedCrops:
    """A share of the tracks go on with another person of the same camera from their middle."""
    rng = np.random.default_rng(seed)
    numbers = crops.track_numbers()
    embeddings = crops.embeddings.copy()
    for camera in np.unique(crops.cameras):
        tracks = np.unique(numbers[crops.cameras == camera])
        chosen = rng.choice(tracks, round(share * len(tracks)), replace=False)
        for track, other in zip(chosen, np.roll(chosen, 1), strict=True):
            mine, theirs = np.flatnonzero(numbers == track), np.flatnonzero(numbers == other)
            tail = mine[len(mine) // 2 :][: len(theirs)]
            embeddings[tail] = crops.embeddings[theirs[: len(tail)]]
    return TrackedCrops(embeddings, crops.cameras, crops.tracks, crops.time_s)


def _few(crops: TrackedCrops, seed: int) -> TrackedCrops:
    rng = np.random.default_rng(seed)
    rows = [
        rng.permutation(np.flatnonzero(crops.cameras == camera))[:_FEW_CROPS]
        for camera in np.unique(crops.cameras)
    ]
    return crops.part(np.sort(np.concatenate(rows)))


def _one_camera(crops: TrackedCrops) -> TrackedCrops:
    return TrackedCrops(
        crops.embeddings, np.zeros_like(crops.cameras), crops.track_numbers(), crops.time_s
    )


def _rows(crops: TrackedCrops, seed: int) -> dict[str, Callable[[], Adaptation | None]]:
    rows: dict[str, Callable[[], Adaptation | None]] = {"as it is": lambda: None}
    for method in _METHODS:
        rows[method.name] = lambda method=method: fit_adaptation(crops, method)  # type: ignore[misc]
    rows["camera means, 100 crops a camera"] = lambda: fit_adaptation(
        _few(crops, seed), _METHODS[1]
    )
    rows["what the gate chooses"] = lambda: decide(crops).adaptation
    rows["the same, all as one camera"] = lambda: decide(_one_camera(crops)).adaptation
    rows["the same, 30 % of tracks switched"] = lambda: (
        decide(with_switches(crops, _SWITCHED, seed)).adaptation
    )
    return rows


@click.command()
@click.argument("networks", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--data", "data_path", required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--cache", "cache_path", type=click.Path(file_okay=False, path_type=Path))
@click.option("--set", "names", multiple=True, type=click.Choice(list(DATA_SETS)))
def main(
    networks: tuple[Path, ...], data_path: Path, cache_path: Path | None, names: tuple[str, ...]
) -> None:
    """Print Rank-1 / mAP / TPR at 0.1 % false pairs for each network and way of adapting."""
    for name in names or tuple(DATA_SETS):
        paths, person_list, camera_list = DATA_SETS[name](data_path)
        persons, cameras = np.array(person_list), np.array(camera_list)
        for network in networks:
            cached = None if cache_path is None else cache_path / f"{network.stem}-{name}.npz"
            if cached is not None and cached.exists():
                with np.load(cached, allow_pickle=False) as content:
                    embeddings = content["embeddings"]
            else:
                embeddings = _embed(network, paths)
                if cached is not None:
                    cached.parent.mkdir(parents=True, exist_ok=True)
                    np.savez(cached, embeddings=embeddings)
            click.echo(f"{network.stem}, {name}")
            _print_table(embeddings, persons, cameras)


def _print_table(
    embeddings: NDArray[np.float32], persons: NDArray[np.int64], cameras: NDArray[np.int64]
) -> None:
    figures: dict[str, list[tuple[float, float, float]]] = {}
    chosen: dict[str, list[str]] = {}
    for seed in range(_HALVINGS):
        shuffled = np.random.default_rng(seed).permutation(np.unique(persons))
        tested = np.isin(persons, shuffled[: len(shuffled) // 2])
        site = shuffled[len(shuffled) // 2 :]
        # Each person of the site is seen by one camera only, in turns.
        seen = np.zeros(persons.max() + 1, dtype=np.int64) - 1
        seen[site] = np.arange(len(site)) % 2
        rows = seen[persons] == cameras
        crops = TrackedCrops(embeddings[rows], cameras[rows], persons[rows])
        for label, fit in _rows(crops, seed).items():
            adaptation = fit()
            adapted = embeddings[tested]
            if adaptation is not None:
                adapted = adaptation.apply(adapted, cameras[tested])
            chosen.setdefault(label, []).append(adaptation.method if adaptation else "none")
            figures.setdefault(label, []).append(
                search_figures(adapted, persons[tested], cameras[tested])
            )
    for label, values in figures.items():
        text = " / ".join(f"{value:.1f}" for value in np.mean(values, axis=0))
        choices = ", ".join(dict.fromkeys(chosen[label]))
        click.echo(
            f"  {label:36} {text:22} {choices if 'same' in label or 'gate' in label else ''}"
        )


if __name__ == "__main__":
    main()
