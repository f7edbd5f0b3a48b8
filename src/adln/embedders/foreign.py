"""Runs foreign networks: ONNX and OpenVINO files, not made by adln, from crops to embeddings.

What such a file does not state is in a small file beside it, written once by `describe_foreign`:
the pixel format, a manifest like that of adln's own files, and a probe.
"""

import hashlib
import json
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adln import __version__
from adln.atomic import atomic_write, beside, file_sha256, is_there, require_regular, suffix_of
from adln.embedders.proving import draw_probe, write_probe
from adln.embeddings import unit_length
from adln.errors import ModelFileError, require_package
from adln.manifest import CROPS, METADATA_KEY, SPACE_DIGITS, Manifest
from adln.pixels import PixelForm
from adln.strict import parse_json, read_strictly

ENDING = ".adln.json"
"""Suffix of the description file beside a foreign network."""
FORMAT = "adln-foreign-1"
WHOLE = 4
"""Nominal depth of a foreign network, which cannot be cut."""
_SIZE_PX = (256, 128)  # if the file leaves it open
_OPENVINO = ".xml"

# How alike the embeddings of one crop are, alone and beside others, at least; a network whose
# activations are quantised by the batch differs a little.
_LEAST_STEADY = 0.98

_log = logging.getLogger(__name__)

Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Pixels in the file's format -> (N, ...) features."""


class ForeignSession:
    """Has the interface of a session of adln's own files."""

    def __init__(self, form: PixelForm, run: Run, *, batch: int | None = None) -> None:
        self._form, self._run, self._batch = form, run, batch

    def run(
        self, outputs: Sequence[str], feeds: dict[str, NDArray[np.uint8]]
    ) -> list[NDArray[np.float32]]:
        """Embeddings "embedding" (N, D) of unit length and "norm" (N, 1), their norms before."""
        crops = feeds[CROPS]
        step = self._batch or max(1, len(crops))
        parts = []
        for start in range(0, max(1, len(crops)), step):
            pixels = self._form.prepare(crops[start : start + step])
            missing = (self._batch or 0) - len(pixels)
            if missing > 0:
                pixels = np.pad(pixels, ((0, missing), (0, 0), (0, 0), (0, 0)))
            parts.append(self._run(pixels).reshape(len(pixels), -1))
        features = np.concatenate(parts)[: len(crops)].astype(np.float32)
        norm = np.linalg.norm(features, axis=1, keepdims=True).astype(np.float32)
        answers = {"embedding": unit_length(features), "norm": norm}
        return [answers[name] for name in outputs]


@dataclass(frozen=True)
class OpenForeign:
    """A foreign network that is ready to run.

    Attributes:
        sha256: hex digest of the opened files.
        runtime: name and version.
        size_px: height and width of its crops.
        dim: length of its embeddings.
        axes: lengths of what it gives for one crop, as it gives it.
        unused: names of outputs that are not taken.
    """

    session: ForeignSession
    sha256: str
    runtime: tuple[str, str]
    size_px: tuple[int, int]
    dim: int
    axes: tuple[int, ...]
    unused: tuple[str, ...]


def sidecar(path: Path) -> Path:
    """Path of the description file beside a foreign network."""
    return path.with_name(path.name + ENDING)


def read_sidecar(path: Path) -> tuple[PixelForm, Manifest]:
    """Read the description file beside a foreign network.

    Raises:
        ModelFileError: the file is missing or cannot be read, or gives the network another space
            or depth than `describe_foreign` does.
    """
    place = sidecar(path)
    try:
        values = parse_json(place.read_text(encoding="utf-8"))
        if values["format"] != FORMAT:
            raise ModelFileError(f"its format is {values['format']!r}, expected {FORMAT!r}")
        given = dict(values["pixels"])
        for name in ("mean", "std"):
            given[name] = None if given[name] is None else tuple(map(float, given[name]))
        manifest = Manifest.from_json(json.dumps(values["manifest"]), source=str(place))
        own = {"spaces": _own_space(manifest.source_sha256), "depths": (WHOLE,)}
        for name, expected in own.items():
            if getattr(manifest, name) != expected:
                raise ModelFileError(f"its {name} are {getattr(manifest, name)}, not {expected}")
        return PixelForm(**given), manifest
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ModelFileError) as error:
        raise ModelFileError(
            f"{place}: cannot be read ({error}). Write it again with `adln networks add {path}`."
        ) from error


