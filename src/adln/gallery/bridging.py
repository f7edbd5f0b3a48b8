"""Bridges that a gallery has put up: from the embeddings of a network to its successor's.

The database keeps embeddings as their network gave them; a bridge is stored in the same database,
and only codes and answers are computed from what it carries over. So taking it away gives back
what was there, bit for bit. Bridges follow each other: from the first network to the second, and
on to the third.
"""

import sqlite3
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from adln.gallery.records import ModelKey
from adln.gallery.schema import rows_if_made
from adln.matching.bridge import Bridge, bridge_bytes, exit_name, parse_bridge


def read_bridges(connection: sqlite3.Connection) -> dict[str, Bridge]:
    """Exit that a bridge begins at -> bridge, as the open transaction sees them.

    Raises:
        SettingsError: one is damaged.
    """
    return {
        source: parse_bridge(content, name=f"bridge from {source}")
        for source, content in rows_if_made(connection, "bridges", "source")
    }


def store_bridge(connection: sqlite3.Connection, bridge: Bridge) -> None:
    """Put it in place of the one that begins where it does; needs a write transaction."""
    connection.execute(
        "CREATE TABLE IF NOT EXISTS bridges (source TEXT PRIMARY KEY, content BLOB NOT NULL)"
    )
    connection.execute(
        "INSERT OR REPLACE INTO bridges VALUES (?, ?)", (bridge.source, bridge_bytes(bridge))
    )


def remove_bridge(connection: sqlite3.Connection, source: str) -> None:
    """Take away the one that begins there; needs a write transaction."""
    connection.execute("DELETE FROM bridges WHERE source = ?", (source,))


def way_of(bridges: Mapping[str, Bridge], model: ModelKey) -> list[Bridge]:
    """The bridges that embeddings of a network go over, the first one first.

    Args:
        bridges: by the exit that each begins at; none of them leads back.
        model: of the embeddings.
    """
    way: list[Bridge] = []
    at = exit_name(*model.exit)
    while (bridge := bridges.get(at)) is not None:
        way.append(bridge)
        at = bridge.target
    return way


def carry(
    bridges: Mapping[str, Bridge], model: ModelKey, embeddings: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Embeddings (N, D) of one network over all bridges on their way."""
    for bridge in way_of(bridges, model):
        embeddings = bridge.apply(embeddings)
    return embeddings


def leads_back(bridges: Mapping[str, Bridge], new: Bridge) -> bool:
    """Whether a bridge would close a circle with those that are there."""
    seen, at = {new.source}, new.target
    while at not in seen:
        seen.add(at)
        if at not in bridges:
            return False
        at = bridges[at].target
    return True


def bridge_rows(
    bridges: Mapping[str, Bridge],
    embeddings: NDArray[np.float32],
    models: Mapping[int, ModelKey],
    model_ids: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Carry embeddings of several networks over, each as its network says.

    Args:
        bridges: by the exit that each begins at.
        embeddings: (N, D) as the networks gave them.
        models: number -> model.
        model_ids: (N,) number of each one's model.

    Returns:
        (N, D); the very same where there is no bridge.
    """
    if not bridges:
        return embeddings
    carried = embeddings.copy()
    for number, model in models.items():
        mine = np.flatnonzero(model_ids == number)
        if len(mine):
            carried[mine] = carry(bridges, model, carried[mine])
    return carried
