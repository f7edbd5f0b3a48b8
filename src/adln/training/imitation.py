"""Imitation: the exits learn to predict another network's embeddings; not part of the paper.

A network that has seen more cameras and more people teaches more than labels. Its embeddings of the
training pictures are computed once before the training, or for each augmented crop
(`adln.training.teacher`). Either each exit predicts them by a linear map, which is discarded after
the training, or the exits' own embeddings are in the teacher's space.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from adln.datasets.split import Split
from adln.embeddings import unit_length
from adln.errors import DatasetError
from adln.features import read_features
from adln.model.exits import FEATURE_DIM, ExitOutput


def load_teacher_embeddings(path: Path, split: Split) -> tuple[NDArray[np.float32], str]:
    """Read a teacher's (N, T) unit embeddings of a split's pictures, and their space's name.

    The space is "" if unknown. The file of `adln embed` must have at least these pictures, which
    are identified by the names of the file and of its folder.

    Raises:
        DatasetError: the file cannot be read, lacks a picture, or has two with the same name.
    """
    features = read_features(path)
    rows = {_short(Path(name)): row for row, name in enumerate(features.paths)}
    if len(rows) < len(features.paths):
        raise DatasetError(
            f"{path}: several pictures have the same name and folder name, so that they cannot be "
            "distinguished; embed the training split alone."
        )
    try:
        order = [rows[_short(picture)] for picture in split.paths]
    except KeyError as missing:
        raise DatasetError(
            f"{path}: has no embedding of {missing.args[0]}; embed all training pictures."
        ) from missing
    embeddings = unit_length(features.embeddings[order]).astype(np.float32)
    return embeddings, features.source.space


class Imitators(nn.Module):
    """A linear map behind each exit that predicts the teacher's `dim` numbers per crop."""

    def __init__(self, depths: Iterable[int], dim: int, *, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.maps = nn.ModuleDict(
                {str(depth): nn.Linear(FEATURE_DIM, dim, bias=False) for depth in depths}
            )

    def forward(self, exits: Mapping[int, ExitOutput]) -> dict[int, Tensor]:
        """Predict (B, T) teacher embeddings from the exits' outputs for B crops, by depth."""
        return {int(name): each(exits[int(name)].embedding) for name, each in self.maps.items()}


def _short(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"
