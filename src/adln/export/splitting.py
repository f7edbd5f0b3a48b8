"""Splits a network of several depths into files that go on from each other's maps.

Sec. III.C of the paper: the depths share their stages. A device runs the shallow file on every
crop, keeps the map that it puts out, and runs the deeper file only for the crops that need it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from adln.manifest import CROPS, Manifest, map_name
from adln.runtime.session import OpenModel, open_session


@dataclass(frozen=True)
class Part:
    """One file of a network.

    Attributes:
        model: its graph.
        depths: depths that it answers.
        starts_after: stage whose map it takes; 0 if it takes crops.
        maps: stages whose maps it puts out.
    """

    model: ir.Model
    depths: tuple[int, ...]
    starts_after: int = 0
    maps: tuple[int, ...] = ()


def split(model: ir.Model, depths: Sequence[int]) -> tuple[Part, ...]:
    """Cut a graph behind the map of each depth but the last.

    Args:
        model: of all depths, with the outputs "embedding_<depth>", "norm_<depth>" and, for each
            depth but the last, "map_<depth>". It is used up.
        depths: ascending, two or more.

    Returns:
        A part for each depth. The maps of an int8 graph are cut where they are 8-bit integers,
        so that a cached map takes a quarter of the room and nothing is computed twice.
    """
    graph = model.graph
    outputs = {str(value.name): value for value in graph.outputs}
    boundary = {stage: _boundary(outputs[map_name(stage)]) for stage in depths[:-1]}
    for stage, value in boundary.items():
        outputs[map_name(stage)].name = f"{map_name(stage)}/float"
        value.name = map_name(stage)
    parts = []
    before = 0
    for depth in depths:
        maps = (depth,) if depth in boundary else ()
        ends = [outputs[f"embedding_{depth}"], outputs[f"norm_{depth}"]]
        ends += [boundary[stage] for stage in maps]
        start = boundary[before] if before else graph.inputs[0]
        part = ir.convenience.extract(graph, [start], ends)
        for value, name in zip(part.outputs, ("embedding", "norm"), strict=False):
            value.name = name
        parts.append(
            Part(
                ir.Model(part, ir_version=model.ir_version),
                depths=(depth,),
                starts_after=before,
                maps=maps,
            )
        )
        before = depth
    return tuple(parts)


def _boundary(value: ir.Value) -> ir.Value:
    """The 8-bit tensor that a map is made of, or the map itself."""
    producer = value.producer()
    if producer is not None and producer.op_type == "DequantizeLinear":
        quantised = producer.inputs[0]
        assert quantised is not None
        quantised.shape = value.shape
        quantised.type = ir.TensorType(ir.DataType.UINT8)
        return quantised
    return value


class ChainedEmbedder:
    """Runs split files one after the other, each on the map of the one before.

    Args:
        paths: the files, from the shallowest on.
        batch_size: crops computed at a time.

    Raises:
        ModelFileError: see `adln.runtime.session.open_session`.
    """

    def __init__(self, paths: Sequence[Path], *, batch_size: int) -> None:
        self._models: list[OpenModel] = [open_session(path) for path in paths]
        self._batch_size = batch_size

    @property
    def depths(self) -> tuple[int, ...]:
        """Depths that `embed` answers, ascending."""
        return tuple(depth for model in self._models for depth in model.manifest.depths)

    @property
    def dim(self) -> int:
        """Length D of an embedding."""
        return self._first.dim

    @property
    def crop_size(self) -> tuple[int, int]:
        """Height and width in px of the crops that it takes."""
        return self._first.height_px, self._first.width_px

    @property
    def _first(self) -> Manifest:
        return self._models[0].manifest

    def embed(self, crops: NDArray[np.uint8]) -> dict[int, NDArray[np.float32]]:
        """Embed crops at every depth, each part on the map of the part before."""
        answers: dict[int, list[NDArray[np.float32]]] = {depth: [] for depth in self.depths}
        for start in range(0, len(crops), self._batch_size):
            tensors: dict[str, Any] = {CROPS: crops[start : start + self._batch_size]}
            for model in self._models:
                manifest = model.manifest
                names = [node.name for node in model.session.get_outputs()]
                given = {manifest.input_name: tensors[manifest.input_name]}
                tensors = dict(zip(names, model.session.run(names, given), strict=True))
                for depth in manifest.depths:
                    answers[depth].append(tensors[manifest.output_names(depth)[0]])
        return {depth: np.concatenate(parts) for depth, parts in answers.items()}
