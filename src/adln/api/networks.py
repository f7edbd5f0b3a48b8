"""Networks for Python: load one by name or file, embed people with it."""

import logging
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from adln.arguments import checked
from adln.atomic import beside, is_there, suffix_of
from adln.boxes import as_array, as_boxes
from adln.crops import cut, decode_image, read_image, require_picture, to_rgb
from adln.embedders import shipped
from adln.embedders.embedder import OnnxEmbedder
from adln.embedders.foreign import (
    describe_foreign,
    known_description,
    sidecar,
    write_description,
)
from adln.embedders.proving import find_verdict, run_alone
from adln.embeddings import chosen_depth
from adln.errors import AdlnError, ImageError, ModelFileError, SettingsError
from adln.gallery.records import ModelKey
from adln.manifest import Manifest
from adln.matching.calibration import Scales, read_calibration
from adln.pixels import PixelForm, told_colours

if TYPE_CHECKING:
    from adln.cameras.detector import Detector

_LOG = logging.getLogger(__name__)


@checked(SettingsError)
class Network:
    """A network that embeds people; see `load` for what it takes and the errors.

    Examples:
        >>> net = adln.load("res1")
        >>> net
        <adln.Network res1.onnx: 192x96 px -> 256>
        >>> embeddings = net.embed([picture, picture])  # pictures of one person each
        >>> embeddings.shape
        (2, 256)
        >>> boxes = [[20, 30, 70, 160], [90, 25, 140, 170]]  # the people in one frame
        >>> net.embed(frame, boxes).shape
        (2, 256)
    """

    def __init__(
        self,
        path: str | Path,
        *,
        depth: int | None = None,
        flip: bool = False,
        threads: int | None = None,
    ) -> None:
        found = shipped.find_network(path)
        # Absolute, because a program may change its working directory.
        file = found.absolute() if is_there(found) else path
        self.embedder = OnnxEmbedder(file, flip=flip, threads=threads)
        self.depth = chosen_depth(self.embedder.depths, depth, network=path)
        self._flip = flip
        self._threads = threads

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as its file's path, which is reopened: for pools of processes."""
        return partial(
            Network,
            self.path,
            depth=self.depth,
            flip=self._flip,
            threads=self._threads,
        ), ()

    def __repr__(self) -> str:
        """Name, size of the crops and length of the embeddings."""
        height, width = self.crop_size
        return f"<adln.Network {self.path.name}: {height}x{width} px -> {self.dim}>"

    @property
    def path(self) -> Path:
        """The file's absolute path."""
        return self.embedder.model.path

    @property
    def manifest(self) -> Manifest:
        """What is known about it: training data, licence, accuracy."""
        return self.embedder.manifest

    @property
    def crop_size(self) -> tuple[int, int]:
        """Height and width in px that crops are resized to."""
        return self.embedder.crop_size

    @property
    def dim(self) -> int:
        """D, the dimension of its embeddings."""
        return self.embedder.dim

    @property
    def key(self) -> ModelKey:
        """Stored beside each embedding in a gallery; says what the embedding is comparable with."""
        return ModelKey(
            self.embedder.model.sha256, self.depth, self.dim, self.manifest.space_of(self.depth)
        )

    @property
    def proved(self) -> bool:
        """Whether its outputs passed the self-check on this device; False without a probe."""
        return find_verdict([self.embedder.model], run_alone(self.embedder.model)).proved

    @property
    def scales(self) -> Scales:
        """Its calibrations; empty if there are none."""
        model = self.embedder.model
        found = read_calibration(model.path, model_sha256=model.sha256)
        return Scales() if found is None else found.scales(flip=self._flip)

    def embed(self, pictures: Any, boxes: Any = None) -> NDArray[np.float32]:
        """Embed people.

        Args:
            pictures: one picture or a sequence of pictures, each of one person: a path, the bytes
                of a picture file or the open file, an (H, W, 3) uint8 RGB array or tensor, or a PIL
                image. With `boxes`: one frame that shows all of them.
            boxes: (N, 4) left, top, right, bottom in px of the upright picture, as an array or
                tensor, or an object with such an `xyxy`, like `supervision.Detections` or
                ultralytics' `result.boxes`.

        Returns:
            (N, D) float32 of unit length; compare by dot product.

        Raises:
            ImageError: a picture cannot be used, a box holds no pixel, or boxes have a wrong shape.
        """
        if boxes is not None:
            frame = _pixels(pictures)
            found = as_boxes(boxes, raises=ImageError)
            crops: Sequence[Any] = [cut(frame, box.tolist()) for box in found]
        elif _is_several(pictures):
            crops = [_plain(picture) for picture in pictures]
        else:
            crops = [_plain(pictures)]
        answer = self.embedder.embed_pictures(crops)
        if answer.unusable:
            text = "; ".join(broken.reason for broken in answer.unusable[:_REASONS])
            more = len(answer.unusable) - _REASONS
            raise ImageError(text + (f"; and {more:,} more like these." if more > 0 else ""))
        return answer.embeddings[self.depth]