def described(path: Path) -> tuple[PixelForm, Manifest]:
    """Read the description file beside a foreign network, and see that it is of this network.

    Raises:
        ModelFileError: see `read_sidecar`; or a file is missing, or is not what is described.
    """
    form, manifest = read_sidecar(path)
    try:
        digest = hashlib.sha256(_content(path)).hexdigest()
    except OSError as error:
        raise ModelFileError(
            f"{path}: cannot be opened ({error.strerror}); expected a network file."
        ) from error
    if not form.is_identity(manifest.source_sha256, digest, path):
        raise not_described(path)
    return form, manifest


def known_description(path: Path) -> tuple[PixelForm, Manifest] | None:
    """The description beside a foreign network; None if it is missing or of other content."""
    try:
        return described(path)
    except ModelFileError:
        return None


def not_described(path: Path) -> ModelFileError:
    """The error about a description file beside a network that is another one."""
    return ModelFileError(
        f"{path}: is not the file that {sidecar(path).name} describes. Describe it again: "
        f"adln networks add {path}"
    )


def network_sha256(path: Path) -> str:
    """The digest by which galleries and feature files know a network, of this or another make.

    Raises:
        ModelFileError: the file is missing or unreadable, or is not what is described beside it.
    """
    if is_there(sidecar(path)):
        return described(path)[1].source_sha256
    return file_sha256(path, raises=ModelFileError, expected="a network file")


