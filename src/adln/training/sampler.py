"""Batches of P persons with K crops each.

Sec. III.B of the paper gives no numbers; P = 20 and K = 4 are those of APNet, whose recipe it uses.
"""

import random
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from adln.errors import DatasetError


def identity_batches(
    person_ids: Sequence[int] | NDArray[np.int64],
    *,
    persons: int,
    crops: int,
    shuffler: random.Random,
    chooser: np.random.RandomState,
) -> list[list[int]]:
    """One epoch of batches: each has `persons` different persons with `crops` crops each.

    Returns indices into `person_ids` (N,), grouped by person. A person with fewer than `crops`
    crops repeats some, drawn by `chooser`. A person's crops are shuffled and used in groups of
    `crops`; the remainder is unused in this epoch. The epoch ends when fewer than `persons` persons
    have a group left.

    Raises:
        DatasetError: fewer than P persons.

    Source: RandomIdentitySampler of BoT and AGW, with the same draws in the same order.
    """
    indices_of: dict[int, list[int]] = defaultdict(list)
    for index, person_id in enumerate(person_ids):
        indices_of[int(person_id)].append(index)
    if len(indices_of) < persons:
        raise DatasetError(
            f"a batch needs {persons} different persons, the training split has "
            f"{len(indices_of)}. Set batch.persons lower or add data."
        )
    groups_of: dict[int, list[list[int]]] = {}
    for person_id, indices in indices_of.items():
        pool = list(indices)
        if len(pool) < crops:
            pool = chooser.choice(pool, size=crops, replace=True).tolist()
        shuffler.shuffle(pool)
        groups_of[person_id] = [
            pool[start : start + crops] for start in range(0, len(pool) - crops + 1, crops)
        ]
    available = list(groups_of)
    batches: list[list[int]] = []
    while len(available) >= persons:
        batch: list[int] = []
        for person_id in shuffler.sample(available, persons):
            batch += groups_of[person_id].pop(0)
            if not groups_of[person_id]:
                available.remove(person_id)
        batches.append(batch)
    return batches


def epoch_batches(
    person_ids: NDArray[np.int64],
    *,
    persons: int,
    crops: int,
    seed: int,
    epoch: int,
    rank: int = 0,
    world_size: int = 1,
    unlabelled: int = 0,
) -> list[list[int]]:
    """The batches of one process in one epoch, determined by the arguments alone.

    With several processes, each has P = `persons` different persons in a step with `crops` crops
    each, and no person is in two processes in the same step. Persons `person_ids` (N,) are -1 for
    unlabelled crops, and P is 0 if labels are not used. To the batch of each process are appended
    `unlabelled` crops, drawn from all, whoever they show. Without labelled crops, an epoch is one
    pass over all.

    Raises:
        DatasetError: fewer than P * world_size persons.
    """
    sequence = np.random.SeedSequence((seed, epoch))
    own: list[list[int]] = []
    if persons:
        shuffled, chosen = sequence.generate_state(2).tolist()
        labelled = np.flatnonzero(person_ids >= 0)
        together = identity_batches(
            person_ids[labelled],
            persons=persons * world_size,
            crops=crops,
            shuffler=random.Random(shuffled),
            chooser=np.random.RandomState(chosen),
        )
        mine = slice(rank * persons * crops, (rank + 1) * persons * crops)
        own = [labelled[batch[mine]].tolist() for batch in together]
    if not unlabelled:
        return own
    total = len(person_ids)
    steps = len(own) if persons else max(1, total // (unlabelled * world_size))
    needed = steps * unlabelled * world_size
    rng = np.random.default_rng(sequence.spawn(1)[0])
    order = np.concatenate([rng.permutation(total) for _ in range(-(-needed // total))])[:needed]
    free = order.reshape(steps, world_size, unlabelled)[:, rank].tolist()
    return [a + b for a, b in zip(own, free, strict=True)] if persons else free
