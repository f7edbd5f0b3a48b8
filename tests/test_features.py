import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from adln import features as module
from adln.embeddings import unit_length
from adln.errors import DatasetError, SettingsError
from adln.features import Features, FeatureSource, read_features, write_features

SOURCE = FeatureSource(
    depth=2,
    flip=True,
    model_sha256="a" * 64,
    source_sha256="b" * 64,
    precision="int8",
    adln_version="0.1.0",
)


def some_features(count: int = 5) -> Features:
    rng = np.random.default_rng(1)
    paths = tuple(f"people/ü {number}.jpg" for number in range(count))
    return Features(paths, unit_length(rng.standard_normal((count, 8))), SOURCE)


def test_npz_comes_back_as_it_went(tmp_path: Path) -> None:
    written = some_features()
    write_features(written, tmp_path / "f.npz")
    back = read_features(tmp_path / "f.npz")
    assert back.paths == written.paths
    assert back.source == SOURCE
    assert back.embeddings.dtype == np.float32
    np.testing.assert_array_equal(back.embeddings, written.embeddings)


@pytest.mark.parametrize("name", ["f.npz", "f.parquet"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_what_another_program_wrote_in_other_lengths_is_read_in_unit_length(
    tmp_path: Path, name: str, dtype: type[np.floating]
) -> None:
    ours = some_features()
    lengths = np.linspace(0.1, 30, len(ours.paths))[:, np.newaxis]
    write_features(
        replace(ours, embeddings=(ours.embeddings * lengths).astype(dtype)), tmp_path / name
    )
    back = read_features(tmp_path / name).embeddings
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, ours.embeddings, atol=1e-3 if dtype == np.float16 else 1e-6)


def test_npz_is_read_by_numpy_alone(tmp_path: Path) -> None:
    write_features(some_features(), tmp_path / "f.npz")
    with np.load(tmp_path / "f.npz", allow_pickle=False) as content:
        assert content["paths"][1] == "people/ü 1.jpg"
        assert content["embeddings"].shape == (5, 8)


def test_parquet_comes_back_as_it_went(tmp_path: Path) -> None:
    written = some_features()
    write_features(written, tmp_path / "f.parquet")
    back = read_features(tmp_path / "f.parquet")
    assert (back.paths, back.source) == (written.paths, SOURCE)
    np.testing.assert_array_equal(back.embeddings, written.embeddings)


def test_parquet_without_pyarrow_is_told_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(SettingsError, match=r'Parquet needs pyarrow, .*install "\.\[parquet\]"'):
        module.require_writable_format(tmp_path / "f.parquet")
    with pytest.raises(SettingsError, match="Parquet needs pyarrow"):
        read_features(tmp_path / "f.parquet")


def test_other_endings_are_refused_and_missing_folders_are_made(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"ends in \.npz or \.parquet"):
        write_features(some_features(), tmp_path / "f.csv")
    path = tmp_path / "new" / "folder" / "f.npz"
    module.require_writable_format(path)
    assert not path.parent.exists()
    write_features(some_features(), path)
    assert path.is_file()


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "f.npz"
    write_features(some_features(2), path)

    def full_disk(file: Any, **arrays: Any) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(
        module, "np", SimpleNamespace(savez=full_disk, array=np.array, str_=np.str_)
    )
    with pytest.raises(SettingsError, match="No space left on device"):
        write_features(some_features(3), path)
    monkeypatch.undo()
    assert len(read_features(path).paths) == 2
    assert list(tmp_path.iterdir()) == [path]


def test_missing_damaged_and_foreign_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="there is no such feature file"):
        read_features(tmp_path / "gone.npz")
    path = tmp_path / "f.npz"
    write_features(some_features(), path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DatasetError, match=r"f\.npz: not a feature file"):
        read_features(path)
    np.savez(path, other=np.zeros(3))
    with pytest.raises(DatasetError, match=r"f\.npz: not a feature file"):
        read_features(path)


@pytest.mark.parametrize(("value", "words"), [(np.nan, "NaN or infinite"), (0.0, "but zeros")])
def test_embeddings_that_cannot_be_compared_are_refused(
    tmp_path: Path, value: float, words: str
) -> None:
    embeddings = np.ones((2, 3), dtype=np.float32)
    embeddings[1] = value
    write_features(Features(("a.jpg", "b.jpg"), embeddings, SOURCE), tmp_path / "f.npz")
    with pytest.raises(DatasetError, match=rf"f\.npz: the embedding of b\.jpg contains .*{words}"):
        read_features(tmp_path / "f.npz")
