"""The state that a run needs to resume as if it had never been interrupted.

One safetensors file, written atomically: weights, centres, Adam's moments, and the position in the
epoch. Random generators need no state, because each step draws from its own seed.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from adln.errors import CheckpointError
from adln.model.files import read_tensors, write_tensors

FORMAT = "adln-training-state-1"


@dataclass(frozen=True)
class Position:
    """Position of a run: the epoch, counted from 1, and the steps done in it.

    Attributes:
        seconds: training time so far, including interrupted parts.
        sums: part of the objective -> sum over the done steps of this epoch.
        provenance: what is to be stored with the network; None in states of earlier versions.
    """

    epoch: int = 1
    step: int = 0
    seconds: float = 0.0
    sums: Mapping[str, float] | None = None
    provenance: Mapping[str, Any] | None = None


def write_state(
    path: Path,
    position: Position,
    *,
    module: nn.Module,
    optimiser: torch.optim.Optimizer,
    identity: Mapping[str, Any],
) -> None:
    """Write the state of a run: network and centres (`module`), and Adam's moments.

    The centres' optimiser has no state. `identity` must not change when the run resumes (recipe,
    data, processes).

    Raises:
        CheckpointError: the file cannot be written; the previous one is untouched.
    """
    tensors = {f"module.{name}": tensor for name, tensor in module.state_dict().items()}
    for index, moments in optimiser.state_dict()["state"].items():
        for name, value in moments.items():
            tensors[f"optimiser.{index}.{name}"] = torch.as_tensor(value)
    header = {
        "format": FORMAT,
        "identity": json.dumps(dict(identity), sort_keys=True),
        "position": json.dumps({**asdict(position), "sums": dict(position.sums or {})}),
    }
    write_tensors(path, tensors, header)


def read_state(
    path: Path,
    *,
    module: nn.Module,
    optimiser: torch.optim.Optimizer,
    identity: Mapping[str, Any],
) -> Position:
    """Restore module and optimiser, of the same parameters in the same order.

    Raises:
        CheckpointError: a truncated or foreign file, or a run with another recipe, data or number
            of processes.
    """
    tensors, header = read_tensors(path)
    if header.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not the state of a training run of this version")
    check_identity(path, json.loads(header["identity"]), dict(identity))
    module.load_state_dict(_strip("module.", tensors))
    state = optimiser.state_dict()
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _strip("optimiser.", tensors).items():
        index, field = name.split(".", 1)
        moments.setdefault(int(index), {})[field] = tensor
    optimiser.load_state_dict({**state, "state": moments})
    return Position(**json.loads(header["position"]))


def _strip(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def check_identity(path: Path, stored: dict[str, Any], own: dict[str, Any]) -> None:
    """Raise CheckpointError, which says the differences, if a stored run is not this one."""
    # Through JSON, like the stored identity: tuples become lists.
    own = json.loads(json.dumps(own))
    # Runs of earlier versions know their files by name only.
    if "pictures" not in stored:
        own.pop("pictures", None)
    differences = _differences(stored, own)
    if differences:
        raise CheckpointError(
            f"{path} belongs to another run: {'; '.join(differences)}. "
            "Resume it with its original settings, or choose another output folder."
        )


def _differences(stored: Any, own: Any, name: str = "") -> list[str]:
    if isinstance(stored, dict) and isinstance(own, dict):
        return [
            difference
            for key in sorted(stored.keys() | own.keys())
            for difference in _differences(
                stored.get(key), own.get(key), f"{name}.{key}" if name else key
            )
        ]
    # A setting added after the stored run was off in it.
    is_younger = stored is None and not own
    return [] if stored == own or is_younger else [f"{name} was {stored!r}, now {own!r}"]
