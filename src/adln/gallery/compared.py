"""How a gallery in a folder compares what it holds: as it is, adapted, or carried over a bridge."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adln.errors import GalleryError
from adln.gallery.adapting import remove_adaptations, space_name, store_adaptation
from adln.gallery.bridging import carry, leads_back, remove_bridge, store_bridge, way_of
from adln.gallery.database import plain_errors
from adln.gallery.records import ModelKey, StoredSighting
from adln.gallery.store import GalleryStore
from adln.matching.adaptation import Adaptation
from adln.matching.bridge import Bridge
from adln.matching.calibration import Calibration


class ComparedGallery(GalleryStore):
    """What of a gallery says how embeddings are compared; see `SqliteGallery`."""

    @property
    def adaptations(self) -> tuple[Adaptation, ...]:
        """What is switched on, at most one for each space."""
        with self._reading():
            return tuple(self._index.adaptations.values())

    @property
    def calibrations(self) -> dict[str, Calibration]:
        """Name of an adapted space -> what scores mean in it."""
        with self._reading():
            return dict(self._index.calibrations)

    def calibration_of(self, model: ModelKey) -> Calibration | None:
        """What scores of a network mean here, if its embeddings are adapted and it was fitted."""
        with self._reading():
            known = self._index.calibrations
            if not known:
                return None
            model = self._as_here(model)
            return known.get(space_name(model)) or known.get(f"{model.digest}:{model.depth}")

    def adapt(
        self,
        adaptation: Adaptation,
        calibration: Calibration | None = None,
        *,
        recognised: tuple[float, float] | None = None,
    ) -> None:
        """Compare embeddings of its space adapted, from now on; takes as long as a `compact`.

        The embeddings themselves stay as they are; `undo_adaptation` goes back to them.

        Args:
            adaptation: fitted in a space of this gallery.
            calibration: what adapted scores mean, in place of the network's own; None if unknown.
            recognised: share of true pairs that were recognised without it, and that are with it,
                for the audit log; None if nobody has measured.

        Raises:
            GalleryError: The gallery has no embeddings of that space.
        """
        details: dict[str, Any] = {"id": adaptation.id, "method": adaptation.method}
        if recognised is not None:
            details["recognised"] = [round(share, 4) for share in recognised]
        with self._writing("adapt", details):
            models = self._index.models.values()
            if adaptation.space not in {space_name(model) for model in models}:
                raise GalleryError(
                    f"{self.folder}: there are no embeddings of space {adaptation.space!r} here, "
                    "which this adaptation was fitted in."
                )
            store_adaptation(self._connection, adaptation, calibration)
            self._index.rebuild()
        self._remove_old_files()

    def undo_adaptation(self) -> int:
        """Compare embeddings as the network gave them again.

        Returns:
            How many adaptations were switched off.
        """
        details: dict[str, Any] = {}
        with self._writing("undo_adaptation", details):
            details["adaptations"] = undone = len(self._index.adaptations)
            if undone:
                remove_adaptations(self._connection)
                self._index.rebuild()
        self._remove_old_files()
        return undone

    @property
    def bridges(self) -> tuple[Bridge, ...]:
        """What embeddings are carried over, at most one from each exit of a network."""
        with self._reading():
            return tuple(self._index.bridges.values())

    def build_bridge(self, bridge: Bridge) -> int:
        """Compare embeddings of a network as its successor sees people, from now on.

        Stored ones, and those still to come. They themselves stay as they are; `remove_bridge` goes
        back to them. Takes as long as a `compact`.

        Args:
            bridge: from a network of this gallery.

        Returns:
            How many sightings are carried over it.

        Raises:
            GalleryError: The gallery has no embeddings of that network, is adapted, or other
                bridges lead back.
        """
        with self._writing("build_bridge", {"id": bridge.id, "to": bridge.target[:12]}):
            index = self._index
            if leads_back(index.bridges, bridge):
                raise GalleryError(
                    f"{self.folder}: a bridge from network {bridge.target[:12]} back to "
                    f"{bridge.source[:12]} is there already; remove that one first."
                )
            numbers = [
                number
                for number, model in index.models.items()
                if bridge in way_of({**index.bridges, bridge.source: bridge}, model)
            ]
            if not numbers:
                made_by = ", ".join(model.digest[:12] for model in index.models.values())
                raise GalleryError(
                    f"{self.folder}: holds no embeddings of network {bridge.source[:12]}, which "
                    f"this bridge begins at; those here are of {made_by or 'nothing yet'}."
                )
            if bridge.dim != index.dim:
                raise GalleryError(
                    f"{self.folder}: holds embeddings of {index.dim} numbers, this bridge is for "
                    f"{bridge.dim}."
                )
            apart = [index.models[one] for one in numbers if index.models[one].space]
            if any(model.space != bridge.space for model in apart):
                raise GalleryError(
                    f"{self.folder}: this bridge is of space {bridge.space or 'unknown'}, the "
                    f"embeddings here of {apart[0].space}: the new network cannot be compared with "
                    "them."
                )
            if index.adaptations:
                raise GalleryError(
                    f"{self.folder}: is adapted to its cameras for the old network. "
                    "Switch that off (`adln adapt GALLERY --undo`), and adapt it again afterwards."
                )
            store_bridge(self._connection, bridge)
            index.rebuild()
            carried = int(np.isin(index.columns.model_ids[index.columns.depths > 0], numbers).sum())
        self._remove_old_files()
        return carried

    def remove_bridge(self, target: str) -> int:
        """Compare embeddings as they were before bridges to a network.

        Args:
            target: where they lead, by `adln.matching.bridge.exit_name`.

        Returns:
            How many bridges were removed.

        Raises:
            GalleryError: The gallery was adapted after they were built.
        """
        details: dict[str, Any] = {"to": target[:12]}
        with self._writing("remove_bridge", details):
            gone = [one for one in self._index.bridges.values() if one.target == target]
            details["bridges"] = len(gone)
            if gone and self._index.adaptations:
                raise GalleryError(
                    f"{self.folder}: is adapted to its cameras for network {target[:12]}. "
                    "Switch that off first: `adln adapt GALLERY --undo`."
                )
            for bridge in gone:
                remove_bridge(self._connection, bridge.source)
            if gone:
                self._index.rebuild()
        self._remove_old_files()
        return len(gone)

    def carried(self, records: Sequence[StoredSighting]) -> list[NDArray[np.float32]]:
        """Embeddings (D,) of sightings as bridges carry them, before they are adapted."""
        with self._reading():
            bridges = dict(self._index.bridges)
        return [
            carry(bridges, record.model, np.asarray(record.embedding, np.float32)[np.newaxis])[0]
            for record in records
        ]

    def _remove_old_files(self) -> None:
        """Wipe what a rebuild has left."""
        with self._lock, plain_errors(self.folder):
            self._index.remove_leftovers()
        self._wiper.wipe()
