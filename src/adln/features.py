"""Feature files of `adln embed`: embeddings with their pictures and their network."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adln.atomic import atomic_write, require_regular, require_writable, suffix_of
from adln.embeddings import find_unusable, unit_length
from adln.errors import AdlnError, DatasetError, SettingsError, require_package

SUFFIXES = (".npz", ".parquet")
_OWN_ARRAYS = ("paths", "embeddings", "source")
_OWN_COLUMNS = ("path", "embedding")
# Lengths this close to 1 differ from it only by rounding.
_ROUNDING = 1e-4


@dataclass(frozen=True)
class FeatureSource:
    """Origin of embeddings; only those with the same space and `flip` can be compared.

    Attributes:
        depth: 1 to 4; 0 for a third-party network.
        flip: whether they are averaged with those of the mirrored crops.
        model_sha256: hex digest of the network file.
        source_sha256: hex digest of the trained network that it was exported from.
        precision: "fp32", "fp16" or "int8".
        space: see `adln.manifest.Manifest.spaces`; "" if unknown: then file and depth define it.
    """

    depth: int
    flip: bool
    model_sha256: str
    source_sha256: str
    precision: str
    adln_version: str
    space: str = ""


@dataclass(frozen=True)
class Features:
    """N embeddings with their pictures.

    Attributes:
        paths: N paths, as given.
        embeddings: (N, D) float32 of unit length.
        columns: further data of the pictures, name -> (N,) numbers or text, such as "camera",
            "track" and "time_s"; see `adln.datasets.columns`.
    """

    paths: tuple[str, ...]
    embeddings: NDArray[np.float32]
    source: FeatureSource
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)


def require_writable_format(path: Path) -> None:
    """Check, before the work, that a feature file can be written to a path.

    Raises:
        SettingsError: the name ends in neither .npz nor .parquet, the folder is not writable, or
            pyarrow is needed and not installed.
    """
    if suffix_of(path) not in SUFFIXES:
        raise SettingsError(f"{path}: expected a name that ends in .npz or .parquet.")
    require_writable(path, raises=SettingsError)
    if suffix_of(path) == ".parquet":
        pyarrow_modules()


def can_hold(path: Path, name: str) -> bool:
    """Whether a feature file can hold the name of a picture; Parquet holds UTF-8 only."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return suffix_of(path) != ".parquet"
    return True


def write_features(features: Features, path: Path) -> None:
    """Write a feature file, whole or not at all; errors as of `require_writable_format`."""
    require_writable_format(path)
    with atomic_write(path, raises=SettingsError) as file:
        if suffix_of(path) == ".npz":
            arrays: dict[str, Any] = {
                "paths": np.array(features.paths, dtype=np.str_),
                "embeddings": features.embeddings,
                "source": np.array(json.dumps(asdict(features.source))),
                **features.columns,
            }
            np.savez(file, **arrays)
        else:
            _write_parquet(features, file)


def read_features(path: str | Path) -> Features:
    """Read a feature file.

    Embeddings that another program has written need not be of unit length; they are scaled to it.

    Raises:
        DatasetError: the file is missing, damaged, or not a feature file; or an embedding contains
            NaN or infinity, or only zeros. The message names its picture.
    """
    path = Path(path)
    require_regular(path, raises=DatasetError, expected="a feature file of `adln embed`")
    features = _parse(path)
    if features.embeddings.ndim != 2 or len(features.embeddings) != len(features.paths):
        raise DatasetError(
            f"{path}: expected one embedding for each of {len(features.paths):,} pictures, got "
            f"shape {features.embeddings.shape}; embed again."
        )
    unusable = find_unusable(features.embeddings)
    if unusable is not None:
        at, values = unusable
        raise DatasetError(
            f"{path}: the embedding of {features.paths[at]} contains {values}; embed again."
        )
    lengths = np.sqrt(np.vecdot(features.embeddings, features.embeddings, dtype=np.float64))
    # Those of this program are returned bit for bit.
    if features.embeddings.dtype != np.float32 or np.abs(lengths - 1).max(initial=0) > _ROUNDING:
        return replace(features, embeddings=unit_length(features.embeddings))
    return features


def _parse(path: Path) -> Features:
    try:
        if suffix_of(path) == ".parquet":
            return _read_parquet(path)
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            return Features(
                paths=tuple(str(name) for name in content["paths"]),
                embeddings=content["embeddings"],
                source=FeatureSource(**json.loads(str(content["source"]))),
                columns={name: content[name] for name in content.files if name not in _OWN_ARRAYS},
            )
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: there is no such feature file.") from error
    except SettingsError:
        raise
    except Exception as error:
        # On damaged files, numpy and pyarrow raise errors of many kinds.
        raise DatasetError(
            f"{path}: not a feature file of `adln embed`, or damaged ({error}); embed again."
        ) from error


def _write_parquet(features: Features, file: Any) -> None:
    pyarrow, parquet = pyarrow_modules()
    dim = features.embeddings.shape[1]
    flat = pyarrow.array(features.embeddings.reshape(-1))
    table = pyarrow.table(
        {
            "path": pyarrow.array(list(features.paths), type=pyarrow.string()),
            "embedding": pyarrow.FixedSizeListArray.from_arrays(flat, dim),
            **{name: pyarrow.array(values) for name, values in features.columns.items()},
        }
    )
    source = {b"adln.source": json.dumps(asdict(features.source)).encode()}
    parquet.write_table(table.replace_schema_metadata(source), file)


def _read_parquet(path: Path) -> Features:
    _, parquet = pyarrow_modules()
    with path.open("rb") as file:
        table = parquet.read_table(file)
    dim = table.schema.field("embedding").type.list_size
    # Unlike `values`, `flatten` respects a chunk's offset in its buffer.
    flat = table.column("embedding").combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return Features(
        paths=tuple(table.column("path").to_pylist()),
        embeddings=flat.astype(np.float32, copy=False).reshape(-1, dim),
        source=FeatureSource(**json.loads(table.schema.metadata[b"adln.source"])),
        columns={
            name: np.array(table.column(name).to_pylist())
            for name in table.schema.names
            if name not in _OWN_COLUMNS
        },
    )


def pyarrow_modules(raises: type[AdlnError] = SettingsError) -> tuple[Any, Any]:
    """The modules pyarrow and pyarrow.parquet; raises `raises` if pyarrow is not installed."""
    first, second = (
        require_package(name, extra="parquet", purpose="Parquet", raises=raises)
        for name in ("pyarrow", "pyarrow.parquet")
    )
    return first, second
