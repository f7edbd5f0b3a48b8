from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adln.gallery.erasing import find_traces, pieces


@given(at=st.integers(0, 3000), seed=st.integers(0, 100))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_pieces_are_found_at_any_position(
    tmp_path_factory: object, tmp_path: Path, at: int, seed: int
) -> None:
    secret = np.random.default_rng(seed).bytes(16)
    (tmp_path / "file").write_bytes(b"x" * at + secret + b"y" * 7)
    assert find_traces(tmp_path, [secret]).found == 1
    assert find_traces(tmp_path, [secret[::-1]]).found == 0


def test_a_piece_across_two_chunks_is_found_once(tmp_path: Path) -> None:
    secret = np.random.default_rng(1).bytes(16)
    content = bytearray(20 * 2**20)
    for at in (8 * 2**20 - 5, 16 * 2**20 - 15):
        content[at : at + 16] = secret
    (tmp_path / "large").write_bytes(content)
    traces = find_traces(tmp_path, [secret])
    assert (traces.files, traces.found) == (1, 2)


def test_data_that_could_be_anything_is_not_looked_for() -> None:
    assert pieces(bytes(64)) == []
    assert pieces(b"short") == []
    assert len(pieces(np.random.default_rng(0).bytes(64))) == 3
