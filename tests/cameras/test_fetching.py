import hashlib
import io
from pathlib import Path

import pytest

from adln.cameras.fetching import Release, fetch
from adln.errors import ModelFileError

CONTENT = b"a network" * 100
RELEASE = Release("d.onnx", "https://x/d.onnx", hashlib.sha256(CONTENT).hexdigest(), 900, "MIT")


def test_a_file_is_fetched_once(tmp_path: Path) -> None:
    asked: list[str] = []

    def opener(url: str) -> io.BytesIO:
        asked.append(url)
        return io.BytesIO(CONTENT)

    for _ in range(2):
        assert fetch(RELEASE, cache=tmp_path / "new", opener=opener).read_bytes() == CONTENT
    assert asked == [RELEASE.url]


@pytest.mark.parametrize("answer", [CONTENT[:-1], CONTENT + b"x", b"x" * 900])
def test_other_content_is_refused_and_leaves_nothing(tmp_path: Path, answer: bytes) -> None:
    with pytest.raises(ModelFileError, match=r"x/d\.onnx"):
        fetch(RELEASE, cache=tmp_path, opener=lambda _: io.BytesIO(answer))
    assert list(tmp_path.iterdir()) == []


def test_no_network_is_an_error_with_advice(tmp_path: Path) -> None:
    def opener(_: str) -> io.BytesIO:
        raise OSError("no route to host")

    with pytest.raises(ModelFileError, match="no route to host"):
        fetch(RELEASE, cache=tmp_path, opener=opener)
    assert list(tmp_path.iterdir()) == []
