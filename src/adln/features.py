"""Feature files: embeddings with the paths of their pictures and the network that made them.

Carries the test features of Sec. III.B from `adln embed` to whatever searches or compares them.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adln.atomic import atomic_write, require_regular, require_writable
from adln.embeddings import find_unusable
from adln.errors import AdlnError, DatasetError, SettingsError, require_package

SUFFIXES = (".npz", ".parquet")
_OWN_ARRAYS = ("paths", "embeddings", "source")
_OWN_COLUMNS = ("path", "embedding")


@dataclass(frozen=True)
class FeatureSource:
    """What made the embeddings; only those of one space and one `flip` can be compared.

    Attributes:
        depth: 1 to 4; 0 for a network of another make.
        flip: whether they are averages with the mirrored crop.
        model_sha256: hex digest of the network file.
        source_sha256: hex digest of the trained network that it was exported from.
        precision: "fp32", "fp16" or "int8".
        adln_version: version that embedded.
        space: see `adln.manifest.Manifest.spaces`; "" if unknown, then it is the depth and file.
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
        paths: N paths, as they were given.
        embeddings: (N, D) float32 of unit length.
        source: what made them.
        columns: more that is known of the pictures, name -> (N,) numbers or text, such as
            "camera", "track" and "time_s"; see `adln.datasets.columns`.
    """

    paths: tuple[str, ...]
    embeddings: NDArray[np.float32]
    source: FeatureSource
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)


def require_writable_format(path: Path) -> None:
    """Tell before the work whether a feature file of this name can be written.

    Raises:
        SettingsError: the name ends in neither .npz nor .parquet, its folder is missing, or
            Parquet is asked for and pyarrow is not installed.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise SettingsError(f"{path}: expected a name that ends in .npz or .parquet.")
    if not path.parent.is_dir():
        raise SettingsError(f"{path}: there is no folder {path.parent}.")
    require_writable(path, raises=SettingsError)
    if path.suffix.lower() == ".parquet":
        pyarrow_modules()


def write_features(features: Features, path: Path) -> None:
    """Write a feature file; whoever looks at the path finds the old file or the whole new one.

    Args:
        features: what to write.
        path: ends in .npz (numpy) or .parquet (needs pyarrow).

    Raises:
        SettingsError: see `require_writable_format`; or the disk refuses.
    """
    require_writable_format(path)
    with atomic_write(path, raises=SettingsError) as file:
        if path.suffix.lower() == ".npz":
            _write_npz(features, file)
        else:
            _write_parquet(features, file)


def read_features(path: str | Path) -> Features:
    """Read a feature file.

    Raises:
        DatasetError: the file is missing, damaged, or not one of `write_features`; or an embedding
            holds no number or nothing but zeros, and the message names its picture.
    """
    path = Path(path)
    require_regular(path, raises=DatasetError, expected="a feature file of `adln embed`")
    features = _parse(path)
    if features.embeddings.ndim != 2 or len(features.embeddings) != len(features.paths):
        raise DatasetError(
            f"{path}: {len(features.paths):,} pictures came with embeddings of shape "
            f"{features.embeddings.shape}; embed again."
        )
    unusable = find_unusable(features.embeddings)
    if unusable is not None:
        at, values = unusable
        raise DatasetError(
            f"{path}: the embedding of {features.paths[at]} holds {values}; embed again."
        )
    return features


def _parse(path: Path) -> Features:
    try:
        if path.suffix.lower() == ".parquet":
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
        # numpy and pyarrow answer damaged files with whatever their parsing runs into.
        raise DatasetError(
            f"{path}: no feature file of `adln embed`, or damaged ({error}); embed again."
        ) from error


def _write_npz(features: Features, file: Any) -> None:
    arrays: dict[str, Any] = {
        "paths": np.array(features.paths, dtype=np.str_),
        "embeddings": features.embeddings,
        "source": np.array(json.dumps(asdict(features.source))),
        **features.columns,
    }
    np.savez(file, **arrays)


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
    # Flattening, unlike `values`, minds where a chunk begins within its buffer.
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
    """The modules pyarrow and pyarrow.parquet; an error of the class given if it is missing."""
    first, second = (
        require_package(name, extra="parquet", purpose="Parquet", raises=raises)
        for name in ("pyarrow", "pyarrow.parquet")
    )
    return first, second
