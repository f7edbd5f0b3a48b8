"""Data passed from one file of a split export to the next."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adln.manifest import Manifest


@dataclass(frozen=True, eq=False)
class Handover:
    """Input of a deeper file, for N crops.

    Attributes:
        arrays: name -> (N, ...): a stage's map in the files' type; if exits are summed, their sum,
            too.
    """

    arrays: dict[str, NDArray[Any]]

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def __getitem__(self, crops: Any) -> "Handover":
        """The same for some crops: a slice, a mask or indices."""
        return Handover({name: array[crops] for name, array in self.arrays.items()})

    @property
    def form(self) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
        """Name -> shape of one crop's array, and data type."""
        return {name: (array.shape[1:], array.dtype) for name, array in self.arrays.items()}


def handovers(manifest: Manifest, outputs: Iterable[NDArray[Any]]) -> dict[int, Handover]:
    """Stage -> what a file hands over there, from its outputs `manifest.handed_over`, in order."""
    found = iter(outputs)
    return {
        stage: Handover({name: next(found) for name in manifest.names_after(stage)})
        for stage in manifest.maps
    }
