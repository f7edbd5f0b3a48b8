"""Exports a gallery to a Parquet file and imports it, for other tools, backups and machines."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from adln.atomic import atomic_write
from adln.errors import ForgottenNameError, GalleryError
from adln.features import pyarrow_modules
from adln.gallery.interface import Gallery
from adln.gallery.names import checked_name, kept_form
from adln.gallery.records import (
    ModelKey,
    Sighting,
    StoredSighting,
    require_usable,
)
from adln.gallery.spaces import admit

FORMAT = "adln-gallery-2"
# Written by earlier versions: all sightings are of the one network named in the metadata.
_FORMAT_OF_ONE_MODEL = "adln-gallery-1"
_METADATA_KEY = b"adln.gallery"
_BATCH = 2_000
# Of the record as well.
_AS_THEY_ARE = (
    *("sighting_id", "person_id", "camera_id", "time_s", "track_id", "box_xyxy", "quality"),
    "thumbnail",
)
_NOT_IN_THE_FIRST_FORMAT = ("model_digest", "space")


def export_parquet(
    gallery: Gallery, path: Path, *, on_progress: Callable[[int], None] | None = None
) -> int:
    """Write sightings with the names of their people, atomically.

    Args:
        gallery: must not be empty.
        path: file to write.
        on_progress: called with the number of sightings just written.

    Returns:
        The number written.

    Raises:
        GalleryError: The gallery is empty, pyarrow is missing, or the file cannot be written.
    """
    pyarrow, parquet = pyarrow_modules(GalleryError)
    models = gallery.models
    if not models:
        raise GalleryError("This gallery is still empty; there is nothing to export.")
    dim = models[0].dim
    facts = {"format": FORMAT, "dim": dim, "models": [asdict(model) for model in models]}
    schema = _schema(pyarrow, dim).with_metadata({_METADATA_KEY: json.dumps(facts).encode()})
    names = {person.person_id: person.name for person in gallery.persons()}
    count = 0
    with (
        # Only its owner may read it.
        atomic_write(path, raises=GalleryError, mode=0o600) as file,
        parquet.ParquetWriter(file, schema) as writer,
    ):
        for batch in gallery.iterate(batch_size=_BATCH):
            writer.write_table(_table(pyarrow, schema, batch, names))
            count += len(batch)
            if on_progress is not None:
                on_progress(len(batch))
    return count


def import_parquet(
    gallery: Gallery, path: Path, *, on_progress: Callable[[int], None] | None = None
) -> int:
    """Add the sightings of a file to a gallery.

    People whose name is in the gallery become that person. People with a sighting that is in the
    gallery already become the person who has it. All others become new people. Sightings get new
    ids; those that are in the gallery already are skipped, and so are people who were forgotten
    since the file was written, so that a backup can be restored. Batches are stored one by one: an
    interrupted import leaves complete batches, and repeating it stores the rest.

    Args:
        gallery: empty, or of networks that share a file or a space with the file's.
        path: file of `export_parquet`.
        on_progress: called with the number of sightings just read.

    Returns:
        The number stored: fewer than in the file if some are in the gallery already or are of
        forgotten people.

    Raises:
        GalleryError: The file is missing, damaged or of foreign networks; or pyarrow is missing.
    """
    facts = _read_facts(path)
    # Read and checked before any person is enrolled.
    admit(gallery.models, facts.models, place=str(path))
    names = _read_names(path)
    here = {kept_form(one.name): one.person_id for one in gallery.persons() if one.name}
    owners = {_fingerprint(one): one.person_id for batch in gallery.iterate() for one in batch}
    persons: dict[int, int | None] = {}  # None: forgotten
    count = 0

    def store(number: int, rows: list[dict[str, Any]]) -> int:
        sightings = []
        for at, row in enumerate(rows):
            try:
                sightings.append(_sighting(row, facts))
                require_usable(sightings[-1])
            except (KeyError, TypeError, ValueError, GalleryError) as error:
                raise GalleryError(
                    f"{path}: row {number * _BATCH + at + 1} cannot be stored ({error})."
                ) from error
        fingerprints = [_fingerprint(one) for one in sightings]
        for row, fingerprint in zip(rows, fingerprints, strict=True):
            theirs = row["person_id"]
            if theirs is None or names.get(theirs) in here or owners.get(fingerprint) is None:
                continue
            persons.setdefault(theirs, owners[fingerprint])
        for at, row in enumerate(rows):
            theirs = row["person_id"]
            if theirs is None or fingerprints[at] in owners:
                continue
            if theirs not in persons:
                name = names.get(theirs)
                persons[theirs] = here.get(name or "") or _enrol(gallery, name)
            sightings[at] = replace(sightings[at], person_id=persons[theirs])
        sightings = [
            sighting
            for sighting, row, fingerprint in zip(sightings, rows, fingerprints, strict=True)
            if fingerprint not in owners
            and (row["person_id"] is None or sighting.person_id is not None)
        ]
        return sum(sighting_id is not None for sighting_id in gallery.add(sightings))

    try:
        for number, rows in enumerate(_batches(path)):
            count += store(number, rows)
            if on_progress is not None:
                on_progress(len(rows))
    finally:
        # Who has no name would be made once more by the same import, if it was cut off.
        nameless = [one for theirs, one in persons.items() if one and theirs not in names]
        with suppress(GalleryError):
            gallery.drop_emptied(nameless)
    return count


def _fingerprint(one: Sighting | StoredSighting) -> bytes:
    """What tells a sighting from all others, whatever gallery it is in."""
    told = (one.model.digest, one.model.depth, one.camera_id, float(one.time_s), one.track_id)
    row = np.asarray(one.embedding, "<f4").tobytes()
    return hashlib.blake2b(repr(told).encode() + row, digest_size=16).digest()


def _enrol(gallery: Gallery, name: str | None) -> int | None:
    try:
        return gallery.enrol(name)
    except ForgottenNameError:
        return None


def count_rows(path: Path) -> int:
    """Number of sightings in a file; raises as `import_parquet`."""
    _read_facts(path)
    _, parquet = pyarrow_modules(GalleryError)
    return int(parquet.read_metadata(path).num_rows)


@dataclass(frozen=True)
class _Facts:
    """Metadata of a file."""

    dim: int
    models: tuple[ModelKey, ...]
    digest: str = ""  # of all rows, in files of one network

    def model_of(self, row: dict[str, Any]) -> ModelKey:
        """The network of a row's embedding."""
        if self.digest:
            return ModelKey(self.digest, row["depth"], self.dim)
        return ModelKey(row["model_digest"], row["depth"], self.dim, row["space"])


