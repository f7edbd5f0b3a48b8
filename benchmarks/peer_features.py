r"""What somebody else's network says of a data set: its figures, or lessons for `adln train`.

    python -m benchmarks.peer_features --model person-reidentification-retail-0277.xml \
        --data data/Market-1501-v15.09.15 --lessons runs/lessons-0277.npz
    python -m benchmarks.peer_features --model person-reidentification-retail-0286.xml \
        --data data/Market-1501-v15.09.15 --evaluate

OpenVINO runs it: .xml with its .bin beside it, or .onnx. Pixels go in as 0..255, as Intel's
networks want them; for those of torchreid and fast-reid give `--colours rgb
--imagenet-statistics`.
"""

import hashlib
import importlib
import time
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

import adln
from adln.datasets.catalogue import open_dataset
from adln.embeddings import flip_average, unit_length
from adln.evaluation.protocol import embed_split, evaluate
from adln.features import Features, FeatureSource, write_features
from adln.model.network import IMAGENET_MEAN, IMAGENET_STD

BATCH_SIZE = 16
_NO_DEPTH = 0


class PeerEmbedder:
    """An `adln.embeddings.Embedder` around a network of another make, with a single depth."""

    depths = (_NO_DEPTH,)

    def __init__(
        self, path: Path, *, threads: int, bgr: bool, imagenet_statistics: bool, flip: bool
    ) -> None:
        core = importlib.import_module("openvino").Core()
        model = core.read_model(path)
        sides = model.input(0).get_partial_shape()
        height, width = (
            side.get_length() if side.is_static else usual
            for side, usual in zip(list(sides)[2:], (256, 128), strict=True)
        )
        self.crop_size: tuple[int, int] = height, width
        model.reshape([BATCH_SIZE, 3, height, width])
        options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
        self._model = core.compile_model(model, "CPU", options)
        self.dim: int = self._model.output(0).get_shape()[1]
        self._bgr, self._imagenet, self._flip = bgr, imagenet_statistics, flip

    def embed(self, crops: NDArray[np.uint8]) -> dict[int, NDArray[np.float32]]:
        """(N, H, W, 3) RGB crops -> {0: (N, D)} of unit length."""
        features = self._run(crops)
        if self._flip:
            return {_NO_DEPTH: flip_average(features, self._run(crops[:, :, ::-1]))}
        return {_NO_DEPTH: unit_length(features)}

    def _run(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        pixels = crops.astype(np.float32)
        if self._imagenet:
            mean, std = np.array([IMAGENET_MEAN, IMAGENET_STD], np.float32)
            pixels = (pixels / 255 - mean) / std
        if self._bgr:
            pixels = pixels[..., ::-1]
        missing = -len(pixels) % BATCH_SIZE
        pixels = np.pad(pixels, ((0, missing), (0, 0), (0, 0), (0, 0))).transpose(0, 3, 1, 2)
        parts = np.ascontiguousarray(pixels).reshape(-1, BATCH_SIZE, *pixels.shape[1:])
        features = np.concatenate([self._model([part])[0] for part in parts])
        return features.reshape(len(pixels), -1)[: len(crops)]


@click.command()
@click.option("--model", "model_path", required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--data", "data_path", required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--lessons", "lessons_path", type=click.Path(path_type=Path), help=".npz to write.")
@click.option("--evaluate", "evaluates", is_flag=True, help="Rank-1, mAP and mINP.")
@click.option("--colours", type=click.Choice(["bgr", "rgb"]), default="bgr", show_default=True)
@click.option("--imagenet-statistics", is_flag=True, help="Subtract the mean, divide by the std.")
@click.option("--flip/--no-flip", help="For --evaluate; lessons are always averages with flips.")
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1))
def main(
    model_path: Path,
    data_path: Path,
    lessons_path: Path | None,
    evaluates: bool,
    colours: str,
    imagenet_statistics: bool,
    flip: bool,
    threads: int,
) -> None:
    """Embed a data set with somebody else's network."""

    def embedder(flip: bool) -> PeerEmbedder:
        return PeerEmbedder(
            model_path,
            threads=threads,
            bgr=colours == "bgr",
            imagenet_statistics=imagenet_statistics,
            flip=flip,
        )

    dataset = open_dataset(data_path)
    begun = time.monotonic()
    if lessons_path is not None:
        embeddings = embed_split(embedder(True), dataset.train)[_NO_DEPTH]
        content = model_path.read_bytes()
        if model_path.suffix == ".xml":
            content += model_path.with_suffix(".bin").read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        source = FeatureSource(
            depth=_NO_DEPTH,
            flip=True,
            model_sha256=digest,
            source_sha256=digest,
            precision="fp32",
            adln_version=adln.__version__,
            space=digest[:16],
        )
        paths = tuple(str(path) for path in dataset.train.paths)
        write_features(Features(paths, embeddings, source), lessons_path)
        click.echo(f"{len(paths):,} x {embeddings.shape[1]}: {lessons_path}")
    if evaluates:
        evaluation = evaluate(embedder(flip), dataset.query, dataset.gallery)
        metrics = evaluation.results[_NO_DEPTH].metrics
        click.echo(
            f"{model_path.stem}: Rank-1 {metrics.rank(1):.2%}, mAP {metrics.mean_ap:.2%}, "
            f"mINP {metrics.minp:.2%}"
        )
    click.echo(f"{time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
