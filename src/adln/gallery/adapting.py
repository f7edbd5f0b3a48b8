"""Adaptations of a gallery: at most one for each of its spaces.

The database stores the network's embeddings unchanged, and the adaptation beside them; only codes
and answers are computed from adapted embeddings. So removing an adaptation restores the previous
state bit for bit. The calibration of adapted scores is stored and removed with it.
"""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adln.gallery.records import ModelKey, StoredSighting
from adln.gallery.schema import rows_if_made
from adln.matching.adaptation import Adaptation, adaptation_bytes, parse_adaptation
from adln.matching.calibration import Calibration, Scales, parse_one

NO_CAMERA = -1
"""Camera number of queries without a camera, such as uploaded pictures."""


def space_name(model: ModelKey) -> str:
    """Name of a network's space in adaptations."""
    return model.space or f"{model.digest}:{model.depth}"


def adaptation_of(adaptations: Mapping[str, Adaptation], model: ModelKey) -> Adaptation | None:
    """The adaptation of a network's embeddings; `adaptations` are by name of the space."""
    # The space may have become known after the adaptation was switched on.
    return adaptations.get(space_name(model)) or adaptations.get(f"{model.digest}:{model.depth}")


def read_adaptations(connection: sqlite3.Connection) -> dict[str, Adaptation]:
    """Name of the space -> adaptation, in the open transaction.

    Raises:
        SettingsError: one is damaged.
    """
    return {
        space: parse_adaptation(content, name=f"adaptation of space {space}")
        for space, content in rows_if_made(connection, "adaptations", "space")
    }


def read_calibrations(connection: sqlite3.Connection) -> dict[str, Calibration]:
    """Name of the space -> calibration of its adapted scores.

    Raises:
        ModelFileError: one is damaged.
    """
    return {
        space: parse_one(json.loads(content), name=f"calibration of space {space}")
        for space, content in rows_if_made(connection, "adapted_scores", "space")
    }


def scales_in(gallery: Any, model: ModelKey, scales: Scales) -> Scales:
    """Scales for a gallery: if it is adapted, the calibration fitted with its adaptation.

    Args:
        gallery: of any kind; one on a server cannot be adapted.
        model: network of the query.
        scales: scales without adaptation.
    """
    own = calibration_in(gallery, model)
    return scales if own is None else Scales(otherwise=own)


def calibration_in(gallery: Any, model: ModelKey) -> Calibration | None:
    """The calibration fitted with a gallery's adaptation of a network, if there is one."""
    calibration_of = getattr(gallery, "calibration_of", None)
    own: Calibration | None = None if calibration_of is None else calibration_of(model)
    return own


def as_compared(gallery: Any, records: Sequence[StoredSighting]) -> list[StoredSighting]:
    """Records with the embeddings that a gallery's searches compare; `scales_in` is for these.

    Args:
        gallery: of any kind; one on a server compares embeddings as they are.
        records: sightings of it.
    """
    compared = getattr(gallery, "compared", None)
    if compared is None:
        return list(records)
    return [
        replace(record, embedding=embedding)
        for record, embedding in zip(records, compared(records), strict=True)
    ]


def store_adaptation(
    connection: sqlite3.Connection, adaptation: Adaptation, calibration: Calibration | None = None
) -> None:
    """Store an adaptation, replacing that of its space; needs a write transaction."""
    connection.execute(
        "CREATE TABLE IF NOT EXISTS adapted_scores (space TEXT PRIMARY KEY, content TEXT NOT NULL)"
    )
    # The previous calibration no longer applies.
    connection.execute("DELETE FROM adapted_scores WHERE space = ?", (adaptation.space,))
    if calibration is not None:
        connection.execute(
            "INSERT INTO adapted_scores VALUES (?, ?)",
            (adaptation.space, json.dumps(asdict(calibration))),
        )
    connection.execute(
        "CREATE TABLE IF NOT EXISTS adaptations (space TEXT PRIMARY KEY, content BLOB NOT NULL)"
    )
    connection.execute(
        "INSERT OR REPLACE INTO adaptations VALUES (?, ?)",
        (adaptation.space, adaptation_bytes(adaptation)),
    )


def remove_adaptations(connection: sqlite3.Connection) -> None:
    """Remove all adaptations; needs a write transaction."""
    connection.execute("DROP TABLE IF EXISTS adaptations")
    connection.execute("DROP TABLE IF EXISTS adapted_scores")


def adapt_rows(
    adaptations: Mapping[str, Adaptation],
    embeddings: NDArray[np.float32],
    models: Mapping[int, ModelKey],
    model_ids: NDArray[np.int64],
    cameras: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Adapt embeddings of several networks, each by the adaptation of its space.

    Args:
        adaptations: name of the space -> adaptation.
        embeddings: (N, D) from the networks.
        models: number -> network.
        model_ids: (N,) number of each embedding's network.
        cameras: (N,) camera numbers; `NO_CAMERA` for none.

    Returns:
        (N, D); the same array if there is nothing to adapt.
    """
    if not adaptations:
        return embeddings
    adapted = embeddings.copy()
    for number, model in models.items():
        adaptation = adaptation_of(adaptations, model)
        mine = np.flatnonzero(model_ids == number)
        if adaptation is not None and len(mine) > 0:
            adapted[mine] = adaptation.apply(embeddings[mine], cameras[mine])
    return adapted
