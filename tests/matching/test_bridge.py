from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from adln.embeddings import unit_length
from adln.errors import SettingsError
from adln.matching.bridge import (
    Bridge,
    bridge_bytes,
    bridge_path,
    fit_bridge,
    parse_bridge,
    read_bridge,
    write_bridge,
)

DIM = 24
SEEN, CROPS = 150, 4


class Drawn:
    """People as two networks see them: the old one sees what changes within a person, too."""

    def __init__(self, seed: int) -> None:
        both = np.random.default_rng(99)
        mix, light = both.standard_normal((2, DIM, DIM)) / np.sqrt(DIM)
        rng = np.random.default_rng(seed)
        self.groups = np.repeat(np.arange(SEEN), CROPS)
        people = rng.standard_normal((SEEN, DIM))[self.groups]
        changing = rng.standard_normal((len(people), DIM // 3)) @ light[: DIM // 3]
        self.new = unit_length(people + 0.2 * rng.standard_normal(people.shape))
        self.old = unit_length(people + people @ mix + 2 * changing + 0.3)
        self.tracks = np.arange(len(self.groups)) // 2

    def found(self, stored: NDArray[np.float32]) -> float:
        """Share of crops whose nearest neighbour, as the old one stored it, is of their person."""
        scores = self.new @ stored.T
        np.fill_diagonal(scores, -1)
        return float(np.mean(self.groups[scores.argmax(1)] == self.groups))


def fitted(**changes: object) -> Bridge:
    seen = Drawn(0)
    return replace(
        fit_bridge(
            seen.old, seen.new, seen.groups, seen.tracks, source="a:2", target="b:2", space="s"
        ),
        **changes,  # type: ignore[arg-type]
    )


def test_people_who_were_not_seen_are_found_better_over_it() -> None:
    others = Drawn(1)
    as_they_are = others.found(others.old)
    over = others.found(fitted().apply(others.old))
    assert over > as_they_are + 0.1


def test_who_is_one_person_tells_more_than_crops_alone() -> None:
    seen, others = Drawn(0), Drawn(1)
    each = np.arange(len(seen.old))
    alone = fit_bridge(seen.old, seen.new, each, each, source="a:2", target="b:2")
    assert others.found(fitted().apply(others.old)) >= others.found(alone.apply(others.old))


def test_networks_that_are_one_need_no_way() -> None:
    seen = Drawn(0)
    rows = unit_length(np.eye(SEEN, DIM) + 0.1)[seen.groups]
    bridge = fit_bridge(rows, rows, seen.groups, seen.tracks, source="a:2", target="b:2")
    np.testing.assert_allclose(bridge.apply(rows), rows, atol=1e-5)


def test_each_row_is_carried_by_itself() -> None:
    rows = Drawn(1).old
    whole = fitted().apply(rows)
    assert whole.dtype == np.float32
    np.testing.assert_array_equal(whole[7:8], fitted().apply(rows[7:8]))
    assert fitted().apply(rows[:0]).shape == (0, DIM)


def test_a_long_track_counts_as_much_as_a_short_one() -> None:
    seen = Drawn(0)
    often = np.concatenate([np.arange(len(seen.old)), np.repeat(np.arange(2), 200)])
    # The same two crops once more, many times over, in their own track.
    long = fit_bridge(
        seen.old[often],
        seen.new[often],
        seen.groups[often],
        seen.tracks[often],
        source="a:2",
        target="b:2",
    )
    np.testing.assert_allclose(long.matrix, fitted().matrix, atol=1e-3)


def test_few_people_move_little() -> None:
    seen, others = Drawn(0), Drawn(1)
    few = slice(0, 3 * CROPS)
    bridge = fit_bridge(
        seen.old[few],
        seen.new[few],
        seen.groups[few],
        seen.tracks[few],
        source="a:2",
        target="b:2",
    )
    assert others.found(bridge.apply(others.old)) > others.found(others.old) - 0.1
    one = fit_bridge(seen.old[:1], seen.new[:1], np.zeros(1), np.zeros(1), source="a", target="b")
    assert np.isfinite(one.apply(others.old)).all()


def test_it_is_written_and_read_to_the_bit(tmp_path: Path) -> None:
    network = tmp_path / "site.onnx"
    bridge = fitted()
    assert write_bridge(bridge, network) == bridge_path(network)
    back = read_bridge(network, ["c:1", "b:2"])
    assert (back.id, back.source, back.space) == (bridge.id, "a:2", "s")
    np.testing.assert_array_equal(back.matrix, bridge.matrix)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda content: content[:-40], "not a bridge, or damaged"),
        (lambda _: bridge_bytes(fitted(format="adln-bridge-9")), "its format is 'adln-bridge-9'"),
        (
            lambda content: content.replace(fitted().matrix.tobytes()[:64], b"\0" * 64),
            "damaged",
        ),
    ],
)
def test_a_damaged_file_is_refused(change, problem) -> None:
    with pytest.raises(SettingsError, match=problem):
        parse_bridge(change(bridge_bytes(fitted())), name="this file")


def test_what_cannot_be_carried_is_refused(tmp_path: Path) -> None:
    network = tmp_path / "site.onnx"
    with pytest.raises(SettingsError, match="there is no such bridge"):
        read_bridge(network, ["b:2"])
    write_bridge(fitted(), network)
    with pytest.raises(SettingsError, match="belongs to network b:2, not to"):
        read_bridge(network, ["c:2"])
    with pytest.raises(SettingsError, match=r"needs embeddings of shape \(N, 24\)"):
        fitted().apply(np.zeros((2, 3), np.float32))
    nothing = np.zeros((0, DIM), np.float32)
    with pytest.raises(SettingsError, match="there are none"):
        fit_bridge(nothing, nothing, np.zeros(0), np.zeros(0), source="a", target="b")
