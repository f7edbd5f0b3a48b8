"""Trained networks on disk: one safetensors file with architecture and origin in its header."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from adln.errors import CheckpointError
from adln.evaluation.unseen import NOT_STATED
from adln.model.files import read_tensors, write_tensors
from adln.model.network import ADLN, Architecture
from adln.strict import parse_json

FORMAT = "adln-network-1"


def save_network(path: Path, network: ADLN, *, provenance: dict[str, Any] | None = None) -> None:
    """Write a network, whole or cut, its weights as they are (float32 stays float32).

    `provenance` says what they come from (data set, recipe, version); anything JSON can hold.

    Raises:
        CheckpointError: the file cannot be written.
    """
    header = {
        "format": FORMAT,
        "architecture": json.dumps(asdict(network.architecture)),
        "provenance": json.dumps(provenance or {}),
    }
    write_tensors(path, network.state_dict(), header)


def load_network(path: Path, *, exits: tuple[int, ...] | None = None) -> ADLN:
    """Read a network of `save_network` in evaluation mode; all exits, or only those at some depths.

    Raises:
        CheckpointError: the file is missing, truncated, of another program or another network,
            or has no such exit.
    """
    tensors, header = read_tensors(path)
    if header.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} holds no adln network (its header says format={header.get('format')!r}, "
            f"expected {FORMAT!r}). ImageNet weights go to `adln train --imagenet`."
        )
    architecture = _read_architecture(path, header.get("architecture", ""))
    with torch.device("meta"):
        network = ADLN(architecture)
    expected = {name: tensor.shape for name, tensor in network.state_dict().items()}
    found = {name: tensor.shape for name, tensor in tensors.items()}
    if expected != found:
        wrong = sorted(
            name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)
        )
        raise CheckpointError(
            f"{path} does not fit its own header: {len(wrong)} tensors are missing, superfluous "
            f"or of another shape, first {wrong[0]!r}. Save it again with this version of adln."
        )
    network.load_state_dict(
        {
            name: tensor.float() if tensor.is_floating_point() else tensor
            for name, tensor in tensors.items()
        },
        assign=True,
    )
    network.mean, network.std = ADLN.pixel_statistics()
    network.eval()
    return network if exits is None else network.keep(exits)


def read_provenance(path: Path) -> dict[str, Any]:
    """What the file says of its origin; empty if it says nothing.

    Raises:
        CheckpointError: the file is missing or truncated.
    """
    _, header = read_tensors(path)
    provenance: dict[str, Any] = parse_json(header.get("provenance", "{}"))
    return provenance


def stated_data(path: Path) -> str:
    """What the file says the network was trained on, or `NOT_STATED`; see `read_provenance`."""
    return str(read_provenance(path).get("data", "")) or NOT_STATED


def joined_data(*stated: str) -> str:
    """What a network was trained on if it was made from several: "market1501 + cuhk03".

    Each name once, of data sets or as `stated_data` says of other networks, in this order.
    """
    names = [name for text in stated for name in text.split(" + ") if name]
    return " + ".join(dict.fromkeys(names))


def _read_architecture(path: Path, text: str) -> Architecture:
    try:
        fields = parse_json(text)
        depths = {name: tuple(fields[name]) for name in ("exits", "summed_exits") if name in fields}
        return Architecture(**{**fields, **depths})
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(
            f"{path}: the architecture in its header cannot be read ({error}). "
            "It was written by another version of adln or by hand."
        ) from error
