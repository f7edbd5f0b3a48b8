"""Opens a network of either kind for the commands that judge it: for training, or for a device."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from adln.atomic import require_writable, suffix_of
from adln.cli.progress import mention
from adln.embedders.deeper import ChainedEmbedder
from adln.embedders.embedder import DEFAULT_BATCH_SIZE
from adln.embedders.session import usable_cores
from adln.embedders.shipped import find_network
from adln.errors import ModelFileError, TrainingError

if TYPE_CHECKING:
    import torch

    from adln.model.embedder import TorchEmbedder

_FOR_DEVICES = (".onnx", ".xml")


def is_exported(model: Path) -> bool:
    """Whether a network runs on a device, given as a file or by its name."""
    return suffix_of(find_network(model)) in _FOR_DEVICES


def require_trained_out(out: Path) -> None:
    """Raise TrainingError, before the work, if no trained network can be written to a file."""
    if suffix_of(out) != ".safetensors":
        raise TrainingError(f"{out} must end in .safetensors")
    require_writable(out, raises=TrainingError)


def open_trained(
    path: Path,
    depths: tuple[int, ...],
    *,
    device: "torch.device | str",
    flip: bool = True,
    bf16: bool = False,
) -> tuple["TorchEmbedder", dict[int, int], dict[int, int]]:
    """A network in torch, and size and work of its depths."""
    import torch

    from adln.model import bfloat16
    from adln.model.checkpoint import load_network
    from adln.model.complexity import count_exits
    from adln.model.embedder import TorchEmbedder

    network = load_network(path, exits=depths or None)
    counts = count_exits(network)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    embedder = TorchEmbedder(network, device=device, flip=flip, bf16=bf16)
    if bf16 and not embedder.bf16:
        mention(bfloat16.NOTICE)
    params = {depth: counted.params for depth, counted in counts.items()}
    flops = {depth: counted.flops for depth, counted in counts.items()}
    return embedder, params, flops


def open_chain(paths: Sequence[Path], depths: tuple[int, ...], *, flip: bool) -> ChainedEmbedder:
    """An exported network of one file or several, or only some of the depths that they have."""
    foreign = [str(path) for path in paths if not is_exported(path)]
    if foreign and len(paths) > 1:
        raise ModelFileError(
            f"{', '.join(foreign)}: several files are those of one split export, all .onnx, from "
            "the shallowest on; give a trained network (.safetensors) alone."
        )
    return ChainedEmbedder(
        paths, batch_size=DEFAULT_BATCH_SIZE, depths=depths, flip=flip, threads=usable_cores()
    )
