import numpy as np
import pytest

from adln.errors import GalleryError
from adln.gallery.records import SearchResult
from adln.reports.answer_picture import draw_answers


def result(count: int) -> SearchResult:
    return SearchResult(
        sighting_ids=np.arange(1, count + 1),
        similarity=np.linspace(0.9, -0.2, count).astype(np.float32),
        person_ids=np.where(np.arange(count) % 2, -1, 3),
        camera_ids=np.zeros(count, np.int64),
        time_s=np.full(count, 1e9),
        depths=np.full(count, 2),
    )


def test_more_answers_take_more_lines_and_missing_pictures_do_not_matter() -> None:
    query = np.full((64, 32, 3), 200, np.uint8)
    names = {3: "Somebody with an exceedingly long name"}
    few = draw_answers(query, result(3), [], names, title="few")
    many = draw_answers(query, result(23), [], names, title="many")
    assert many.height > 2 * few.height
    assert few.getpixel((40, 150)) == (200, 200, 200)


def test_no_answers_are_no_picture() -> None:
    with pytest.raises(GalleryError, match="Nothing was found"):
        draw_answers(np.zeros((8, 4, 3), np.uint8), result(0), [], {}, title="none")
