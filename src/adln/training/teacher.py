"""A foreign network that embeds each augmented crop during training.

Not part of the paper. A teacher that embeds the same recoloured and composed crop as the student
tells more than one that embedded the original picture once.

Source: Beyer et al. 2022, "Knowledge distillation: a good teacher is patient and consistent".
"""

import hashlib
import importlib
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from adln.atomic import beside, suffix_of
from adln.errors import SettingsError, TrainingError
from adln.manifest import SPACE_DIGITS
from adln.model.network import IMAGENET_MEAN, IMAGENET_STD
from adln.pixels import PixelForm
from adln.settings import settings

_DEFAULT_SIZE_PX = (256, 128)  # if the file leaves it open
_TOGETHER = 8  # crops per batch; more do not fit the caches of a processor core
_SUFFIXES = (".xml", ".onnx")


@settings
class TeacherNetwork:
    """The network to imitate, run by OpenVINO.

    Attributes:
        path: .xml with its .bin beside it, or .onnx; "" for none.
        colours: channel order of its input.
        imagenet_statistics: subtract ImageNet's mean and divide by its standard deviation;
            otherwise pixels are 0..255.
    """

    path: str = ""
    colours: str = "bgr"
    imagenet_statistics: bool = False

    def __post_init__(self) -> None:
        if self.colours not in ("bgr", "rgb"):
            raise SettingsError(f'teacher_network.colours must be "bgr" or "rgb": {self.colours!r}')

    @property
    def form(self) -> PixelForm:
        """Format of the pixels that it gets, as `adln networks add` describes it."""
        if not self.imagenet_statistics:
            return PixelForm(colours=self.colours)
        mean, std = IMAGENET_MEAN, IMAGENET_STD
        if self.colours == "bgr":
            mean, std = mean[::-1], std[::-1]
        return PixelForm(colours=self.colours, mean=mean, std=std)


class LiveTeacher(Protocol):
    """Embeds augmented crops during training: `dim` numbers a crop, in the space named `space`.

    `crop_size` is the height and width of its input in px, `digest` that of its files, which must
    not change when a run resumes.
    """

    dim: int
    crop_size: tuple[int, int]
    digest: str
    space: str

    def __call__(self, crops: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 RGB crops -> (B, T) float32 of unit length, on the same device."""


class Teacher:
    """Embeds crops by a network run with OpenVINO; see `LiveTeacher`.

    With `bf16` it computes in bfloat16 if the processor supports it.

    Raises:
        TrainingError: the file is missing or not a network, or OpenVINO is not installed.
    """

    def __init__(self, chosen: TeacherNetwork, *, bf16: bool) -> None:
        path = Path(chosen.path)
        files = [path, beside(path, ".bin")] if suffix_of(path) == ".xml" else [path]
        missing = [str(file) for file in files if not file.is_file()]
        if missing or suffix_of(path) not in _SUFFIXES:
            raise TrainingError(
                f"teacher_network.path: {path} must be an .onnx file, or an .xml file with its "
                f".bin beside it; missing: {', '.join(missing) or 'a known suffix'}"
            )
        try:
            core = importlib.import_module("openvino").Core()
        except ImportError as error:
            raise TrainingError(
                "a teacher that embeds crops during training is run by OpenVINO, which is not "
                'installed: pip install ".[openvino]", or write its embeddings to a file first and '
                "set that as teacher"
            ) from error
        try:
            model = core.read_model(*files)
            sides = list(model.input(0).get_partial_shape())
            self.crop_size: tuple[int, int] = tuple(  # type: ignore[assignment]
                side.get_length() if side.is_static else usual
                for side, usual in zip(sides[2:], _DEFAULT_SIZE_PX, strict=True)
            )
            model.reshape([_TOGETHER, 3, *self.crop_size])
            self._model: Any = core.compile_model(
                model,
                "CPU",
                {
                    "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
                    "INFERENCE_NUM_THREADS": max(1, torch.get_num_threads()),
                },
            )
            self.dim: int = self._model.output(0).get_shape()[1]
        except (RuntimeError, ValueError, IndexError) as error:
            raise TrainingError(
                f"teacher_network.path: {path} is not a network that takes (N, 3, H, W) crops and "
                f"returns (N, D) embeddings: {error}"
            ) from error
        digest = hashlib.sha256()
        for file in files:
            digest.update(file.read_bytes())
        self.digest = digest.hexdigest()
        self._form = chosen.form
        self.space = self._form.identity(self.digest, path)[:SPACE_DIGITS]

    def __call__(self, crops: Tensor) -> Tensor:
        """See `LiveTeacher`."""
        pixels, form = crops.float(), self._form
        if form.colours == "bgr":
            pixels = pixels.flip(1)
        if form.mean is not None and form.std is not None:
            mean, std = (pixels.new_tensor(x)[:, None, None] for x in (form.mean, form.std))
            pixels = (pixels / 255 - mean) / std
        missing = -len(crops) % _TOGETHER
        parts = F.pad(pixels.contiguous().cpu(), (0, 0) * 3 + (0, missing)).split(_TOGETHER)
        given = np.concatenate([self._model([part.numpy()])[0] for part in parts])
        embeddings = torch.from_numpy(given[: len(crops)].reshape(len(crops), -1))
        return F.normalize(embeddings).to(crops.device)