@dataclass(frozen=True, kw_only=True)
class KnownNetwork:
    """A network that can be loaded by name.

    Attributes:
        name: the name to load it by.
        path: its file.
        shipped: whether it comes with adln.
        manifest: what is known about it; None if the file cannot be opened.
        size_bytes: size of its files.
        problem: why it cannot be opened; "" if it can.

    Examples:
        >>> one = adln.networks()[0]
        >>> one.name, one.shipped, one.manifest.dim
        ('res1', True, 256)
    """

    name: str
    path: Path
    shipped: bool
    manifest: Manifest | None
    size_bytes: int
    problem: str = ""


@checked(SettingsError)
def load(
    network: str | Path = shipped.DEFAULT,
    *,
    mean: ArrayLike | None = None,
    std: ArrayLike | None = None,
    colours: str | None = None,
    layout: str = "nchw",
    depth: int | None = None,
    flip: bool = False,
    threads: int | None = None,
) -> Network:
    """Load a network.

    Args:
        network: a name from `networks()`, or a file: exported by `adln export`,
            or any ONNX or OpenVINO network that takes crops and returns embeddings. A network from
            elsewhere is described in a small file beside it the first time, from the next four
            arguments. With other arguments it is another network for galleries and calibrations.
        mean: of pixels scaled to 0..1, subtracted, in the order of `colours`; without it the
            network gets pixels of 0..255. ImageNet's is 0.485, 0.456, 0.406 in "rgb" and 0.406,
            0.456, 0.485 in "bgr".
        std: standard deviation to divide by, after the mean is subtracted, in the same order.
        colours: "rgb" or "bgr", the order of the input channels; default: what the file says, else
            "rgb" with a warning.
        layout: "nchw" or "nhwc".
        depth: 1 to 4, for a file of adln that has several; default: the deepest.
        flip: average with the mirrored crop, at twice the cost.
        threads: processor cores to use; default: all.

    Raises:
        ModelFileError: the file is missing, damaged, or no such network.
        DeviceError: its embeddings are wrong on this device.

    Examples:
        >>> net = adln.load("res2")
        >>> net.crop_size, net.dim
        ((192, 96), 256)
        >>> mine = adln.load(folder / "mine.onnx", mean=[0.485, 0.456, 0.406], std=[0.229] * 3)
        >>> mine.embed(picture).shape == (1, mine.dim)
        True
    """
    path = shipped.find_network(network)
    given = mean is not None or std is not None or colours is not None or layout != "nchw"
    if given or (suffix_of(path) == ".xml" and not sidecar(path).is_file()):
        form = _pixel_form(path, mean, std, colours, layout)
        known = known_description(path)
        if known is None or known[0] != form:
            describe_network(path, **asdict(form))
    return Network(network, depth=depth, flip=flip, threads=threads)


@checked(SettingsError)
def describe_network(
    path: str | Path,
    *,
    mean: ArrayLike | None = None,
    std: ArrayLike | None = None,
    colours: str | None = None,
    layout: str = "nchw",
    training_data: str = "",
    licence: str = "",
    reference: tuple[Any, ArrayLike] | None = None,
    name: str = "",
) -> Manifest:
    """Describe a network from elsewhere in a file beside it, so that all of adln can use it.

    Args:
        path: .onnx, or .xml with its .bin beside it.
        mean: see `load`.
        std: see `load`.
        colours: see `load`.
        layout: see `load`.
        training_data: what it was trained on, for `networks()`; default: as described before.
        licence: its licence, likewise.
        reference: pictures and the (N, D) embeddings that the network's own software gives for
            them. They reveal a wrong order of colours or a wrong mean.
        name: the name to load it by from now on.

    Returns:
        The manifest that was written.

    Raises:
        ModelFileError: the file cannot be run, or its embeddings differ from the reference.
        SettingsError: the name is not allowed; nothing is written then.

    Examples:
        >>> about = adln.describe_network(
        ...     folder / "mine.onnx",
        ...     mean=[0.485, 0.456, 0.406],
        ...     std=[0.229, 0.224, 0.225],
        ...     training_data="my own pictures",
        ...     name="mine",
        ... )
        >>> adln.load("mine").manifest.training_data
        'my own pictures'
    """
    path = Path(path)
    if name:
        shipped.require_name(name)
    # Before anything is written.
    pictures, wanted = (None, None) if reference is None else _reference(path, reference)
    form = _pixel_form(path, mean, std, colours, layout)
    known = known_description(path)
    manifest = describe_foreign(path, form, known, training_data=training_data, licence=licence)
    if wanted is not None:
        _require_alike(path, form, manifest, pictures, wanted)
    write_description(path, form, manifest)
    names = [one for one, file in shipped.own_networks().items() if file == path.resolve()]
    if names and known is not None and known[0] != form:
        _LOG.warning(
            "%s was described with other pixels before (as %s): it is another network now, "
            "whatever name it is loaded by. Galleries, feature files and calibrations made "
            "before do not go with it; for both, describe a copy of the file.",
            path,
            ", ".join(names),
        )
    if name:
        shipped.name_network(name, path)
    return manifest