def _read_facts(path: Path) -> _Facts:
    _, parquet = pyarrow_modules(GalleryError)
    try:
        metadata = parquet.read_schema(path).metadata or {}
        facts = json.loads(metadata[_METADATA_KEY])
        if facts["format"] == _FORMAT_OF_ONE_MODEL:
            digest, dim = str(facts["digest"]), int(facts["dim"])
            return _Facts(dim, (ModelKey(digest, 1, dim),), digest)
        if facts["format"] != FORMAT:
            raise GalleryError(
                f"{path}: its format is {facts['format']!r}, this version of adln reads {FORMAT!r}."
            )
        return _Facts(int(facts["dim"]), tuple(ModelKey(**model) for model in facts["models"]))
    except FileNotFoundError as error:
        raise GalleryError(f"{path}: there is no such file.") from error
    except GalleryError:
        raise
    except Exception as error:
        # On foreign and damaged files, pyarrow raises errors of many kinds.
        raise GalleryError(
            f"{path}: not a file of `adln gallery export`, or damaged ({error})."
        ) from error


def _read_names(path: Path) -> dict[int, str]:
    """Names of the people in a file, by their number in it.

    Raises:
        GalleryError: Columns are missing or of wrong types, or a name is invalid.
    """
    pyarrow, parquet = pyarrow_modules(GalleryError)
    names: dict[int, str] = {}
    found = parquet.read_schema(path)
    for field in _schema(pyarrow, 1):
        if field.name in _NOT_IN_THE_FIRST_FORMAT and field.name not in found.names:
            continue
        if field.name not in found.names:
            raise GalleryError(
                f"{path}: it has no column {field.name!r}; `adln gallery export` writes it."
            )
        kind = found.field(field.name).type
        if field.name != "embedding" and kind != field.type:
            raise GalleryError(
                f"{path}: its column {field.name!r} is {kind}, expected {field.type}."
            )
    for batch in _batches(path, ["person_id", "person_name"]):
        for row in batch:
            number, name = row["person_id"], row["person_name"]
            if number is not None and name is not None and number not in names:
                try:
                    names[number] = checked_name(name)
                except GalleryError as error:
                    raise GalleryError(
                        f"{path}: person {number} has a name that cannot be imported: {error}"
                    ) from error
    return names


