import threading
import time
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest
from fake_service import MODEL, Served, embed_colours, person_picture
from numpy.typing import NDArray

from adln.errors import GalleryError
from adln.gallery.interface import Gallery
from adln.gallery.records import EVERYTHING, Filter, ModelKey, PersonsResult
from adln.service.batching import Searches

YARD = Filter(cameras=frozenset({1}))


class SlowGallery:
    """A gallery whose first search lasts until it is let go."""

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery
        self.may_go = threading.Event()
        self.sizes: list[int] = []
        self.fails_together = False

    def search_persons(self, embeddings: NDArray[np.floating], **asked: Any) -> list[PersonsResult]:
        self.sizes.append(len(np.atleast_2d(embeddings)))
        if len(self.sizes) == 1:
            assert self.may_go.wait(20)
        if self.fails_together and embeddings.ndim == 2:
            raise GalleryError("the disk hiccuped")
        return self._gallery.search_persons(embeddings, **asked)


def ask_together(slow: SlowGallery, queries: list[tuple[NDArray[np.float32], Filter]]) -> list[int]:
    """Ask the first, then all others while it is being searched for; the best sighting of each."""
    searches = Searches(cast("Gallery", slow))
    best: dict[int, int] = {}

    def ask(at: int) -> None:
        query, where = queries[at]
        (result,) = searches.search_persons(query, model=MODEL, k=3, where=where)
        best[at] = int(result.best.sighting_ids[0])

    threads = [threading.Thread(target=ask, args=(at,)) for at in range(len(queries))]
    threads[0].start()
    until_s = time.monotonic() + 20
    while not slow.sizes and time.monotonic() < until_s:
        time.sleep(0.001)
    for thread in threads[1:]:
        thread.start()
    while len(searches._waiting) < len(queries) - 1 and time.monotonic() < until_s:
        time.sleep(0.001)
    slow.may_go.set()
    for thread in threads:
        thread.join(20)
    return [best[at] for at in range(len(queries))]


def test_those_who_ask_alike_meanwhile_are_answered_by_one_search(served: Served) -> None:
    slow = SlowGallery(served.gallery)
    looks = [embed_colours(person_picture(number, 1)) for number in (0, 1, 2, 0, 1)]
    wheres = [EVERYTHING, EVERYTHING, YARD, EVERYTHING, EVERYTHING]
    queries = list(zip(looks, wheres, strict=True))
    best = ask_together(slow, queries)
    assert sorted(slow.sizes) == [1, 1, 3]
    alone = [
        int(
            served.gallery.search_persons(query, model=MODEL, k=3, where=where)[
                0
            ].best.sighting_ids[0]
        )
        for query, where in queries
    ]
    assert best == alone


def test_when_a_search_for_several_fails_each_is_searched_for_alone(served: Served) -> None:
    slow = SlowGallery(served.gallery)
    slow.fails_together = True
    query = embed_colours(person_picture(0, 1))
    best = ask_together(slow, [(query, EVERYTHING)] * 3)
    assert len(set(best)) == 1
    assert slow.sizes == [1, 1, 2, 1, 1]


def test_what_is_wrong_with_a_search_is_told_to_who_asked(served: Served) -> None:
    searches = Searches(served.gallery)
    other = ModelKey("d" * 64, 2, MODEL.dim)
    query = embed_colours(person_picture(0))
    with pytest.raises(GalleryError, match="different networks"):
        searches.search_persons(query, model=other, k=3, where=EVERYTHING)
    (found,) = searches.search_persons(query, model=MODEL, k=3, where=EVERYTHING)
    assert len(found) == 3


def test_persons_are_found_as_the_gallery_finds_them(served: Served) -> None:
    searches = Searches(served.gallery)
    for number, where, without, named in (
        (0, EVERYTHING, frozenset[int](), False),
        (1, YARD, frozenset({5}), True),
    ):
        query = embed_colours(person_picture(number, 1))
        asked = {"model": MODEL, "k": 2, "where": where, "without": without, "named": named}
        (found,) = searches.search_persons(query, **asked)  # type: ignore[arg-type]
        (alone,) = served.gallery.search_persons(query, **asked)  # type: ignore[arg-type]
        assert found.names == alone.names
        assert found.best.sighting_ids.tolist() == alone.best.sighting_ids.tolist()
        assert found.num_persons == alone.num_persons == (2 if named else 3)


def test_each_query_goes_with_its_camera(served: Served) -> None:
    asked: list[Sequence[int] | None] = []

    class Noting:
        """A gallery that notes what cameras it is given."""

        def search_persons(self, *args: object, **kwargs: object) -> list[PersonsResult]:
            asked.append(kwargs["cameras"])  # type: ignore[arg-type]
            return served.gallery.search_persons(*args, **kwargs)  # type: ignore[arg-type]

    searches = Searches(cast("Gallery", Noting()))
    query = embed_colours(person_picture(0))
    for cameras in ([3], None):
        searches.search_persons(query, model=MODEL, k=1, where=EVERYTHING, cameras=cameras)
    assert asked == [[3], [-1]]
