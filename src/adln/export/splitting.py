"""Splits a network of several depths into files that continue from each other's feature maps.

Sec. III.C of the paper: the depths share their stages. A device runs the shallow file on every
crop, keeps its feature map, and runs the deeper file only for the crops that need it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from adln.manifest import map_name, sum_name


@dataclass(frozen=True)
class Part:
    """One file of a network, which computes some depths.

    It starts after the map of a stage, or takes crops if that is 0, and outputs the maps of others.
    At the stages `sums`, the sum of embeddings accompanies the map, as output or input.
    """

    model: ir.Model
    depths: tuple[int, ...]
    starts_after: int = 0
    maps: tuple[int, ...] = ()
    sums: tuple[int, ...] = ()


def split(model: ir.Model, depths: Sequence[int]) -> tuple[Part, ...]:
    """Cut a graph after the map of each depth except the last; it is consumed.

    It has the outputs "embedding_<depth>", "norm_<depth>" and, for each depth but the last,
    "map_<depth>", and "sum_<depth>" if embeddings of exits are summed there. There are two depths
    or more, ascending. The maps of an int8 graph are cut where they are 8-bit integers, so that a
    cached map takes a quarter of the memory and nothing is computed twice.
    """
    graph = model.graph
    outputs = {str(value.name): value for value in graph.outputs}
    boundary = {stage: _boundary(outputs[map_name(stage)]) for stage in depths[:-1]}
    for stage, value in boundary.items():
        outputs[map_name(stage)].name = f"{map_name(stage)}/float"
        value.name = map_name(stage)
    sums = {
        stage: [outputs[sum_name(stage)]] for stage in depths[:-1] if sum_name(stage) in outputs
    }
    parts = []
    before = 0
    for depth in depths:
        maps = (depth,) if depth in boundary else ()
        ends = [outputs[f"embedding_{depth}"], outputs[f"norm_{depth}"]]
        starts = [boundary[before]] if before else [graph.inputs[0]]
        for stage in maps:
            ends += [boundary[stage], *sums.get(stage, [])]
        starts += sums.get(before, [])
        part = ir.convenience.extract(graph, starts, ends)
        for value, name in zip(part.outputs, ("embedding", "norm"), strict=False):
            value.name = name
        parts.append(
            Part(
                ir.Model(part, ir_version=model.ir_version),
                depths=(depth,),
                starts_after=before,
                maps=maps,
                sums=tuple(stage for stage in (before, *maps) if stage in sums),
            )
        )
        before = depth
    return tuple(parts)


def _boundary(value: ir.Value) -> ir.Value:
    """The 8-bit tensor that a map is dequantised from, or the map itself."""
    producer = value.producer()
    if producer is not None and producer.op_type == "DequantizeLinear":
        quantised = producer.inputs[0]
        assert quantised is not None
        quantised.shape = value.shape
        quantised.type = ir.TensorType(ir.DataType.UINT8)
        return quantised
    return value