def _batches(path: Path, columns: list[str] | None = None) -> Iterator[list[dict[str, Any]]]:
    _, parquet = pyarrow_modules(GalleryError)
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_BATCH, columns=columns):
                yield batch.to_pylist()
    except GalleryError:
        raise
    except Exception as error:
        # On damaged files, pyarrow raises errors of many kinds.
        raise GalleryError(f"{path}: cannot be read to its end ({error}).") from error


def _sighting(row: dict[str, Any], facts: _Facts) -> Sighting:
    """A row as an unassigned sighting."""
    embedding = np.array(row["embedding"], dtype=np.float32)
    if embedding.shape != (facts.dim,):
        raise ValueError(f"its embedding has shape {embedding.shape}, expected ({facts.dim},)")
    return Sighting(
        embedding=embedding,
        model=facts.model_of(row),
        camera_id=row["camera_id"],
        time_s=row["time_s"],
        track_id=row["track_id"],
        box_xyxy=None if row["box_xyxy"] is None else tuple(row["box_xyxy"]),
        quality=row["quality"],
        thumbnail=row["thumbnail"],
    )


def _schema(pyarrow: Any, dim: int) -> Any:
    return pyarrow.schema(
        [
            ("sighting_id", pyarrow.int64()),
            ("embedding", pyarrow.list_(pyarrow.float32(), dim)),
            ("model_digest", pyarrow.string()),
            ("depth", pyarrow.int8()),
            ("space", pyarrow.string()),
            ("person_id", pyarrow.int64()),
            ("person_name", pyarrow.string()),
            ("camera_id", pyarrow.int32()),
            ("time_s", pyarrow.float64()),
            ("track_id", pyarrow.int64()),
            ("box_xyxy", pyarrow.list_(pyarrow.float64())),
            ("quality", pyarrow.float64()),
            ("thumbnail", pyarrow.binary()),
        ]
    )


def _table(
    pyarrow: Any, schema: Any, batch: list[StoredSighting], names: dict[int, str | None]
) -> Any:
    flat = np.concatenate([np.asarray(one.embedding, np.float32) for one in batch])
    embedding = pyarrow.FixedSizeListArray.from_arrays(
        pyarrow.array(flat), type=schema.field("embedding").type
    )
    columns: dict[str, list[Any]] = {
        **{name: [getattr(one, name) for one in batch] for name in _AS_THEY_ARE},
        "model_digest": [one.model.digest for one in batch],
        "depth": [one.model.depth for one in batch],
        "space": [one.model.space for one in batch],
        "person_name": [
            None if one.person_id is None else names.get(one.person_id) for one in batch
        ],
    }
    arrays = [
        embedding
        if field.name == "embedding"
        else pyarrow.array(columns[field.name], type=field.type)
        for field in schema
    ]
    return pyarrow.Table.from_arrays(arrays, schema=schema)
