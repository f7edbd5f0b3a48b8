"""Safetensors files: a broken one is noticed, and none is left half written."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from adln.atomic import atomic_write
from adln.errors import CheckpointError


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors and short texts to a .safetensors file that appears whole or not at all.

    Raises:
        CheckpointError: the disk is full or the folder cannot be written.
    """
    with atomic_write(path, raises=CheckpointError) as file:
        try:
            save_file(_apart(tensors), file.name, metadata=dict(metadata))
        except SafetensorError as error:
            raise OSError(str(error)) from error


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors on the CPU, each with memory of its own, as the format asks."""
    apart: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        ready = tensor.detach().cpu().contiguous()
        apart[name] = ready.clone() if ready.data_ptr() in seen else ready
        seen.add(ready.data_ptr())
    return apart


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read all tensors of a file to the CPU, and the texts of its header.

    Raises:
        CheckpointError: the file is missing, truncated or not a safetensors file.
    """
    if not path.is_file():
        raise CheckpointError(f"no such weights file: {path}")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{path} is truncated or not a safetensors file ({error}). "
            "Copy it again or train it again."
        ) from error
