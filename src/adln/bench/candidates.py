"""Networks to time (Table 1): exported ones, and foreign ones (peers) as ONNX or OpenVINO files."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from adln.atomic import beside, suffix_of
from adln.bench.operations import count_operations
from adln.embedders.proving import find_verdict, run_alone
from adln.embedders.session import OpenModel, Runtime, open_session, start_session
from adln.errors import ModelFileError, SettingsError, require_package
from adln.manifest import Accuracy

Run = Callable[[], object]
# Default input of a peer that leaves it open: the usual 256 x 128 px, three channels.
_CROP_SIDES = {1: 3, 2: 256, 3: 128}
_NUMPY_TYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8,
}


@dataclass(frozen=True)
class Facts:
    """What is known about a candidate without timing it.

    Attributes:
        name: file name without suffix.
        precision: "fp32", "fp16", "bf16" or "int8".
        is_own: whether `adln export` made it.
        macs: multiply-accumulates for one crop; None if they could not be counted.
        accuracy: from the manifest; empty for peers.
        verdict: whether its outputs here equal those of the export, in words; "" for peers.
    """

    name: str
    runtime: Runtime
    precision: str
    is_own: bool
    file_bytes: int
    macs: int | None
    accuracy: tuple[Accuracy, ...] = ()
    verdict: str = ""


class Candidate(Protocol):
    """A network that can be timed."""

    path: Path

    @property
    def facts(self) -> Facts:
        """What is known about it without timing it."""

    def build_run(self, batch_size: int) -> Run | None:
        """Make a function that runs the network on random pixels; None if it has another size."""


class OnnxCandidate:
    """An ONNX file, run by onnxruntime.

    Args:
        threads: cores for one run.
        own: whether it must be a file of `adln export`; otherwise any network with one input of
            crops is accepted.

    Raises:
        ModelFileError: see `open_session`.
    """

    def __init__(self, path: Path, *, threads: int, own: bool) -> None:
        model: OpenModel | None = None
        if own:
            model = open_session(path, threads=threads)
            self._session = model.session
        else:
            self._session = start_session(path, threads=threads)
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or inputs[0].type not in _NUMPY_TYPES:
            found = [(node.name, node.type) for node in inputs]
            raise ModelFileError(f"{path}: expected one input of pixels, found {found}.")
        self._input = inputs[0]
        self._outputs: list[str] | None = None
        if model is not None:
            # The norm of the feature is only needed for the flip test.
            manifest = model.manifest
            self._outputs = [manifest.output_names(depth)[0] for depth in manifest.depths]
        self.path = path
        self._model = model

    @cached_property
    def facts(self) -> Facts:
        """See `Candidate`; computed once."""
        operations = count_operations(self.path, self._feeds(1))
        precision = "int8" if operations.quantised else "fp32"
        if self._input.type == "tensor(float16)":
            precision = "fp16"
        size = self.path.stat().st_size
        peer = Facts(self.path.stem, "onnxruntime", precision, False, size, operations.macs)
        if self._model is None:
            return peer
        manifest = self._model.manifest
        return replace(
            peer,
            precision=manifest.precision,
            is_own=True,
            accuracy=manifest.accuracy,
            verdict=find_verdict([self._model], run_alone(self._model)).text,
        )

    def build_run(self, batch_size: int) -> Run | None:
        """See `Candidate`."""
        fixed = self._input.shape[0]
        if isinstance(fixed, int) and fixed != batch_size:
            return None
        feeds = self._feeds(batch_size)
        return lambda: self._session.run(self._outputs, feeds)

    def _feeds(self, batch_size: int) -> dict[str, Any]:
        shape = _full_shape(self._input.shape, batch_size)
        return {self._input.name: _pixels(shape, _NUMPY_TYPES[self._input.type])}


class OpenVinoCandidate:
    """An OpenVINO file (.xml beside its .bin) or an ONNX file, run by OpenVINO.

    Args:
        threads: cores for one run.
        precision: of the floating-point layers, "f32" or "bf16". Always set, because OpenVINO's
            default depends on the machine.
        name: default: the file name without suffix.

    Raises:
        SettingsError: OpenVINO is not installed.
        ModelFileError: OpenVINO cannot read the file.
    """

    def __init__(
        self, path: Path, *, threads: int, precision: str = "f32", name: str | None = None
    ) -> None:
        openvino = require_package(
            "openvino", extra="openvino", purpose="an .xml peer", raises=SettingsError
        )
        self._core = openvino.Core()
        self._files = [path, beside(path, ".bin")] if suffix_of(path) == ".xml" else [path]
        self._options = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
        }
        self.path = path
        try:
            model = self._core.read_model(*self._files)
            model.reshape(self._shape(model, 1))
        except Exception as error:
            raise ModelFileError(
                f"{path}: OpenVINO cannot read it ({str(error).strip().splitlines()[-1]}); "
                "an .xml file needs its .bin file beside it."
            ) from error
        kinds = {node.get_type_name() for node in model.get_ordered_ops()}
        precision = {"f32": "fp32", "f16": "fp16"}.get(precision, precision)
        precision = "int8" if "FakeQuantize" in kinds else precision
        size, macs = sum(file.stat().st_size for file in self._files), _openvino_macs(model)
        self.facts = Facts(name or path.stem, "openvino", precision, False, size, macs)

    def build_run(self, batch_size: int) -> Run | None:
        """See `Candidate`."""
        model = self._core.read_model(*self._files)
        shape = self._shape(model, batch_size)
        try:
            model.reshape(shape)
            request = self._core.compile_model(model, "CPU", self._options).create_infer_request()
        except Exception:
            # Some networks have a fixed batch size in their inner nodes.
            return None
        kind = np.uint8 if "u8" in str(model.input(0).get_element_type()) else np.float32
        pixels = _pixels(shape, kind)
        return lambda: request.infer([pixels], share_inputs=True)

    @staticmethod
    def _shape(model: Any, batch_size: int) -> list[int]:
        sides = model.input(0).get_partial_shape()
        return _full_shape(
            [side.get_length() if side.is_static else None for side in sides], batch_size
        )


def open_peer(path: Path, *, threads: int) -> Candidate:
    """Open the network file of a peer: .onnx (run by onnxruntime) or .xml (run by OpenVINO).

    Raises:
        ModelFileError: another suffix, or the file cannot be read.
        SettingsError: OpenVINO is needed and not installed.
    """
    if suffix_of(path) == ".xml":
        return OpenVinoCandidate(path, threads=threads)
    if suffix_of(path) == ".onnx":
        return OnnxCandidate(path, threads=threads, own=False)
    raise ModelFileError(f"{path}: a peer must be a file ending in .onnx or .xml.")


def _full_shape(sides: Sequence[Any], batch_size: int) -> list[int]:
    """A shape of which some sides are open, for a number of crops."""
    inner = [
        side if isinstance(side, int) else _CROP_SIDES.get(axis, 1)
        for axis, side in enumerate(sides)
    ]
    return [batch_size, *inner[1:]]


def _pixels(shape: list[int], kind: type[np.generic]) -> Any:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    return pixels.astype(kind)


def _openvino_macs(model: Any) -> int:
    total = 0
    for node in model.get_ordered_ops():
        kind = node.get_type_name()
        if kind in ("Convolution", "GroupConvolution"):
            # Weights are (out, in, k, k) or (groups, out, in, k, k).
            weights = node.input(1).get_shape()
            inner = weights[2:] if kind == "GroupConvolution" else weights[1:]
            total += int(np.prod(node.output(0).get_shape()) * np.prod(inner))
        elif kind == "MatMul":
            total += int(np.prod(node.output(0).get_shape()) * node.input(0).get_shape()[-1])
    return total
