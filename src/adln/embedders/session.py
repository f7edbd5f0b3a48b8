"""Opens exported networks: the onnxruntime session and the file's manifest.

Truncated or foreign files, and files whose graph contradicts their manifest, are refused here, so
that later code need not check again.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from adln.atomic import is_there, require_regular, suffix_of
from adln.embedders.control_flow import find_control_flow
from adln.embedders.foreign import not_described, read_sidecar, sidecar, start_foreign
from adln.embedders.named import remember_opened
from adln.embedders.shipped import SHIPPED, find_network, own_networks
from adln.errors import ModelFileError, SettingsError
from adln.manifest import METADATA_KEY, Manifest

# Suppress onnxruntime's warnings; errors raise exceptions.
_LOG_ERRORS_ONLY = 3
Runtime = Literal["onnxruntime", "openvino"]
"""Runtimes for network files on a device."""

_CROPS_TYPE = "tensor(uint8)"
_EXPORTED = "an ONNX file of `adln export`"


@dataclass(frozen=True)
class OpenModel:
    """An exported network that is ready to run.

    Attributes:
        manifest: consistent with the graph.
        session: onnxruntime.InferenceSession; thread-safe.
        sha256: hex digest of the content opened, even if the file has changed since; for a foreign
            network, of its input format, too.
        runtime: version of onnxruntime, and its execution provider.
    """

    path: Path
    manifest: Manifest
    session: Any
    sha256: str
    runtime: tuple[str, str]

    def __post_init__(self) -> None:
        remember_opened(self.sha256, self.path)

    def depth_name(self, depth: int) -> str:
        """Display name of a depth: "Res2"; for a foreign network, the name of its file."""
        name = self.manifest.depth_name(depth)
        return self.path.stem if name == "whole" else name


def usable_cores() -> int:
    """Number of cores available to this process; often fewer in a container than on the machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def require_threads(threads: object) -> None:
    """Raise a `SettingsError` about what is no number of cores."""
    if not isinstance(threads, int | np.integer):
        raise SettingsError(f"threads must be an integer, got {threads!r}.")
    if threads < 1:
        raise SettingsError(f"threads must be at least 1, got {threads}.")


def open_session(path: str | Path, *, threads: int = 1, provider: str | None = None) -> OpenModel:
    """Open an exported network.

    Args:
        path: ONNX file written by `adln export`, or the name of a known network ("res2").
        threads: cores for one run.
        provider: execution provider, with or without its suffix: "cpu", "cuda",
            "OpenVINOExecutionProvider". The CPU if left out.

    Raises:
        ModelFileError: the file is missing, truncated, not an ONNX file, has no manifest, or its
            inputs and outputs contradict its manifest.
        SettingsError: `threads` is below one, or onnxruntime has no such provider here.
    """
    import onnxruntime  # type: ignore[import-untyped]

    path = find_network(path)
    if is_there(sidecar(path)):
        return _open_foreign(path, threads)
    if suffix_of(path) == ".xml":
        raise ModelFileError(
            f"{path}: an OpenVINO file without the description that adln needs; write it once: "
            f"adln networks add {path}"
        )
    content = read_model_file(path)
    session = start_session(path, threads=threads, provider=provider, content=content)
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise ModelFileError(
            f"{path}: an ONNX file without the manifest that `adln export` writes into it; "
            f"export the network again or, if it is a foreign network: adln networks add {path}"
        )
    manifest = Manifest.from_json(text, source=str(path))
    _require_graph_of(manifest, session, path)
    try:
        control_flow = find_control_flow(content)
    except ValueError as error:
        raise ModelFileError(f"{path}: its graph cannot be read ({error}).") from error
    if control_flow:
        raise ModelFileError(
            f"{path}: the graph contains {' and '.join(control_flow)}, which networks of adln "
            "never have and which might run forever; export the network again."
        )
    return OpenModel(
        path,
        manifest,
        session,
        sha256=hashlib.sha256(content).hexdigest(),
        runtime=(onnxruntime.__version__, session.get_providers()[0]),
    )


def _open_foreign(path: Path, threads: int) -> OpenModel:
    form, manifest = read_sidecar(path)
    opened = start_foreign(path, form, threads=threads)
    is_of_it = form.is_identity(manifest.source_sha256, opened.sha256, path)
    size_px = (manifest.height_px, manifest.width_px)
    if not is_of_it or (opened.dim, opened.size_px) != (manifest.dim, size_px):
        raise not_described(path)
    return OpenModel(path, manifest, opened.session, manifest.source_sha256, opened.runtime)


