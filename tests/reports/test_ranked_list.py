from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from adln.datasets.split import Split
from adln.embeddings import unit_length
from adln.errors import EvaluationError, ImageError
from adln.evaluation.ranking import evaluate_features
from adln.reports.ranked_list import (
    RankedRow,
    choose_queries,
    describe_ranked_lists,
    draw_ranked_list,
    rank_gallery,
)

GREEN, RED = (22, 163, 74), (220, 38, 38)


def make_split(name: str, persons: list[int], cameras: list[int]) -> Split:
    paths = tuple(Path(f"{name}_{index}.png") for index in range(len(persons)))
    return Split(name, paths, np.array(persons), np.array(cameras))


QUERY = make_split("query", [1, 2], [1, 1])
GALLERY = make_split("gallery", [1, 1, 2, 1, 0], [1, 2, 2, 3, 1])


def on_circle(*degrees: float) -> NDArray[np.float64]:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


GALLERY_FEATURES = on_circle(0, 30, 20, 10, 60)


def test_rows_hold_the_answers_in_order_without_junk() -> None:
    row, other = rank_gallery(QUERY, GALLERY, on_circle(0, 90), GALLERY_FEATURES, [0, 1])
    # Picture 0 shows the person under the query's own camera: junk.
    assert row.gallery.tolist() == [3, 2, 1, 4]
    assert row.is_match.tolist() == [True, False, True, False]
    np.testing.assert_allclose(row.similarity, np.cos(np.radians([10, 20, 30, 60])), atol=1e-6)
    assert row.first_match_rank == 1
    assert other.gallery.tolist() == [4, 1, 2, 3, 0]
    assert other.first_match_rank == 3


def test_a_match_beyond_the_answers_shown_still_has_a_rank() -> None:
    (row,) = rank_gallery(QUERY, GALLERY, on_circle(0, 90), GALLERY_FEATURES, [1], top_k=2)
    assert row.gallery.tolist() == [4, 1]
    assert not row.is_match.any()
    assert row.first_match_rank == 3


def test_ranks_are_those_of_the_metrics() -> None:
    rng = np.random.default_rng(0)
    query = make_split("query", rng.integers(1, 5, 20).tolist(), rng.integers(1, 4, 20).tolist())
    gallery = make_split(
        "gallery", rng.integers(0, 5, 60).tolist(), rng.integers(1, 4, 60).tolist()
    )
    features = unit_length(rng.normal(size=(80, 8)))
    metrics = evaluate_features((features[:20], *query.ids), (features[20:], *gallery.ids))
    positions = metrics.valid_queries.tolist()
    rows = rank_gallery(query, gallery, features[:20], features[20:], positions)
    assert [row.first_match_rank for row in rows] == metrics.first_match_rank.tolist()


def test_a_query_without_match_has_no_rank() -> None:
    query = make_split("query", [9], [1])
    (row,) = rank_gallery(query, GALLERY, on_circle(0), GALLERY_FEATURES, [0])
    assert row.first_match_rank is None


def test_a_query_that_does_not_exist_is_refused() -> None:
    with pytest.raises(EvaluationError, match="Query 2 does not exist"):
        rank_gallery(QUERY, GALLERY, on_circle(0, 90), GALLERY_FEATURES, [2])
    with pytest.raises(EvaluationError, match="top_k"):
        rank_gallery(QUERY, GALLERY, on_circle(0, 90), GALLERY_FEATURES, [0], top_k=0)


