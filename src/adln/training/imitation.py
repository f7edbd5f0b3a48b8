"""Imitation: the exits learn to predict the embeddings of another network.

Not part of the paper, whose teacher is the deepest exit. A network that has seen more cameras and
more people has more to teach than labels have. Its embeddings of the training pictures are made
once, before the training (`load_teacher_embeddings`), or for each crop as it is varied
(`adln.training.teacher`). Either each exit predicts them by a linear map, which is left behind
with the teacher when the training is over, or the exits' own embeddings are in the teacher's space
(`NetworkSettings.teacher_space`).
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
    """The teacher's embeddings of the pictures of a split.

    Args:
        path: feature file, as `adln embed` writes it, of at least these pictures. They are told
            by the name of the file and of its folder.
        split: N pictures.

    Returns:
        (N, T) float32 of unit length, in the order of the split; and the name of the space that
        they lie in, "" if unknown.

    Raises:
        DatasetError: the file cannot be read, lacks a picture, or has two of one name.
    """
    features = read_features(path)
    rows = {_short(Path(name)): row for row, name in enumerate(features.paths)}
    if len(rows) < len(features.paths):
        raise DatasetError(
            f"{path}: several pictures have the same name and folder name, so that they cannot be "
            "told apart; embed the training split alone."
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
    """A linear map behind each exit that predicts the teacher's embeddings.

    Args:
        depths: that have an exit.
        dim: T, length of the teacher's embeddings.
        seed: of the weights that they start from.
    """

    def __init__(self, depths: Iterable[int], dim: int, *, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.maps = nn.ModuleDict(
                {str(depth): nn.Linear(FEATURE_DIM, dim, bias=False) for depth in depths}
            )

    def forward(self, exits: Mapping[int, ExitOutput]) -> dict[int, Tensor]:
        """Outputs of the exits for B crops -> depth -> (B, T)."""
        return {int(name): each(exits[int(name)].embedding) for name, each in self.maps.items()}


def _short(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"
