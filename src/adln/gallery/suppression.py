"""Templates of forgotten people, kept only on request, to refuse their new sightings."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from adln.embeddings import unit_length
from adln.gallery.bridging import bridge_rows
from adln.gallery.records import NO_PERSON, ModelKey, StoredSighting
from adln.gallery.spaces import group_by_space
from adln.matching.bridge import Bridge


def keep_template(
    connection: sqlite3.Connection,
    models: Mapping[int, ModelKey],
    person_id: int,
    records: Sequence[StoredSighting],
    above: float,
) -> None:
    """Keep one mean embedding for each space, in the caller's transaction.

    Args:
        connection: to the gallery's database.
        models: networks by number.
        person_id: number of the person.
        records: their sightings.
        above: lowest cosine at which new sightings are refused.
    """
    numbers = {model: number for number, model in models.items()}
    for group in group_by_space(record.model for record in records):
        same = [record.embedding for record in records if record.model in group]
        mean = unit_length(np.mean(same, axis=0, dtype=np.float64)).astype("<f4")
        connection.execute(
            "INSERT INTO suppressed VALUES (?, ?, ?, ?, ?)",
            (person_id, group[0].depth, above, mean.tobytes(), numbers[group[0]]),
        )


def read_templates(
    connection: sqlite3.Connection, models: Mapping[int, ModelKey]
) -> list[tuple[ModelKey, float, bytes]]:
    """Network, threshold and embedding of each template, in the open transaction."""
    rows = connection.execute("SELECT model_id, above, embedding FROM suppressed").fetchall()
    return [(models[number], above, blob) for number, above, blob in rows]


def write_templates(
    connection: sqlite3.Connection,
    numbers: Mapping[ModelKey, int],
    templates: Iterable[tuple[ModelKey, float, bytes]],
) -> None:
    """Store templates of people who were forgotten elsewhere, so that they have no number here.

    Args:
        connection: to the gallery's database, in a write transaction.
        numbers: numbers of the networks here.
        templates: as `read_templates` returns them.
    """
    connection.executemany(
        "INSERT INTO suppressed VALUES (?, ?, ?, ?, ?)",
        [(NO_PERSON, model.depth, above, blob, numbers[model]) for model, above, blob in templates],
    )


def are_refused(
    connection: sqlite3.Connection,
    models: Mapping[int, ModelKey],
    embeddings: NDArray[np.float32],
    model_ids: Sequence[int],
    bridges: Mapping[str, Bridge],
) -> NDArray[np.bool_]:
    """Which of new embeddings (N, D) resemble a forgotten person with a template.

    With a bridge, similarity before or after the mapping is sufficient.

    Returns:
        (N,) bool.
    """
    refused = np.zeros(len(embeddings), dtype=np.bool_)
    kept = connection.execute("SELECT model_id, above, embedding FROM suppressed").fetchall()
    if not kept:
        return refused
    carried = bridge_rows(bridges, embeddings, models, np.asarray(model_ids, np.int64))
    for model_id, above, blob in kept:
        template = np.frombuffer(blob, "<f4")[np.newaxis]
        beyond = bridge_rows(bridges, template, models, np.array([model_id]))
        alike = np.vecdot(embeddings, template) >= above
        alike |= np.vecdot(carried, beyond) >= above
        same = [models[number].shares_space(models[model_id]) for number in model_ids]
        refused |= alike & np.array(same)
    return refused
