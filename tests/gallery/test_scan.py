import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adln.gallery.codes import CodeFiles, encode_embeddings
from adln.gallery.scan import Wanted, compare, find_best

sys.path.insert(0, str(Path(__file__).parent))
from made_up import unit_rows


@given(seed=st.integers(0, 10_000), spread=st.sampled_from([0.0, 1.0, 8.0]))
@settings(deadline=None, max_examples=40)
def test_errors_bound_what_codes_lose(seed: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((20, 64)) * np.exp(spread * rng.standard_normal((1, 64)) / 4)
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    codes = encode_embeddings(rows)
    assert codes.numbers.dtype == np.int8
    rests = rows.astype(np.float64) - codes.scales[:, np.newaxis].astype(np.float64) * codes.numbers
    assert (np.linalg.norm(rests, axis=1) <= codes.errors).all()
    queries = unit_rows(10, seed=seed + 1, dim=64).astype(np.float64)
    off = np.abs(queries @ rests.T)
    assert (off <= codes.errors).all()


def test_an_embedding_of_zeros_has_codes_of_zeros() -> None:
    codes = encode_embeddings(np.zeros((1, 8), np.float32))
    assert not codes.numbers.any()
    assert codes.errors[0] == 0


@pytest.mark.parametrize("engine", ["numkong", "numpy"])
@pytest.mark.parametrize("low_memory", [False, True])
@pytest.mark.parametrize("num_queries", [1, 7])
def test_rough_scores_are_within_their_slack(
    tmp_path: Path, engine: str, low_memory: bool, num_queries: int
) -> None:
    files = CodeFiles(tmp_path, 1, 64, with_embeddings=True)
    rows = unit_rows(500, dim=64)
    files.reserve(500)
    files.write(np.arange(500), rows)
    queries = unit_rows(num_queries, seed=5, dim=64)
    comparison = compare(queries, files, engine=engine, low_memory=low_memory)
    exact = queries.astype(np.float64) @ rows.T.astype(np.float64)
    for rows_compared in (slice(100, 400), np.array([3, 7, 499])):
        off = np.abs(comparison.scores(rows_compared) - exact[:, rows_compared])
        assert (off <= comparison.slack(rows_compared)[:, np.newaxis]).all()


@pytest.mark.parametrize("num_queries", [1, 9])
def test_few_rows_need_an_exact_look(tmp_path: Path, num_queries: int) -> None:
    files = CodeFiles(tmp_path, 1, 256, with_embeddings=False)
    rows = unit_rows(20_000, dim=256)
    files.reserve(len(rows))
    files.write(np.arange(len(rows)), rows)
    queries = unit_rows(num_queries, seed=5, dim=256)
    looked_at: list[int] = []

    def fetch(slots: np.ndarray) -> np.ndarray:
        looked_at.append(len(slots))
        return rows[slots]

    mask = np.arange(len(rows)) % 5 != 0
    comparison = compare(queries, files, engine="numkong", low_memory=True)
    ids = np.arange(len(rows))
    (answers,) = find_best(comparison, queries, [Wanted(mask, 20)], ids, fetch)
    scores = queries @ rows.T
    scores[:, ~mask] = -2
    for (slots, _), row in zip(answers, scores, strict=True):
        assert slots.tolist() == np.argsort(-row, kind="stable")[:20].tolist()
    assert sum(looked_at) < 400 * num_queries


def test_garbage_in_free_slots_changes_no_answer(tmp_path: Path) -> None:
    files = CodeFiles(tmp_path, 1, 32, with_embeddings=False)
    rows = unit_rows(100)
    files.reserve(100)
    files.write(np.arange(100), rows)
    path = next(tmp_path.glob("errors-*"))
    errors = np.fromfile(path, np.float32)
    errors[50:100] = np.nan
    errors.tofile(path)
    comparison = compare(rows[:1], files, engine="numkong", low_memory=True)
    mask = np.arange(100) < 50
    (((slots, _),),) = find_best(
        comparison, rows[:1], [Wanted(mask, 5)], np.arange(100), lambda s: rows[s]
    )
    expected = np.argsort(-(rows[:50] @ rows[0]), kind="stable")[:5]
    assert slots.tolist() == expected.tolist()


@pytest.mark.parametrize("engine", ["numkong", "numpy"])
@pytest.mark.parametrize("num_queries", [1, 9])
@pytest.mark.parametrize("num_persons", [3, 40, 9000])
def test_persons_are_ranked_by_their_best_row_as_by_comparing_all(
    tmp_path: Path, engine: str, num_queries: int, num_persons: int
) -> None:
    rng = np.random.default_rng(num_persons)
    files = CodeFiles(tmp_path, 1, 32, with_embeddings=False)
    persons = np.sort(rng.integers(0, num_persons, 12_000))
    middles = unit_rows(num_persons, dim=32)
    rows = middles[persons] + 0.1 * rng.standard_normal((len(persons), 32))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    files.reserve(len(rows))
    files.write(np.arange(len(rows)), rows)
    queries = middles[:num_queries] if num_persons >= num_queries else rows[:num_queries]
    mask = np.arange(len(rows)) % 5 != 0
    comparison = compare(queries, files, engine=engine, low_memory=True)
    ids = np.arange(len(rows))
    of_persons = Wanted(mask, 4, persons)
    (answers,) = find_best(comparison, queries, [of_persons], ids, lambda slots: rows[slots])
    scores = queries @ rows.T
    scores[:, ~mask] = -2
    for (slots, similarity), row in zip(answers, scores, strict=True):
        best: dict[int, int] = {}
        for slot in np.argsort(-row, kind="stable")[: mask.sum()]:
            best.setdefault(int(persons[slot]), int(slot))
        assert slots.tolist() == list(best.values())[:4]
        np.testing.assert_allclose(similarity, row[slots], atol=1e-6)


@pytest.mark.parametrize("num_queries", [1, 9])
@pytest.mark.parametrize("keep_one_in", [1, 3, 30, 6000])
def test_all_that_is_wanted_is_found_at_once_as_one_by_one(
    tmp_path: Path, num_queries: int, keep_one_in: int
) -> None:
    rows = unit_rows(12_000, dim=32)
    files = CodeFiles(tmp_path, 1, 32, with_embeddings=False)
    files.reserve(len(rows))
    files.write(np.arange(len(rows)), rows)
    slots = np.arange(len(rows))
    persons = slots % 500
    queries = unit_rows(num_queries, seed=5, dim=32)
    wanted = [
        Wanted(slots % keep_one_in == 0, 4, persons),
        Wanted(slots % keep_one_in == 1 % keep_one_in, 20),
        Wanted(np.zeros(len(rows), np.bool_), 3),
    ]
    comparison = compare(queries, files, engine="numkong", low_memory=True)
    together = find_best(comparison, queries, wanted, slots, lambda s: rows[s])
    alone = [find_best(comparison, queries, [one], slots, lambda s: rows[s])[0] for one in wanted]
    scores = queries @ rows.T
    for at, row in enumerate(scores):
        for one, other in zip(together, alone, strict=True):
            assert one[at][0].tolist() == other[at][0].tolist()
            np.testing.assert_array_equal(one[at][1], other[at][1])
        counted = np.flatnonzero(wanted[1].mask)
        best = counted[np.argsort(-row[counted], kind="stable")][:20]
        assert together[1][at][0].tolist() == best.tolist()
        assert len(together[2][at][0]) == 0