def _require_alike(
    path: Path,
    form: PixelForm,
    manifest: Manifest,
    pictures: Any,
    wanted: NDArray[np.float64],
) -> None:
    """Refuse a description with which a network does not answer like its reference.

    It is tried on a link to the network: until it holds, it is never beside the network itself.
    """
    with tempfile.TemporaryDirectory() as folder:
        linked = Path(folder, path.name)
        for file in (path, beside(path, ".bin")):
            if file.is_file():
                linked.with_name(file.name).symlink_to(file.resolve())
        try:
            write_description(linked, form, manifest)
            found = Network(linked).embed(pictures)
        except AdlnError as error:
            raise type(error)(str(error).replace(str(linked), str(path))) from error
    if found.shape != wanted.shape:
        raise ModelFileError(
            f"{path}: gives embeddings {found.shape} of these pictures, its reference has "
            f"{wanted.shape}; expected one row for each picture."
        )
    least = float((found * wanted).sum(axis=1).min())
    if not least >= _SAME:
        raise ModelFileError(
            f"{path}: does not answer like its reference: least cosine {least:.4f}, at least "
            f"{_SAME} is needed. Look at colours, mean and std, and how pictures are resized."
        )


def _pixel_form(
    path: Path, mean: ArrayLike | None, std: ArrayLike | None, colours: str | None, layout: str
) -> PixelForm:
    """The input format of a network from elsewhere, with a warning if nothing is known of it."""
    if colours is None and (colours := told_colours(path)) is None:
        colours = "rgb"
        if mean is None:
            _LOG.warning(
                "%s does not say how it wants its pixels: it gets RGB from 0 to 255. Most networks "
                "trained with PyTorch want mean and std, OpenCV's want colours bgr; the wrong ones "
                "cost accuracy without an error. State them, or give a reference.",
                path,
            )
    form = PixelForm(colours=colours, mean=_triple(mean), std=_triple(std), layout=layout)
    if form.mean is not None and form.std is not None and max(*form.mean, *form.std) > _MOST_SCALED:
        raise ModelFileError(
            f"mean {form.mean} and std {form.std} are of pixels from 0 to 255; divide both by 255."
        )
    return form


def _reference(path: Path, reference: tuple[Any, ArrayLike]) -> tuple[Any, NDArray[np.float64]]:
    """Pictures and their embeddings, of unit length."""
    if not isinstance(reference, tuple | list) or len(reference) != 2:
        raise ModelFileError(f"{path}: a reference is two things, pictures and their embeddings.")
    pictures, given = reference
    rows = np.atleast_2d(as_array(given, np.float64, what="reference", raises=ModelFileError))
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if rows.ndim != 2 or rows.size == 0 or not (np.isfinite(lengths).all() and lengths.all()):
        raise ModelFileError(
            f"{path}: a reference has embeddings (N, D), one or more, finite and not all zero; got "
            f"shape {rows.shape}."
        )
    return pictures, rows / lengths


def networks() -> list[KnownNetwork]:
    """List the networks that can be loaded by name: the shipped ones, then the user's own.

    Examples:
        >>> [one.name for one in adln.networks()]
        ['res1', 'res2']
    """
    known = [(name, shipped.find_network(name), True) for name in shipped.SHIPPED]
    known += [(name, path, False) for name, path in shipped.own_networks().items()]
    return [_known(*one) for one in known]