def start_foreign(path: Path, form: PixelForm, *, threads: int = 1) -> OpenForeign:
    """Start an .onnx file, or an .xml file of OpenVINO with its .bin beside it, of another make.

    Raises:
        ModelFileError: the file is missing, cannot be run here, or does not have one input of crops
            and one row of numbers per crop as output.
    """
    start = _start_openvino if suffix_of(path) == _OPENVINO else _start_onnx
    run, batch, sides, digest, runtime, unused = start(path, form, threads)
    _require_layout(path, form, sides)
    axes: tuple[int, ...] = ()

    def run_once(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        nonlocal axes
        found = run(pixels)
        axes = found.shape[1:]
        return found

    size = _size(sides, form)
    crops = np.arange(size[0] * size[1] * 3, dtype=np.uint32).astype(np.uint8)
    try:
        once = ForeignSession(form, run_once, batch=batch)
        (found,) = once.run(["embedding"], {CROPS: crops.reshape(1, *size, 3)})
    except Exception as error:
        # Exceptions of runtimes have no common base except Exception.
        raise ModelFileError(
            f"{path}: cannot embed a crop of {size[0]}x{size[1]} px ({_last_line(error)})."
        ) from error
    if found.ndim != 2 or not np.isfinite(found).all() or not found.any():
        raise ModelFileError(
            f"{path}: expected one row of finite numbers for each crop, got shape {found.shape} or "
            "values that are not finite. Is it a re-identification network without its classifier?"
        )
    session = ForeignSession(form, run, batch=batch)
    return OpenForeign(session, digest, runtime, size, found.shape[1], axes, unused)


def describe_foreign(
    path: Path,
    form: PixelForm,
    known: tuple[PixelForm, Manifest] | None,
    *,
    training_data: str,
    licence: str,
) -> Manifest:
    """The description of a foreign network, an .onnx or .xml; see `write_description`.

    What is left empty of training data and licence stays as it was said before, in what is `known`
    (see `known_description`).

    Raises:
        ModelFileError: see `start_foreign`.
    """
    opened = start_foreign(path, form)
    _require_steady(path, opened)
    if opened.unused:
        _log.warning(
            "%s has several outputs; the first, of %d numbers, is taken as the embedding, not %s. "
            "If that is wrong, export the network with the embedding alone (no classifier).",
            path,
            opened.dim,
            ", ".join(opened.unused),
        )
    if sum(side > 1 for side in opened.axes) > 1:
        _log.warning(
            "%s gives a map of %s numbers for each crop; all %d are taken as the embedding. A "
            "network of which only the last pooling was left out tells people apart badly so: "
            "export it with the pooling.",
            path,
            " x ".join(map(str, opened.axes)),
            opened.dim,
        )
    identity = form.identity(opened.sha256, path)
    if known is not None:
        form_before, before = known
        training_data, licence = training_data or before.training_data, licence or before.licence
        if form_before == form:
            identity = before.source_sha256
    manifest = Manifest(
        depths=(WHOLE,),
        precision="fp32",
        dim=opened.dim,
        height_px=opened.size_px[0],
        width_px=opened.size_px[1],
        source_sha256=identity,
        adln_version=__version__,
        created_utc=datetime.now(UTC).isoformat(timespec="seconds"),
        training_data=training_data,
        licence=licence,
        spaces=_own_space(identity),
    )
    (found,) = opened.session.run(["embedding"], {CROPS: draw_probe(manifest)})
    manifest = replace(manifest, probe=write_probe((WHOLE,), {WHOLE: found}, {WHOLE: found}))
    # What could not be read again must not replace what can.
    read_strictly(Manifest, json.loads(manifest.to_json()), "the description")
    return manifest


def write_description(path: Path, form: PixelForm, manifest: Manifest) -> None:
    """Write the description file beside a foreign network.

    Raises:
        ModelFileError: it cannot be written.
    """
    content = {"format": FORMAT, "pixels": asdict(form), "manifest": asdict(manifest)}
    place = sidecar(path)
    with atomic_write(
        place,
        raises=ModelFileError,
        instead="copy the network's files to a folder that can be written, and use them there",
    ) as file:
        file.write(json.dumps(content, indent=1).encode())


def _own_space(identity: str) -> tuple[str]:
    """The space of a foreign network, which it shares with none."""
    return (identity[:SPACE_DIGITS],)


def _content(path: Path) -> bytes:
    """The content of all files of a network."""
    files = [path, beside(path, ".bin")] if suffix_of(path) == _OPENVINO else [path]
    for file in files:
        require_regular(file, raises=ModelFileError, expected="a network file")
    if path.is_file() and not files[-1].is_file():
        raise ModelFileError(
            f"{path}: its weights, {files[-1].name}, are not beside it; copy both files."
        )
    return b"".join(file.read_bytes() for file in files)


# How to run it, its batch if it has one, shape of its input, digest, runtime, other outputs.
_Started = tuple[Run, int | None, Sequence[Any], str, tuple[str, str], tuple[str, ...]]


def _start_onnx(path: Path, _: PixelForm, threads: int) -> _Started:
    from adln.embedders.session import read_model_file, start_session

    content = read_model_file(path)
    session = start_session(path, threads=threads, content=content)
    if METADATA_KEY in session.get_modelmeta().custom_metadata_map:
        raise ModelFileError(
            f"{path}: a file of `adln export` states its own pixel format; leave out mean, "
            "std, colours and layout."
        )
    inputs, outputs = session.get_inputs(), session.get_outputs()
    _require_one(path, len(inputs), inputs[0].shape if inputs else ())
    name, answer = inputs[0].name, outputs[0].name
    wants_half = "float16" in inputs[0].type
    fixed = inputs[0].shape[0] if isinstance(inputs[0].shape[0], int) else None

    def run(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        given = pixels.astype(np.float16) if wants_half else pixels
        found: NDArray[np.float32] = session.run([answer], {name: given})[0]
        return found

    import onnxruntime  # type: ignore[import-untyped,unused-ignore]

    runtime = ("onnxruntime", str(onnxruntime.__version__))
    digest = hashlib.sha256(content).hexdigest()
    unused = tuple(one.name for one in outputs[1:])
    return run, fixed, inputs[0].shape, digest, runtime, unused


def _start_openvino(path: Path, form: PixelForm, threads: int) -> _Started:
    weights = beside(path, ".bin")
    for file in (path, weights):
        require_regular(file, raises=ModelFileError, expected="an OpenVINO file (.xml and .bin)")
    purpose = f"{path}: an OpenVINO file"
    openvino = require_package("openvino", extra="openvino", purpose=purpose, raises=ModelFileError)
    try:
        content = _content(path)
        core = openvino.Core()
        model = core.read_model(path, weights)
        _require_one(path, len(model.inputs), list(model.input(0).get_partial_shape()))
        sides = [
            side.get_length() if side.is_static else None
            for side in model.input(0).get_partial_shape()
        ]
        _require_layout(path, form, sides)
        size = _size(sides, form)
        model.reshape([-1, 3, *size] if form.layout == "nchw" else [-1, *size, 3])
        options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
        compiled = core.compile_model(model, "CPU", options)
    except (OSError, RuntimeError) as error:
        raise ModelFileError(
            f"{path}: OpenVINO cannot open it ({_last_line(error)}). Copy or convert it again; "
            ".xml and .bin belong together."
        ) from error
    own = threading.local()

    def run(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        if not hasattr(own, "request"):
            own.request = compiled.create_infer_request()
        found: NDArray[np.float32] = own.request.infer([pixels])[compiled.output(0)]
        return found.copy()

    digest = hashlib.sha256(content).hexdigest()
    runtime = ("openvino", str(openvino.__version__))
    unused = tuple(one.get_any_name() for one in model.outputs[1:])
    return run, None, sides, digest, runtime, unused


def _require_steady(path: Path, opened: OpenForeign) -> None:
    """See that a crop has one embedding, whenever it is asked for and whatever comes with it."""
    rng = np.random.default_rng(0)
    crops = rng.integers(0, 256, (3, *opened.size_px, 3), dtype=np.uint8)

    def embed(some: NDArray[np.uint8]) -> NDArray[np.float32]:
        return opened.session.run(["embedding"], {CROPS: some})[0]

    try:
        together, alone = embed(crops), np.concatenate([embed(crops[:1]), embed(crops[1:2])])
    except Exception as error:
        # See `start_foreign`.
        raise ModelFileError(
            f"{path}: cannot embed several crops at a time ({_last_line(error)}). Export it with a "
            "batch of any size, or of 1."
        ) from error
    least = float(np.vecdot(together[:2], alone).min())
    if not least >= _LEAST_STEADY:
        raise ModelFileError(
            f"{path}: embeds a crop otherwise when it comes with others (cosine {least:.3f}). It "
            "was exported as for training; call eval() first, and export it with a batch of any "
            "size."
        )


def _require_layout(path: Path, form: PixelForm, sides: Sequence[Any]) -> None:
    channels, other = (1, 3) if form.layout == "nchw" else (3, 1)
    if sides[other] == 3 and sides[channels] != 3:
        right = "nhwc" if form.layout == "nchw" else "nchw"
        raise ModelFileError(
            f'{path}: its input has shape {list(sides)}, so the layout is "{right}".'
        )


def _last_line(error: Exception) -> str:
    """What a runtime says was wrong; OpenVINO says before where in its source that is."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else repr(error)


def _size(sides: Sequence[Any], form: PixelForm) -> tuple[int, int]:
    """Height and width of the file's input, or the default."""
    places = (2, 3) if form.layout == "nchw" else (1, 2)
    height, width = (
        side if isinstance(side := sides[place], int) and side > 0 else usual
        for place, usual in zip(places, _SIZE_PX, strict=True)
    )
    return height, width


def _require_one(path: Path, count: int, shape: Sequence[Any]) -> None:
    if count != 1 or len(shape) != 4:
        raise ModelFileError(
            f"{path}: expected one input of crops (N, 3, H, W), got {count} inputs, the first of "
            f"shape {list(shape)}."
        )
