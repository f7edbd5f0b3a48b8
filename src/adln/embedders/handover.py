"""What one file of a split export hands over to the next."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adln.manifest import Manifest


@dataclass(frozen=True, eq=False)
class Handover:
    """What a deeper file goes on from, for N crops.

    Attributes:
        arrays: name -> (N, ...): the map of a stage in the type that the files hold it in, and,
            where exits answer together, the sum of their embeddings so far.
    """

    arrays: dict[str, NDArray[Any]]

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def __getitem__(self, crops: Any) -> "Handover":
        """The same of some crops: a slice, a mask or numbers."""
        return Handover({name: array[crops] for name, array in self.arrays.items()})

    @property
    def form(self) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
        """Name -> shape of one crop's array, and type."""
        return {name: (array.shape[1:], array.dtype) for name, array in self.arrays.items()}


def handovers(manifest: Manifest, outputs: Iterable[NDArray[Any]]) -> dict[int, Handover]:
    """Stage -> what a file puts out for a deeper one.

    Args:
        manifest: of the file.
        outputs: its outputs `manifest.handed_over`, in that order.
    """
    found = iter(outputs)
    return {
        stage: Handover({name: next(found) for name in manifest.names_after(stage)})
        for stage in manifest.maps
    }
