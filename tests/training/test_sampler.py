"""PK batches: the official sequence, full batches, disjoint processes."""

import random
from pathlib import Path

import numpy as np
import pytest

from adln.errors import DatasetError
from adln.training.sampler import epoch_batches, identity_batches

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "pk_sampler.npz")
PERSON_IDS = np.repeat(np.arange(7), [1, 3, 4, 5, 8, 9, 12])


def test_the_sequence_is_the_official_one() -> None:
    batches = identity_batches(
        GOLDEN["pids"],
        persons=4,
        crops=4,
        shuffler=random.Random(0),
        chooser=np.random.RandomState(0),
    )
    sequence = [index for batch in batches for index in batch]
    assert sequence == GOLDEN["bot_b16k4_seed0_sequence"].tolist()
    assert sequence == GOLDEN["apnet_b16k4_seed0_sequence"].tolist()
    assert len(sequence) == GOLDEN["bot_b16k4_len_after_iter"]


def test_batches_are_full_with_different_persons() -> None:
    for epoch in range(1, 6):
        for batch in epoch_batches(PERSON_IDS, persons=3, crops=4, seed=0, epoch=epoch):
            assert len(batch) == 12
            groups = PERSON_IDS[batch].reshape(3, 4)
            assert (groups == groups[:, :1]).all()
            assert len(set(groups[:, 0])) == 3


def test_a_person_with_few_crops_repeats_some() -> None:
    batches = epoch_batches(np.array([0, 1, 1, 1, 1]), persons=2, crops=4, seed=0, epoch=1)
    assert sorted(batches[0]) == [0, 0, 0, 0, 1, 2, 3, 4]


def test_seed_and_epoch_alone_decide() -> None:
    def batches(seed: int, epoch: int) -> list[list[int]]:
        return epoch_batches(PERSON_IDS, persons=3, crops=2, seed=seed, epoch=epoch)

    assert batches(0, 1) == batches(0, 1)
    assert batches(0, 1) != batches(0, 2)
    assert batches(0, 1) != batches(1, 1)


def test_two_processes_never_share_a_person_in_a_step() -> None:
    first, second = (
        epoch_batches(PERSON_IDS, persons=2, crops=2, seed=0, epoch=1, rank=rank, world_size=2)
        for rank in (0, 1)
    )
    assert len(first) == len(second) > 0
    for a, b in zip(first, second, strict=True):
        assert not set(PERSON_IDS[a]) & set(PERSON_IDS[b])


def test_too_few_persons_say_what_to_do() -> None:
    with pytest.raises(DatasetError, match=r"needs 20 different persons.*has 7.*batch.persons"):
        epoch_batches(PERSON_IDS, persons=20, crops=4, seed=0, epoch=1)


def test_unlabelled_crops_follow_and_labels_are_never_asked_of_them() -> None:
    labels = np.append(PERSON_IDS, np.full(30, -1))
    batches = epoch_batches(labels, persons=3, crops=2, seed=0, epoch=1, unlabelled=8)
    plain = epoch_batches(PERSON_IDS, persons=3, crops=2, seed=0, epoch=1)
    assert [batch[:6] for batch in batches] == plain, "the labelled part stays as it was"
    assert all(len(batch) == 14 for batch in batches)
    free = [index for batch in batches for index in batch[6:]]
    assert max(free) >= len(PERSON_IDS), "unlabelled crops are among them"
    assert min(free) < len(PERSON_IDS), "and so are labelled ones"


def test_without_labels_an_epoch_is_one_pass_shared_by_the_processes() -> None:
    labels = np.full(24, -1)
    first, second = (
        epoch_batches(
            labels, persons=0, crops=0, seed=0, epoch=1, unlabelled=4, rank=rank, world_size=2
        )
        for rank in (0, 1)
    )
    seen = [index for batch in (*first, *second) for index in batch]
    assert sorted(seen) == list(range(24))
