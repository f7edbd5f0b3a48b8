"""Helpers to edit the nodes of a graph: find, make, replace, remove.

For the deployment of Sec. III.C.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

TO_CHANNELS_LAST = (0, 2, 3, 1)
TO_CHANNELS_FIRST = (0, 3, 1, 2)


class Maker:
    """Makes nodes and constants, with names that begin with that of the node they replace."""

    def __init__(self, graph: ir.Graph, name: str) -> None:
        self.graph = graph
        self.name = name
        self.nodes: list[ir.Node] = []

    def __call__(
        self, op_type: str, *inputs: ir.Value | NDArray[np.generic] | None, **attributes: Any
    ) -> ir.Value:
        """Make a node and return its output; arrays become constants, None omits an input."""
        name = f"{self.name}/{op_type}"
        if any(node.name == name for node in self.nodes):
            name = f"{name}_{len(self.nodes)}"
        values = [
            self.constant(value, f"{op_type}_{index}") if isinstance(value, np.ndarray) else value
            for index, value in enumerate(inputs)
        ]
        node = ir.node(op_type, values, attributes, name=name)
        node.outputs[0].name = name
        self.nodes.append(node)
        return node.outputs[0]

    def constant(self, array: NDArray[np.generic], role: str) -> ir.Value:
        """Add a constant to the graph."""
        return add_constant(self.graph, array, f"{self.name}/{role}_{len(self.nodes)}")

    def replace(self, old: ir.Node) -> None:
        """Replace an old node; the last node made takes over its output."""
        self.graph.insert_before(old, self.nodes)
        new_value, old_value = self.nodes[-1].outputs[0], old.outputs[0]
        new_value.shape, new_value.type = old_value.shape, old_value.type
        old_value.replace_all_uses_with(new_value, replace_graph_outputs=True)
        name = old_value.name
        self.graph.remove(old, safe=True)
        new_value.name = name


def add_constant(graph: ir.Graph, array: NDArray[np.generic], name: str) -> ir.Value:
    """Add a constant to a graph."""
    tensor = ir.tensor(array, name=name)
    value = ir.Value(
        name=name, const_value=tensor, type=ir.TensorType(tensor.dtype), shape=ir.Shape(array.shape)
    )
    graph.register_initializer(value)
    return value


def remove_dead_nodes(graph: ir.Graph) -> None:
    """Remove nodes and constants whose outputs are not used."""
    outputs = set(graph.outputs)
    for node in reversed(list(graph)):
        if not any(value.uses() or value in outputs for value in node.outputs):
            graph.remove(node, safe=True)
    for name, value in list(graph.initializers.items()):
        if not value.uses():
            del graph.initializers[name]


def chain(node: ir.Node | None, *op_types: str) -> list[ir.Node] | None:
    """The chain of first inputs that ends in this node, itself first, if it has these types."""
    nodes: list[ir.Node] = []
    for op_type in op_types:
        if node is None or node.op_type != op_type:
            return None
        nodes.append(node)
        node = node.inputs[0].producer() if node.inputs[0] is not None else None
    return nodes


def maker_of(value: ir.Value | None, op_type: str) -> ir.Node | None:
    """The node that a value comes from, if it is of this type."""
    node = None if value is None else value.producer()
    return node if node is not None and node.op_type == op_type else None


def producer(node: ir.Node, op_type: str) -> ir.Node | None:
    """The node that produces the first input, if it is of this type."""
    return maker_of(node.inputs[0], op_type)


def widener(node: ir.Node, index: int) -> ir.Node:
    """The node that dequantises an input of an int8 operation."""
    found = maker_of(node.inputs[index], "DequantizeLinear")
    assert found is not None
    return found


def constant(value: ir.Value | None) -> NDArray[Any] | None:
    """Value of a constant; None for other values."""
    return None if value is None or value.const_value is None else value.const_value.numpy()


def reduced_axes(node: ir.Node) -> tuple[int, ...]:
    """The axes that a reduction states; empty if it states none."""
    wanted = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    return () if wanted is None else tuple(int(axis) for axis in wanted.reshape(-1))


def drops_axes(node: ir.Node) -> bool:
    """Whether a reduction removes the reduced axes from the shape."""
    return "keepdims" in node.attributes and node.attributes["keepdims"].as_int() == 0


def is_permutation(node: ir.Node, order: Sequence[int]) -> bool:
    """Whether a transposition permutes the axes in this order."""
    return tuple(node.attributes["perm"].as_ints()) == tuple(order)


def dim(value: ir.Value, axis: int) -> int:
    """Length of an axis; it must be fixed."""
    size = value.shape[axis] if value.shape is not None else None
    assert isinstance(size, int), f"{value.name} must have a fixed size along axis {axis}"
    return size
