"""Finds control flow operators in an ONNX file, without the onnx package.

In the networks of Sec. II every node runs once; onnxruntime could run a loop forever. Only the top
level of the file is parsed; weights are skipped.
"""

from collections.abc import Iterator

CONTROL_FLOW = frozenset({"Loop", "Scan", "If"})

# Fields of ONNX's protocol buffers (onnx.proto3).
_MODEL_GRAPH, _MODEL_FUNCTIONS = 7, 25
_GRAPH_NODE, _FUNCTION_NODE = 1, 7
_NODE_OP_TYPE = 4
_VARINT, _FIXED_64, _BLOCK, _FIXED_32 = 0, 1, 2, 5


def find_control_flow(content: bytes) -> tuple[str, ...]:
    """The members of `CONTROL_FLOW` that an ONNX file uses which onnxruntime has accepted, sorted.

    Raises:
        ValueError: the file is malformed.
    """
    found: set[str] = set()
    for field, part in _blocks(memoryview(content)):
        wanted = {_MODEL_GRAPH: _GRAPH_NODE, _MODEL_FUNCTIONS: _FUNCTION_NODE}.get(field)
        if wanted is None:
            continue
        for inner, node in _blocks(part):
            if inner == wanted:
                found |= {bytes(text).decode() for f, text in _blocks(node) if f == _NODE_OP_TYPE}
    return tuple(sorted(found & CONTROL_FLOW))


def _blocks(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and content of a message's length-delimited fields."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        field, kind = key >> 3, key & 7
        if kind == _VARINT:
            _, at = _varint(data, at)
        elif kind in (_FIXED_64, _FIXED_32):
            at += 8 if kind == _FIXED_64 else 4
        elif kind == _BLOCK:
            length, at = _varint(data, at)
            yield field, data[at : at + length]
            at += length
        else:
            raise ValueError(f"wire type {kind} is not one of ONNX")


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("the file ends within a number")
