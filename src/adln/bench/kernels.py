"""The machine's peak, for Table 1: single convolutions and matrix products, as fast as possible.

The kernels are onnxruntime's, because numpy's matrix product may reach only half of the peak.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Large enough to keep the arithmetic units busy, small enough for the L2 cache of a small core;
# other sizes were no faster.
_CHANNELS, _MAP, _MATRIX_SIDE = 256, (32, 16), 512

# Element types in the ONNX format.
_FLOAT, _UINT8, _INT8, _INT32 = 1, 2, 3, 6
_ATTRIBUTE_INTS = 7
_IR_VERSION, _OPSET = 8, 13


@dataclass(frozen=True)
class Kernel:
    """One operation to time.

    Attributes:
        precision: "fp32" or "int8".
        operations: multiplications and additions in one run.
        run: runs it once.
    """

    name: str
    precision: str
    operations: int
    run: Callable[[], object]


def build_kernels(*, threads: int = 1) -> list[Kernel]:
    """Build the kernels whose best rate defines the machine's peak.

    Returns:
        For each of fp32 and int8 (unsigned by signed, as in quantised networks), a 3x3 convolution
        of 256 channels and a matrix product of side 512.
    """
    rng = np.random.default_rng(0)
    map_shape, weight_shape = (1, _CHANNELS, *_MAP), (_CHANNELS, _CHANNELS, 3, 3)
    square = (_MATRIX_SIDE, _MATRIX_SIDE)
    convolution = 2 * _CHANNELS * _CHANNELS * 9 * _MAP[0] * _MAP[1]
    product = 2 * _MATRIX_SIDE**3

    def floats(*shape: int) -> NDArray[np.float32]:
        return rng.standard_normal(shape, dtype=np.float32)

    def unsigned(*shape: int) -> NDArray[np.uint8]:
        return rng.integers(0, 256, shape, dtype=np.uint8)

    def signed(*shape: int) -> NDArray[np.int8]:
        return rng.integers(-127, 128, shape, dtype=np.int8)

    # x, its scale and zero point; w, its scale and zero point; scale and zero point of y.
    quantised = {
        "x_scale": np.float32(0.02),
        "x_zero": np.uint8(128),
        "w": signed(*weight_shape),
        "w_scale": np.float32(0.01),
        "w_zero": np.int8(0),
        "y_scale": np.float32(0.5),
        "y_zero": np.uint8(128),
    }
    plans: list[tuple[str, str, int, str, NDArray[Any], dict[str, Any], int]] = [
        ("convolution 3x3", "fp32", convolution, "Conv", floats(*map_shape),
         {"w": floats(*weight_shape)}, _FLOAT),
        ("matrix product", "fp32", product, "MatMul", floats(*square),
         {"w": floats(*square)}, _FLOAT),
        ("convolution 3x3", "int8", convolution, "QLinearConv", unsigned(*map_shape),
         quantised, _UINT8),
        ("matrix product", "int8", product, "MatMulInteger", unsigned(*square),
         {"w": signed(*square)}, _INT32),
    ]  # fmt: skip
    kernels = []
    for name, precision, operations, operator, x, constants, y_type in plans:
        pads = (1, 1, 1, 1) if "Conv" in operator else ()
        # Both operators keep the shape.
        model = one_operator(operator, x, constants, y_type=y_type, y_shape=x.shape, pads=pads)
        kernels.append(Kernel(name, precision, operations, _runner(model, x, threads)))
    return kernels


def _runner(model: bytes, x: NDArray[Any], threads: int) -> Callable[[], object]:
    import onnxruntime  # type: ignore[import-untyped]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"x": x})


def one_operator(
    operator: str,
    x: NDArray[Any],
    constants: dict[str, Any],
    *,
    y_type: int,
    y_shape: tuple[int, ...],
    pads: tuple[int, ...] = (),
) -> bytes:
    """Write an ONNX model of one operator: y = operator(x, *constants).

    Written byte by byte, because devices have onnxruntime, which reads such models, but not the
    onnx package, which writes them.

    Args:
        operator: name in the default operator set 13.
        x: example input, for its shape and type.
        constants: further inputs in order, by name.
        y_type: ONNX element type of the output.
        y_shape: of the output.
        pads: attribute "pads", if the operator has one.
    """
    node = [_text(1, name) for name in ("x", *constants)] + [_text(2, "y"), _text(4, operator)]
    if pads:
        ints = b"".join(_number(8, pad) for pad in pads)
        node.append(_block(5, [_text(1, "pads"), ints, _number(20, _ATTRIBUTE_INTS)]))
    graph = [
        _block(1, node),
        _text(2, operator),
        *(_block(5, _tensor(name, np.asarray(value))) for name, value in constants.items()),
        _block(11, _value(x.shape, "x", _onnx_type(x.dtype))),
        _block(12, _value(y_shape, "y", y_type)),
    ]
    operator_set = [_text(1, ""), _number(2, _OPSET)]
    return b"".join([_number(1, _IR_VERSION), _block(7, graph), _block(8, operator_set)])


def _onnx_type(dtype: np.dtype[Any]) -> int:
    return {"float32": _FLOAT, "uint8": _UINT8, "int8": _INT8}[dtype.name]


def _tensor(name: str, value: NDArray[Any]) -> list[bytes]:
    return [
        *(_number(1, size) for size in value.shape),
        _number(2, _onnx_type(value.dtype)),
        _text(8, name),
        _bytes(9, value.astype(value.dtype.newbyteorder("<")).tobytes()),
    ]


def _value(shape: tuple[int, ...], name: str, kind: int) -> list[bytes]:
    sides = _block(2, [_block(1, [_number(1, size)]) for size in shape])
    return [_text(1, name), _block(2, [_block(1, [_number(1, kind), sides])])]


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode())


def _block(field: int, parts: Iterable[bytes]) -> bytes:
    return _bytes(field, b"".join(parts))


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    """Seven bits per byte, lowest first; the top bit marks that more follow."""
    if value <= 0x7F:
        return bytes([value])
    return bytes([value & 0x7F | 0x80]) + _varint(value >> 7)
