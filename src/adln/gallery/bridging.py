"""Bridges of a gallery, which map embeddings of a network to those of its successor.

The database stores the networks' embeddings unchanged, and the bridge beside them; only codes and
answers are computed from mapped embeddings. So removing a bridge restores the previous state bit
for bit. Bridges can form a chain: from the first network to the second, and on to the third.
"""

import sqlite3
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from adln.gallery.records import ModelKey
from adln.gallery.schema import rows_if_made
from adln.matching.bridge import Bridge, bridge_bytes, exit_name, parse_bridge


def read_bridges(connection: sqlite3.Connection) -> dict[str, Bridge]:
    """Source exit -> bridge, in the open transaction.

    Raises:
        SettingsError: one is damaged.
    """
    return {
        source: parse_bridge(content, name=f"bridge from {source}")
        for source, content in rows_if_made(connection, "bridges", "source")
    }


def store_bridge(connection: sqlite3.Connection, bridge: Bridge) -> None:
    """Store a bridge, replacing the one with the same source; needs a write transaction."""
    connection.execute(
        "CREATE TABLE IF NOT EXISTS bridges (source TEXT PRIMARY KEY, content BLOB NOT NULL)"
    )
    connection.execute(
        "INSERT OR REPLACE INTO bridges VALUES (?, ?)", (bridge.source, bridge_bytes(bridge))
    )


def remove_bridge(connection: sqlite3.Connection, source: str) -> None:
    """Remove the bridge with this source; needs a write transaction."""
    connection.execute("DELETE FROM bridges WHERE source = ?", (source,))


def bridges_from(bridges: Mapping[str, Bridge], model: ModelKey) -> list[Bridge]:
    """The chain of bridges that applies to embeddings of a network, in order.

    Args:
        bridges: by source exit, without cycles.
        model: network of the embeddings.
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
    """Map embeddings (N, D) of one network over its chain of bridges."""
    for bridge in bridges_from(bridges, model):
        embeddings = bridge.apply(embeddings)
    return embeddings


def leads_back(bridges: Mapping[str, Bridge], new: Bridge) -> bool:
    """Whether a bridge would form a cycle with the existing ones."""
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
    """Map embeddings of several networks over their bridges.

    Args:
        bridges: by source exit.
        embeddings: (N, D) from the networks.
        models: number -> network.
        model_ids: (N,) number of each embedding's network.

    Returns:
        (N, D); the same array if there is no bridge.
    """
    if not bridges:
        return embeddings
    carried = embeddings.copy()
    for number, model in models.items():
        mine = np.flatnonzero(model_ids == number)
        if len(mine):
            carried[mine] = carry(bridges, model, carried[mine])
    return carried