class TestChoice:
    """Which queries are shown."""

    rng = np.random.default_rng(1)
    persons = rng.integers(0, 12, 60)
    cameras = rng.integers(0, 3, 60)
    features = unit_length(np.eye(12)[persons] + 0.32 * rng.normal(size=(60, 12)))
    metrics = evaluate_features(
        (features[:30], persons[:30], cameras[:30]), (features[30:], persons[30:], cameras[30:])
    )

    def choose(self, count: int, seed: int = 0) -> list[int]:
        return choose_queries(self.metrics, self.persons[:30], count=count, seed=seed)

    def succeeds(self, position: int) -> bool:
        where = self.metrics.valid_queries.tolist().index(position)
        return bool(self.metrics.first_match_rank[where] == 1)

    def test_a_third_of_the_queries_fail_and_they_come_last(self) -> None:
        assert [self.succeeds(query) for query in self.choose(6)] == [True] * 4 + [False] * 2

    def test_the_choice_depends_on_the_seed_alone(self) -> None:
        assert self.choose(6) == self.choose(6)
        assert self.choose(6) != self.choose(6, seed=1)

    def test_persons_do_not_repeat_while_there_are_others(self) -> None:
        persons = self.persons[self.choose(6)]
        assert len(set(persons.tolist())) >= 5

    def test_more_than_there_are_gives_all(self) -> None:
        assert sorted(self.choose(500)) == self.metrics.valid_queries.tolist()

    def test_where_all_succeed_all_shown_succeed(self) -> None:
        perfect = np.eye(12)[self.persons]
        metrics = evaluate_features(
            (perfect[:30], self.persons[:30], self.cameras[:30]),
            (perfect[30:], self.persons[30:], self.cameras[30:]),
        )
        assert len(choose_queries(metrics, self.persons[:30], count=6)) == 6


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[Split, Split]:
    """Query and gallery of plain blue pictures."""
    for split in (QUERY, GALLERY):
        for path in split.paths:
            Image.new("RGB", (16, 32), (40, 60, 200)).save(tmp_path / path)
    return tuple(  # type: ignore[return-value]
        Split(
            split.name, tuple(tmp_path / p for p in split.paths), split.person_ids, split.camera_ids
        )
        for split in (QUERY, GALLERY)
    )


def frame_colours(picture: Image.Image) -> list[str]:
    """Frames met while walking from left to right across the first row of crops."""
    pixels = np.asarray(picture)
    # Well inside the first row: a line that crosses crops and frames only.
    line = pixels[picture.height * 5 // 12]
    names: list[str] = []
    for colour in line.tolist():
        name = {GREEN: "green", RED: "red", (40, 60, 200): "crop"}.get(tuple(colour), "")
        if not names or names[-1] != name:
            names.append(name)
    return [name for name in names if name in ("green", "red")][::2]


def test_answers_are_framed_green_and_red(pictures: tuple[Split, Split]) -> None:
    query, gallery = pictures
    rows = rank_gallery(query, gallery, on_circle(0, 90), GALLERY_FEATURES, [0])
    picture = draw_ranked_list(query, gallery, rows, title="Res1")
    assert picture.mode == "RGB"
    assert frame_colours(picture) == ["green", "red", "green", "red"]


def test_the_picture_grows_with_rows_and_answers(pictures: tuple[Split, Split]) -> None:
    def drawn(count: int, answers: int) -> Image.Image:
        none = np.zeros(answers, np.int64)
        row = RankedRow(0, none, none.astype(np.float32), none.astype(np.bool_), None)
        return draw_ranked_list(*pictures, [row] * count)

    small, large = drawn(1, 2), drawn(4, 12)
    assert large.height > 2 * small.height
    assert large.width > small.width


def test_the_same_rows_give_the_same_picture(pictures: tuple[Split, Split]) -> None:
    query, gallery = pictures
    rows = rank_gallery(query, gallery, on_circle(0, 90), GALLERY_FEATURES, [0, 1])
    first, second = (draw_ranked_list(query, gallery, rows).tobytes() for _ in range(2))
    assert first == second


def test_nothing_to_draw_and_missing_pictures_are_errors(pictures: tuple[Split, Split]) -> None:
    query, gallery = pictures
    with pytest.raises(EvaluationError, match="no ranked lists"):
        draw_ranked_list(query, gallery, [])
    rows = rank_gallery(query, gallery, on_circle(0, 90), GALLERY_FEATURES, [0])
    gallery.paths[3].unlink()
    with pytest.raises(ImageError, match="gallery_3"):
        draw_ranked_list(query, gallery, rows)


def test_the_description_says_where_the_matches_are() -> None:
    def row(*matches: bool) -> RankedRow:
        count = len(matches)
        return RankedRow(
            0, np.arange(count), np.zeros(count, np.float32), np.array(matches, np.bool_), None
        )

    assert describe_ranked_lists([row(True, False, True), row(False, False)]) == (
        "Query 1, first 3 answers: same person at rank 1, 3. "
        "Query 2, first 2 answers: other persons only."
    )
