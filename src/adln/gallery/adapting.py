"""Adaptations that a gallery has switched on: at most one for each of its spaces.

The database keeps embeddings as the network gave them; an adaptation is stored in the same
database, and only codes and answers are computed from adapted embeddings. So taking it away gives
back what was there, bit for bit. What adapted scores mean is stored beside it, and goes with it.
"""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adln.gallery.records import ModelKey
from adln.gallery.schema import rows_if_made
from adln.matching.adaptation import Adaptation, adaptation_bytes, parse_adaptation
from adln.matching.calibration import Calibration, Scales, parse_one

NO_CAMERA = -1
"""The camera of a query that comes from none, such as a picture that somebody uploaded."""


def space_name(model: ModelKey) -> str:
    """What an adaptation calls the space of a model."""
    return model.space or f"{model.digest}:{model.depth}"


def adaptation_of(adaptations: Mapping[str, Adaptation], model: ModelKey) -> Adaptation | None:
    """The adaptation of a network's embeddings, out of those by name of their space."""
    # The space may have become known after the adaptation was switched on.
    return adaptations.get(space_name(model)) or adaptations.get(f"{model.digest}:{model.depth}")


def read_adaptations(connection: sqlite3.Connection) -> dict[str, Adaptation]:
    """Name of the space -> adaptation, as the open transaction sees them.

    Raises:
        SettingsError: one is damaged.
    """
    return {
        space: parse_adaptation(content, name=f"adaptation of space {space}")
        for space, content in rows_if_made(connection, "adaptations", "space")
    }


def read_calibrations(connection: sqlite3.Connection) -> dict[str, Calibration]:
    """Name of the space -> what scores mean in it, adapted as it is.

    Raises:
        ModelFileError: one is damaged.
    """
    return {
        space: parse_one(json.loads(content), name=f"calibration of space {space}")
        for space, content in rows_if_made(connection, "adapted_scores", "space")
    }


def scales_in(gallery: Any, model: ModelKey, scales: Scales) -> Scales:
    """What scores mean in a gallery: where it is adapted, what was fitted with its adaptation.

    Args:
        gallery: of either kind; one on a server cannot be adapted.
        model: of the query.
        scales: that hold where nothing is adapted.
    """
    calibration_of = getattr(gallery, "calibration_of", None)
    own = None if calibration_of is None else calibration_of(model)
    return scales if own is None else Scales(otherwise=own)


def store_adaptation(
    connection: sqlite3.Connection, adaptation: Adaptation, calibration: Calibration | None = None
) -> None:
    """Put one in place of its space's; the caller holds a write transaction."""
    connection.execute(
        "CREATE TABLE IF NOT EXISTS adapted_scores (space TEXT PRIMARY KEY, content TEXT NOT NULL)"
    )
    # What scores meant before means nothing any more.
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
    """Take all away; the caller holds a write transaction."""
    connection.execute("DROP TABLE IF EXISTS adaptations")
    connection.execute("DROP TABLE IF EXISTS adapted_scores")


def adapt_rows(
    adaptations: Mapping[str, Adaptation],
    embeddings: NDArray[np.float32],
    models: Mapping[int, ModelKey],
    model_ids: NDArray[np.int64],
    cameras: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Adapt embeddings of several networks, each as its space says.

    Args:
        adaptations: name of the space -> adaptation.
        embeddings: (N, D) as the network gave them.
        models: number -> model.
        model_ids: (N,) number of each one's model.
        cameras: (N,), `NO_CAMERA` where there is none.

    Returns:
        (N, D); the very same where there is nothing to adapt.
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
