"""Gives the backbone its ImageNet start and names every part that the weights do not cover.

Sec. III.B of the paper: "a ResNet50 network pretrained on the ImageNet dataset".
"""

import hashlib
import http.client
import pickle
import re
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from adln.atomic import atomic_write, is_there, suffix_of, user_folder
from adln.errors import CheckpointError
from adln.model.files import read_tensors
from adln.model.network import ADLN

# torchvision's ResNet50_Weights.IMAGENET1K_V1 (BSD-3); the name carries the digest's start.
TORCHVISION_RESNET50_URL = "https://download.pytorch.org/models/resnet50-0676ba61.pth"
TORCHVISION_RESNET50_SHA256 = "0676ba61"
MIN_DIGEST_CHARACTERS = 8
DOWNLOAD_TIMEOUT_S = 60


@dataclass(frozen=True)
class ImageNetStart:
    """What a weights file gave to a network: parts covered ("stem", "stages.1") and random ones."""

    source: str
    covered: tuple[str, ...]
    random: tuple[str, ...]

    def except_for(self, names: Iterable[str]) -> "ImageNetStart":
        """What is left of it once these tensors have come from elsewhere."""
        parts = {_part(name) for name in names}
        return replace(
            self,
            covered=tuple(part for part in self.covered if part not in parts),
            random=tuple(part for part in self.random if part not in parts),
        )

    def summary(self) -> str:
        """One line for a person."""
        return (
            f"ImageNet start from {self.source}: {', '.join(self.covered) or 'nothing'}; "
            f"not in the file, so random: {', '.join(self.random) or 'nothing'}"
        )


def load_imagenet(
    network: ADLN, source: str, *, sha256: str | None = None, cache: Path | None = None
) -> ImageNetStart:
    """Copy ResNet-50 weights into the backbone of a network, in place, where the file has them.

    Args:
        network: whose stem and stages are overwritten.
        source: a .safetensors or .pth file with torchvision's names (conv1, bn1, layer1 .. layer4),
            or an https URL of one. `fc` is not used. A whole stage may be missing and is reported;
            a stage that is there in part is an error.
        sha256: hex digest of the file, or its first 8 or more characters; a URL needs it.
        cache: folder for downloads; `adln` in $XDG_CACHE_HOME (~/.cache) if left out.

    Raises:
        CheckpointError: missing or truncated file, wrong digest, failed download, or tensors
            that do not fit a ResNet-50.
    """
    path = _download(source, sha256, cache) if "://" in source else Path(source)
    if sha256 is not None:
        _check_digest(path, sha256)
    tensors = _read(path)
    renamed = {
        _own_name(name): tensor for name, tensor in tensors.items() if not name.startswith("fc.")
    }
    state = network.state_dict()
    covered: dict[str, dict[str, Tensor]] = {}
    random_parts: dict[str, None] = {}
    for name, own in state.items():
        part = _part(name)
        if name not in renamed:
            if not name.endswith("num_batches_tracked"):
                random_parts[part] = None
            continue
        if renamed[name].shape != own.shape:
            raise CheckpointError(
                f"{path}: {name} has shape {tuple(renamed[name].shape)}, "
                f"a ResNet-50 has {tuple(own.shape)}. Give ResNet-50 weights."
            )
        covered.setdefault(part, {})[name] = renamed[name]
    torn = sorted(set(covered) & set(random_parts))
    if torn or not covered:
        problem = f"only a part of {torn}" if torn else "no tensor of a ResNet-50"
        raise CheckpointError(
            f"{path} has {problem}. Expected torchvision's names: conv1.weight, bn1.weight, "
            "layer1.0.conv1.weight and so on."
        )
    for tensors_of_part in covered.values():
        state.update(tensors_of_part)
    network.load_state_dict(state)
    return ImageNetStart(source, tuple(covered), tuple(random_parts))


def _own_name(name: str) -> str:
    """Torchvision's name -> ours: layer1.0.conv1 -> stages.1.0.conv1, conv1 -> stem.conv1."""
    if name.startswith(("conv1.", "bn1.")):
        return f"stem.{name}"
    return re.sub(r"^layer(\d)\.", r"stages.\1.", name)


def _part(name: str) -> str:
    """The part of the network that a tensor belongs to, as a person would name it."""
    pieces = name.split(".")
    return pieces[0] if pieces[0] == "stem" else ".".join(pieces[:2])


def _read(path: Path) -> Mapping[str, Tensor]:
    if suffix_of(path) == ".safetensors":
        return read_tensors(path)[0]
    if not path.is_file():
        raise CheckpointError(f"no such weights file: {path}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            # Torch's own text advises to load it unsafely.
            f"{path} is truncated or no state dict of PyTorch ({type(error).__name__}). Expected "
            "ImageNet weights of a ResNet-50; download them again."
        ) from error
    if not isinstance(state, Mapping):
        raise CheckpointError(f"{path} holds a {type(state).__name__}, expected a state dict")
    return state


def _check_digest(path: Path, expected: str) -> None:
    if len(expected) < MIN_DIGEST_CHARACTERS:
        raise CheckpointError(
            f"a sha256 needs at least {MIN_DIGEST_CHARACTERS} hex characters, got {expected!r}"
        )
    if not path.is_file():
        raise CheckpointError(f"no such weights file: {path}")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    _require_digest(path, digest, expected)


def _require_digest(source: Path | str, digest: str, expected: str) -> None:
    if not digest.startswith(expected.lower()):
        raise CheckpointError(
            f"{source} has sha256 {digest}, expected {expected}. It is another file or damaged: "
            "delete it and fetch it again."
        )


def _download(url: str, sha256: str | None, cache: Path | None) -> Path:
    if not url.startswith("https://"):
        raise CheckpointError(f"only https URLs are fetched, got {url}")
    if sha256 is None:
        raise CheckpointError(f"{url}: a URL needs a sha256, so that nobody can swap the file")
    folder = cache if cache is not None else user_folder("cache")
    path = folder / url.rsplit("/", 1)[-1]
    if is_there(path):
        return path
    digest = hashlib.sha256()
    with atomic_write(path, raises=CheckpointError, instead="set XDG_CACHE_HOME") as file:
        for piece in _pieces(url):
            digest.update(piece)
            file.write(piece)
        _require_digest(url, digest.hexdigest(), sha256)
    return path


def _pieces(url: str) -> Iterator[bytes]:
    try:
        with urllib.request.urlopen(url, timeout=DOWNLOAD_TIMEOUT_S) as response:
            while piece := response.read(1 << 20):
                yield piece
    except (OSError, http.client.HTTPException) as error:
        raise CheckpointError(
            f"cannot fetch {url}: {error}. Download it by other means and give its path."
        ) from error