def start_session(
    path: Path,
    *,
    threads: int = 1,
    provider: str | None = None,
    content: bytes | None = None,
    expected: str = _EXPORTED,
) -> Any:
    """Start onnxruntime for any ONNX file; see `open_session`, also for errors.

    Messages say what was `expected`, with an article. `content` is that of the file, if it was read
    already; it must be None for a file with weights in external files.
    """
    require_threads(threads)
    require_regular(path, raises=ModelFileError, expected=expected)
    try:
        size = path.stat().st_size if content is None else len(content)
    except OSError as error:
        raise _unopened(path, error, expected) from error
    if size == 0:
        raise ModelFileError(f"{path}: the file is empty (0 bytes); expected {expected}.")
    if suffix_of(path) == ".safetensors":
        raise ModelFileError(
            f"{path}: a training checkpoint, not a file for devices; export it with "
            f"`adln export {path} --depth 2 --out res2.onnx`."
        )

    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _LOG_ERRORS_ONLY
    providers = [_provider_name(provider, onnxruntime.get_available_providers())]
    try:
        return onnxruntime.InferenceSession(
            str(path) if content is None else content, options, providers=providers
        )
    except Exception as error:
        # Exceptions of onnxruntime have no common base except Exception.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise ModelFileError(
            f"{path}: onnxruntime cannot read it; it is truncated, damaged or not an ONNX file "
            f"({size:,} bytes; {reason}). Copy or export it again."
        ) from error


def read_model_file(path: Path) -> bytes:
    """The content of a network file.

    Raises:
        ModelFileError: it is missing, not a regular file, or cannot be read.
    """
    require_regular(path, raises=ModelFileError, expected=_EXPORTED)
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unopened(path, error, _EXPORTED) from error


def _unopened(path: Path, error: OSError, expected: str) -> ModelFileError:
    known = ""
    if expected == _EXPORTED and path.name == str(path) and not path.suffix:
        known = f", or the name of a known network: {', '.join([*SHIPPED, *own_networks()])}"
    return ModelFileError(
        f"{path}: cannot be opened ({error.strerror}); expected {expected}{known}."
    )


def _provider_name(wanted: str | None, available: Sequence[str]) -> str:
    if wanted is None:
        return "CPUExecutionProvider"
    ending = "executionprovider"
    word = wanted.lower().removesuffix(ending)
    for name in available:
        if name.lower().removesuffix(ending) == word:
            return name
    names = ", ".join(name.removesuffix("ExecutionProvider").lower() for name in available)
    raise SettingsError(
        f"This onnxruntime has no execution provider {wanted!r}; it has: {names}. "
        "Others come with other builds of onnxruntime, such as onnxruntime-gpu."
    )


def _require_graph_of(manifest: Manifest, session: Any, path: Path) -> None:
    inputs = {node.name: (node.type, list(node.shape)) for node in session.get_inputs()}
    outputs = {node.name: list(node.shape) for node in session.get_outputs()}
    problems = _input_problems(manifest, inputs) + _output_problems(manifest, outputs)
    if problems:
        raise ModelFileError(
            f"{path}: the graph contradicts its manifest: {'; '.join(problems)}. "
            "The file was changed after its export; export the network again."
        )


def _input_problems(manifest: Manifest, inputs: dict[str, tuple[str, list[Any]]]) -> list[str]:
    if sorted(inputs) != sorted(manifest.input_names):
        names = " and ".join(map(repr, manifest.input_names))
        return [f"expected one input {names}, found {list(inputs)}"]
    kind, shape = inputs[manifest.input_names[0]]
    problems = []
    if shape and isinstance(shape[0], int):
        problems.append(f"expected any batch size, found {shape[0]} only")
    if manifest.starts_after == 0:
        expected = [manifest.height_px, manifest.width_px, 3]
        if shape[1:] != expected:
            problems.append(f"expected crops of shape (N, {expected}), found {shape}")
        if kind != _CROPS_TYPE:
            problems.append(f"expected crops of type {_CROPS_TYPE}, found {kind}")
    return problems


def _output_problems(manifest: Manifest, outputs: dict[str, list[Any]]) -> list[str]:
    names = [name for depth in manifest.depths for name in manifest.output_names(depth)]
    names += manifest.handed_over
    missing = [name for name in names if name not in outputs]
    if missing:
        return [f"expected outputs {names}, found {list(outputs)}"]
    return [
        f"expected {name} of shape (N, {manifest.dim}), found {outputs[name]}"
        for name in manifest.embedding_names
        if outputs[name][1:] != [manifest.dim]
    ]