_REASONS = 3  # of pictures that cannot be used, that a message tells
_MOST_SCALED = 5.0  # mean and std of pixels of 0..1 are below, those of 0..255 above
_SAME = 0.99  # resizing and runtimes differ a little
_FILES = (".onnx", ".xml", ".bin")


def _known(name: str, path: Path, shipped: bool) -> KnownNetwork:
    from adln.embedders.session import open_session

    manifest, problem = None, ""
    try:
        manifest = open_session(path).manifest
    except ModelFileError as error:
        problem = str(error)
    files = {path, *(beside(path, ending) for ending in _FILES if suffix_of(path) == ".xml")}
    size = sum(file.stat().st_size for file in files if file.is_file())
    return KnownNetwork(
        name=name, path=path, shipped=shipped, manifest=manifest, size_bytes=size, problem=problem
    )


@checked(SettingsError)
def find_people(
    picture: Any, *, detector: "Detector | str | Path | None" = None
) -> NDArray[np.float32]:
    """Detect the people in a whole photo or frame, for `Network.embed(picture, boxes)`.

    Args:
        picture: in any form that `Network.embed` takes.
        detector: a YOLOX file in ONNX, or a detector object, opened once for many
            pictures (`adln.cameras.detector`); default: the file that
            `adln watch --fetch-detector` downloaded.

    Returns:
        (N, 4) left, top, right, bottom in px of the upright picture, highest confidence first: at
        most 40, of at least 24 px in height.

    Raises:
        ImageError: the picture cannot be used.
        ModelFileError: there is no detector.
        SettingsError: the object is no detector.
        CameraError: OpenCV is not installed, or the detector gives something else.

    Examples:
        >>> boxes = adln.find_people(frame, detector=detector)
        >>> net = adln.load("res1")
        >>> len(net.embed(frame, boxes)) == len(boxes)
        True
    """
    from adln.cameras.finding import PeopleFinder

    people = PeopleFinder(detector).find(_pixels(picture))
    return np.array([one.box_xyxy for one in people], np.float32).reshape(-1, 4)


def _triple(values: ArrayLike | None) -> tuple[float, float, float] | None:
    if values is None:
        return None
    given = as_array(values, np.float64, what="mean or std", raises=ModelFileError)
    numbers: list[float] = given.reshape(-1).tolist()
    if len(numbers) != 3:
        raise ModelFileError(f"mean and std are three numbers each, got {numbers}.")
    return numbers[0], numbers[1], numbers[2]


def _is_several(pictures: Any) -> bool:
    """Whether these are pictures, and not one in any form, which may be gone through, too."""
    if hasattr(pictures, "dtype"):  # an array or a tensor: (N, H, W, 3), or (N,) of paths
        kind = getattr(pictures.dtype, "kind", "")
        return bool(pictures.ndim == 4 or (pictures.ndim == 1 and kind in ("O", "U")))
    one = (str, Path, bytes, bytearray, memoryview)
    return isinstance(pictures, Iterable) and not (
        isinstance(pictures, one) or hasattr(pictures, "read") or hasattr(pictures, "convert")
    )


def _plain(picture: Any) -> Any:
    """A picture in a form that the embedder takes."""
    if isinstance(picture, Image.Image):
        return to_rgb(picture)
    if isinstance(picture, bytearray | memoryview):
        return bytes(picture)
    if hasattr(picture, "read"):  # an open file
        return _content(picture)
    if hasattr(picture, "detach"):  # a tensor of torch
        return as_array(picture, what="picture", raises=ImageError)
    if isinstance(picture, np.ndarray) and (picture.dtype, picture.ndim) == (np.uint8, 1):
        return picture.tobytes()  # an encoded picture, as OpenCV gives it
    return picture


def _content(file: Any) -> bytes:
    """The content of an open file."""
    try:
        content = file.read()
    except (OSError, ValueError) as error:
        raise ImageError(f"expected a file opened with 'rb', got one with: {error}.") from error
    if not isinstance(content, bytes):
        raise ImageError(f"expected a file opened with 'rb', got one of {type(content).__name__}.")
    return content


def _pixels(frame: Any) -> NDArray[np.uint8]:
    """A frame as (H, W, 3) uint8 RGB."""
    plain = _plain(frame)
    if isinstance(plain, str | Path):
        return read_image(plain)
    if isinstance(plain, bytes):
        return decode_image(plain)
    if not isinstance(plain, np.ndarray):
        raise ImageError(
            "expected a frame as a path, the bytes of a picture file, an (H, W, 3) uint8 RGB array "
            f"or a PIL image, got {type(frame).__name__}."
        )
    require_picture(plain)
    return plain
