"""Adaptation and bridges of a gallery in a folder."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adln.arguments import checked
from adln.errors import GalleryError
from adln.gallery.adapting import remove_adaptations, space_name, store_adaptation
from adln.gallery.bridging import bridges_from, carry, leads_back, remove_bridge, store_bridge
from adln.gallery.database import plain_errors
from adln.gallery.records import ModelKey, StoredSighting
from adln.gallery.store import GalleryStore
from adln.matching.adaptation import Adaptation
from adln.matching.bridge import Bridge
from adln.matching.calibration import Calibration


@checked(GalleryError)
class ComparedGallery(GalleryStore):
    """The part of `SqliteGallery` that controls how embeddings are compared."""

    @property
    def adaptations(self) -> tuple[Adaptation, ...]:
        """Active adaptations, at most one for each space."""
        with self._reading():
            return tuple(self._index.adaptations.values())

    @property
    def calibrations(self) -> dict[str, Calibration]:
        """Name of an adapted space -> calibration of its scores."""
        with self._reading():
            return dict(self._index.calibrations)

    def calibration_of(self, model: ModelKey) -> Calibration | None:
        """Calibration of a network's adapted scores here; None if not adapted or not calibrated."""
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
        """Activate an adaptation for its space; takes as long as a `compact`.

        Stored embeddings are not changed; `undo_adaptation` deactivates it.

        Args:
            adaptation: fitted in a space of this gallery.
            calibration: calibration of adapted scores, which replaces the network's own; None if
                there is none.
            recognised: shares of true pairs recognised without and with it, for the audit log;
                None if not measured.

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
                    f"{self.folder}: this adaptation was fitted in space {adaptation.space!r}, of "
                    "which there are no embeddings here."
                )
            store_adaptation(self._connection, adaptation, calibration)
            self._index.rebuild()
        self._remove_old_files()

    def undo_adaptation(self) -> int:
        """Deactivate all adaptations.

        Returns:
            Their number.
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
        """Active bridges, at most one from each exit of a network."""
        with self._reading():
            return tuple(self._index.bridges.values())

    def build_bridge(self, bridge: Bridge) -> int:
        """Activate a bridge from a network of this gallery to its successor.

        It applies to stored and future embeddings, which are not changed; `remove_bridge`
        deactivates it. Takes as long as a `compact`.

        Args:
            bridge: from a network of this gallery.

        Returns:
            The number of sightings it applies to.

        Raises:
            GalleryError: The gallery has no embeddings of that network, is adapted, or the bridge
                would form a cycle.
        """
        with self._writing("build_bridge", {"id": bridge.id, "to": bridge.target[:12]}):
            index = self._index
            if leads_back(index.bridges, bridge):
                raise GalleryError(
                    f"{self.folder}: there is a bridge from network {bridge.target[:12]} back to "
                    f"{bridge.source[:12]}; remove that one first."
                )
            numbers = [
                number
                for number, model in index.models.items()
                if bridge in bridges_from({**index.bridges, bridge.source: bridge}, model)
            ]
            if not numbers:
                made_by = ", ".join(model.digest[:12] for model in index.models.values())
                raise GalleryError(
                    f"{self.folder}: has no embeddings of network {bridge.source[:12]}, from which "
                    f"this bridge starts; those here are of {made_by or 'nothing yet'}."
                )
            if bridge.dim != index.dim:
                raise GalleryError(
                    f"{self.folder}: holds embeddings of {index.dim} numbers, this bridge is for "
                    f"{bridge.dim}."
                )
            apart = [index.models[one] for one in numbers if index.models[one].space]
            if any(model.space != bridge.space for model in apart):
                raise GalleryError(
                    f"{self.folder}: this bridge is for space {bridge.space or 'unknown'}, the "
                    f"embeddings here are of {apart[0].space}: the new network does not fit "
                    "them."
                )
            if index.adaptations:
                raise GalleryError(
                    f"{self.folder}: is adapted to its cameras for the old network. "
                    "Undo that first (`adln adapt GALLERY --undo`), and adapt it again afterwards."
                )
            store_bridge(self._connection, bridge)
            index.rebuild()
            carried = int(np.isin(index.columns.model_ids[index.columns.depths > 0], numbers).sum())
        self._remove_old_files()
        return carried

    def remove_bridge(self, target: str) -> int:
        """Remove the bridges to a network.

        Args:
            target: exit they lead to, see `adln.matching.bridge.exit_name`.

        Returns:
            The number removed.

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
                    "Undo that first: `adln adapt GALLERY --undo`."
                )
            for bridge in gone:
                remove_bridge(self._connection, bridge.source)
            if gone:
                self._index.rebuild()
        self._remove_old_files()
        return len(gone)

    def compared(self, records: Sequence[StoredSighting]) -> list[NDArray[np.float32]]:
        """Embeddings (D,) of sightings of this gallery as searches compare them.

        That is, after bridges and adaptation; scores of such embeddings are what `calibration_of`
        is for.
        """
        with self._reading():
            return [self._compared(record) for record in records]

    def carried(self, records: Sequence[StoredSighting]) -> list[NDArray[np.float32]]:
        """Embeddings (D,) of sightings mapped by bridges, before adaptation."""
        with self._reading():
            bridges = dict(self._index.bridges)
        return [
            carry(bridges, record.model, np.asarray(record.embedding, np.float32)[np.newaxis])[0]
            for record in records
        ]

    def _remove_old_files(self) -> None:
        """Wipe the files that a rebuild has replaced."""
        with self._lock, plain_errors(self.folder):
            self._index.remove_leftovers()
        self._wiper.wipe()
