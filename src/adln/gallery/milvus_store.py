"""The collections of a gallery on a Milvus server; reads and writes their rows."""

import base64
import binascii
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from typing import Any, Literal, Self

import numpy as np

from adln.errors import ForgottenNameError, GalleryError, require_package
from adln.gallery import milvus_rows
from adln.gallery.names import SALT_BYTES, name_digest
from adln.gallery.records import (
    NO_PERSON,
    Filter,
    ModelKey,
    StoredSighting,
    pool_track,
)
from adln.gallery.spaces import admit, group_by_space

Consistency = Literal["Session", "Strong", "Bounded"]
# gRPC messages are limited to 64 MB.
_BATCH_BYTES = 16 * 2**20
_BATCH_IDS = 5_000
TIMEOUT_S = 60.0
_FORMAT = "adln-gallery-2"
# Format of earlier versions: all sightings are of one network file, distinguished by depth.
_FORMAT_OF_ONE_MODEL = "adln-gallery-1"
# Kinds of rows in the collection of people, besides existing people (0). In rows of the last two,
# the name is a person's number: whom this person was merged into, or whose former name it is.
FORGOTTEN, MERGED, FORMER_NAME = 1, 2, 3
# The server refuses rows without a vector, even in collections that are not searched.
_NO_VECTOR = [0.0, 1.0]
# The low bits of an id identify its creator, the high bits its time; 2^51 us last until 2041.
_GIVER_BITS = 11
# Hexadecimal digits of a name digest: 256 bits.
_DIGEST_LETTERS = 64


class MilvusStore:
    """The collections of one gallery on a server; see `adln.gallery.milvus.MilvusGallery`."""

    def __init__(
        self,
        uri: str,
        name: str = "gallery",
        *,
        consistency: Consistency = "Session",
        index: Literal["FLAT", "HNSW"] = "FLAT",
        token: str = "",
        create: bool = True,
    ) -> None:
        if not name.isidentifier() or not name.isascii() or len(name) > 100:
            raise GalleryError(
                f"{name!r} cannot be the name of a gallery on a server; use letters, digits and "
                "underscores, starting with a letter."
            )
        self._pymilvus = require_package(
            "pymilvus", extra="milvus", purpose="a gallery on a server", raises=GalleryError
        )
        self._place = f"{uri.rstrip('/')}/{name}"
        self._sightings = f"adln_{name}_sightings"
        self._persons = f"adln_{name}_persons"
        self._suppressed = f"adln_{name}_suppressed"
        self._consistency: Consistency = consistency
        self._index = index
        self._models_of = f"adln_{name}_models"
        # Person -> when somebody was merged into them by this process, on the monotonic clock.
        self._held_s: dict[int, float] = {}
        self._dim = 0  # 0 before the first sighting
        self._models: dict[int, ModelKey] = {}
        self._key_of_models = "model_id"
        self._lock = threading.RLock()
        self._giver = secrets.randbelow(1 << _GIVER_BITS)
        self._last_id = 0
        self._closed = False
        with self._answers("connect"):
            self._client: Any = self._pymilvus.MilvusClient(uri=uri, token=token, timeout=TIMEOUT_S)
            self._is_new = not self._client.has_collection(self._persons)
            if self._is_new and not create:
                self.close()
                raise GalleryError(
                    f"{self._place}: there is no gallery here. Check the name; `adln gallery move` "
                    "makes a new one."
                )
            if self._is_new:
                self._make_persons()
            self._client.load_collection(self._persons)
            self._salt = self._read_salt(name)
            self._find_sightings()

    def close(self) -> None:
        """Release the connection; closing twice does nothing."""
        if not self._closed:
            self._closed = True
            self._client.close()

    def discard_new(self) -> None:
        """Remove all of the gallery from the server, if this object made it."""
        if self._is_new:
            with self._answers("remove"):
                for name in (self._sightings, self._models_of, self._suppressed, self._persons):
                    self._client.drop_collection(name)

    def __enter__(self) -> Self:
        """The gallery itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    @contextmanager
    def _answers(self, what: str) -> Iterator[None]:
        """Turn the server's errors into `GalleryError`."""
        if self._closed:
            raise GalleryError(f"{self._place} is closed; open it again.")
        try:
            yield
        except self._pymilvus.MilvusException as error:
            raise GalleryError(
                f"{self._place}: the server could not {what}: {error.message or error}. "
                "Check that it runs and can be reached, and try again."
            ) from error

    def _new_id(self) -> int:
        """A number that is unique across processes and increases with time."""
        now = time.time_ns() // 1000
        self._last_id = max(self._last_id + 1, now)
        return self._last_id << _GIVER_BITS | self._giver

    def _make_persons(self) -> None:
        kind = self._pymilvus.DataType
        # The server keeps this description.
        facts = {"name_salt": secrets.token_hex(SALT_BYTES)}
        schema = self._pymilvus.MilvusClient.create_schema(
            auto_id=False, description=json.dumps(facts)
        )
        schema.add_field("person_id", kind.INT64, is_primary=True)
        schema.add_field("name", kind.VARCHAR, max_length=milvus_rows.MOST_TEXT)
        schema.add_field("is_forgotten", kind.INT64)
        schema.add_field("forgotten_name", kind.VARCHAR, max_length=_DIGEST_LETTERS)
        schema.add_field("nothing", kind.FLOAT_VECTOR, dim=len(_NO_VECTOR))
        self._make(self._persons, schema, "nothing", "FLAT")

    def _make_sightings(self, dim: int) -> None:
        kind = self._pymilvus.DataType
        client = self._pymilvus.MilvusClient
        schema = client.create_schema(auto_id=False)
        schema.add_field("model_id", kind.INT64, is_primary=True)
        schema.add_field("digest", kind.VARCHAR, max_length=milvus_rows.MOST_TEXT)
        schema.add_field("depth", kind.INT64)
        schema.add_field("space", kind.VARCHAR, max_length=64)
        schema.add_field("nothing", kind.FLOAT_VECTOR, dim=len(_NO_VECTOR))
        if not self._client.has_collection(self._models_of):
            self._make(self._models_of, schema, "nothing", "FLAT")
        # The server keeps this description.
        facts = {"format": _FORMAT, "dim": dim}
        schema = client.create_schema(auto_id=False, description=json.dumps(facts))
        schema.add_field("sighting_id", kind.INT64, is_primary=True)
        schema.add_field("depth", kind.INT64)
        schema.add_field("model_id", kind.INT64)
        schema.add_field("person_id", kind.INT64)
        schema.add_field("camera_id", kind.INT64)
        schema.add_field("time_s", kind.DOUBLE)
        schema.add_field("track_id", kind.INT64)
        schema.add_field("box_xyxy", kind.VARCHAR, max_length=256)
        schema.add_field("quality", kind.DOUBLE)
        schema.add_field("thumbnail", kind.VARCHAR, max_length=milvus_rows.MOST_TEXT)
        schema.add_field("embedding", kind.FLOAT_VECTOR, dim=dim)
        self._make(self._sightings, schema, "embedding", self._index)
        self._find_sightings()

    def _make_suppressed(self) -> None:
        kind = self._pymilvus.DataType
        schema = self._pymilvus.MilvusClient.create_schema(auto_id=False)
        schema.add_field("template_id", kind.INT64, is_primary=True)
        schema.add_field(self._key_of_models, kind.INT64)
        schema.add_field("above", kind.DOUBLE)
        schema.add_field("embedding", kind.FLOAT_VECTOR, dim=self._dim)
        self._make(self._suppressed, schema, "embedding", "FLAT")

    def _make(self, name: str, schema: Any, vector: str, index: str) -> None:
        indices = self._pymilvus.MilvusClient.prepare_index_params()
        params = {"M": 32, "efConstruction": 200} if index == "HNSW" else {}
        indices.add_index(vector, index_type=index, metric_type="IP", params=params)
        self._client.create_collection(name, schema=schema, consistency_level="Session")
        try:
            # Without rows there is no index to wait for.
            self._client.create_index(name, indices, sync=False)
            self._client.load_collection(name)
        except BaseException:
            # Without an index it could never be opened.
            self._client.drop_collection(name)
            raise

    def _is_begun(self) -> bool:
        """Whether there has ever been a sighting."""
        if not self._dim:
            with self._answers("read"):
                self._find_sightings()
        return self._dim > 0

    def _find_sightings(self) -> None:
        """Check whether there are sightings by now, and read their networks."""
        if not self._dim:
            if not self._client.has_collection(self._sightings):
                return
            facts = self._facts_of_collection()
            self._client.load_collection(self._sightings)
            self._dim = int(facts["dim"])
            if facts["format"] == _FORMAT_OF_ONE_MODEL:
                self._key_of_models = "depth"
                self._models = {
                    depth: ModelKey(str(facts["digest"]), depth, self._dim)
                    for depth in (1, 2, 3, 4)
                }
            else:
                self._client.load_collection(self._models_of)
        if self._key_of_models == "model_id":
            rows = self._query(
                self._models_of, "depth >= 0", ["model_id", "digest", "depth", "space"]
            )
            self._models = {
                row["model_id"]: ModelKey(row["digest"], row["depth"], self._dim, row["space"])
                for row in sorted(rows, key=lambda row: (row["digest"], row["depth"]))
            }

    def _facts_of_collection(self) -> dict[str, Any]:
        described = self._client.describe_collection(self._sightings)
        try:
            facts: dict[str, Any] = json.loads(described["description"])
            if facts["format"] not in (_FORMAT, _FORMAT_OF_ONE_MODEL) or int(facts["dim"]) < 1:
                raise KeyError(facts["format"])
        except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise GalleryError(
                f"{self._place}: the collection {self._sightings} is not a gallery of this "
                "version; choose another name."
            ) from error
        return facts

    def _comparable(self, model: ModelKey) -> list[int]:
        """Numbers of the networks whose embeddings can be compared with this one's."""
        (named,) = admit(self._models.values(), [model], place=self._place)
        return [number for number, one in self._models.items() if one.shares_space(named)]

    def _take_models(self, admitted: Sequence[ModelKey]) -> list[int]:
        """The number of each network; new ones are stored before sightings refer to them."""
        if self._key_of_models == "depth":
            if any(model.digest != self._models[1].digest for model in admitted):
                raise GalleryError(
                    f"{self._place}: this gallery was made by an earlier version of adln and is "
                    "limited to one network file. `adln gallery move` it to a new name first."
                )
            return [model.depth for model in admitted]
        numbers = [milvus_rows.number_of(model) for model in admitted]
        new = [
            (number, model)
            for number, model in zip(numbers, admitted, strict=True)
            if self._models.get(number) != model
        ]
        if new:
            rows = [
                {
                    "model_id": number,
                    "digest": model.digest,
                    "depth": model.depth,
                    "space": model.space,
                    "nothing": _NO_VECTOR,
                }
                for number, model in new
            ]
            self._client.upsert(self._models_of, rows, timeout=TIMEOUT_S)
            self._models |= dict(new)
        return numbers

    def _require_persons(self, person_ids: set[int]) -> dict[int, str | None]:
        """Names of people, who must exist."""
        names = self._names(person_ids)
        missing = sorted(person_ids - names.keys())
        if missing:
            raise GalleryError(
                f"There is no person {missing[0]} in this gallery; enrol them first."
            )
        return names

    def _names(self, person_ids: set[int]) -> dict[int, str | None]:
        """Names of those of these people who exist."""
        if not person_ids:
            return {}
        rows = self._query(
            self._persons,
            f"person_id in {sorted(person_ids)} and is_forgotten == 0",
            ["person_id", "name"],
        )
        return {row["person_id"]: row["name"] or None for row in rows}

    def _read_salt(self, name: str) -> bytes:
        """The salt of this gallery's digests of names."""
        described = self._client.describe_collection(self._persons)
        try:
            return bytes.fromhex(json.loads(described["description"])["name_salt"])
        except (KeyError, TypeError, ValueError):
            # Galleries of earlier versions have no salt.
            return hashlib.sha256(f"adln {name}".encode()).digest()[:SALT_BYTES]

    def _name_digest(self, name: str) -> str:
        # The field has this length, also in collections of earlier versions.
        return name_digest(name, self._salt).hex()[:_DIGEST_LETTERS]

    def _require_free(self, name: str | None, person_id: int | None) -> None:
        if name is None:
            return
        # Earlier versions stored digests without salt.
        digests = [self._name_digest(name), hashlib.sha256(name.encode()).hexdigest()]
        if self._query(
            self._persons,
            f"is_forgotten == {FORGOTTEN} and forgotten_name in {json.dumps(digests)}",
            ["person_id"],
        ):
            raise ForgottenNameError(
                f"{name!r} belonged to a forgotten person and cannot be enrolled again."
            )
        if any(row["person_id"] != person_id for row in self._named(name)):
            raise GalleryError(f"There is already a person called {name!r}.")

    def _keep_digest(self, person_id: int, name: str | None) -> None:
        """Store the digest of a person's former name."""
        if name is not None:
            self._write_person(
                self._new_id(), str(person_id), kind=FORMER_NAME, digest=self._name_digest(name)
            )

    def _claim(self, person_id: int, name: str) -> None:
        """Make a name that was given no former name of anybody else, so as not to be barred."""
        digest = json.dumps(self._name_digest(name))
        rows = self._query(
            self._persons,
            f"is_forgotten == {FORMER_NAME} and forgotten_name == {digest}",
            ["person_id", "name"],
        )
        others = [row["person_id"] for row in rows if row["name"] != str(person_id)]
        self._delete(self._persons, "person_id", others)

    def _former_names(self, person_ids: Set[int]) -> list[dict[str, Any]]:
        """Rows of the former names of people."""
        numbers = json.dumps(sorted(map(str, person_ids)))
        return self._query(
            self._persons,
            f"is_forgotten == {FORMER_NAME} and name in {numbers}",
            ["person_id", "forgotten_name"],
        )

    def _bar_former_names(self, person_ids: Set[int]) -> None:
        """Bar the former names of forgotten people."""
        for row in self._former_names(person_ids):
            digest = row["forgotten_name"]
            self._write_person(row["person_id"], None, kind=FORGOTTEN, digest=digest)

    def _is_forgotten(self, person_id: int) -> bool:
        """Whether a person was forgotten, or that was begun."""
        expression = f"person_id == {person_id} and is_forgotten == {FORGOTTEN}"
        return bool(self._query(self._persons, expression, ["person_id"]))

    def _merged(self) -> dict[int, int]:
        """Merged person -> the person they were merged into."""
        rows = self._query(self._persons, f"is_forgotten == {MERGED}", ["person_id", "name"])
        return {row["person_id"]: int(row["name"]) for row in rows}

    def _merged_into(self, person_id: int) -> frozenset[int]:
        into = self._merged()
        found: set[int] = set()
        new = {person_id}
        while new := {one for one, other in into.items() if other in new} - found:
            found |= new
        return frozenset(found)

    def _settle_name(self, person_id: int, name: str | None, before: str | None) -> None:
        """If two processes give a name at once, the person with the lower id keeps it."""
        if name is None:
            return
        if person_id == min(row["person_id"] for row in self._named(name)):
            self._claim(person_id, name)
            return
        if before is None:
            self._delete(self._persons, "person_id", [person_id])
        else:
            self._write_person(person_id, before)
        raise GalleryError(f"There is already a person called {name!r}.")

    def _named(self, name: str) -> list[dict[str, Any]]:
        # Compared here, because names cannot be quoted safely in the server's expressions.
        rows = self._query(self._persons, "is_forgotten == 0", ["person_id", "name"])
        return [row for row in rows if row["name"] == name]

    def _write_person(
        self, person_id: int, name: str | None, *, kind: int = 0, digest: str = ""
    ) -> None:
        row = {
            "person_id": person_id,
            "name": name or "",
            "is_forgotten": kind,
            "forgotten_name": digest,
            "nothing": _NO_VECTOR,
        }
        self._client.upsert(self._persons, [row], timeout=TIMEOUT_S)

    def _is_suppressed(self, rows: list[dict[str, Any]]) -> list[bool]:
        if not self._client.has_collection(self._suppressed):
            return [False] * len(rows)
        key = self._key_of_models
        templates = [
            (self._models[template[key]], template)
            for template in self._query(
                self._suppressed, "template_id >= 0", [key, "above", "embedding"]
            )
        ]
        return [
            any(
                self._models[row[key]].shares_space(model)
                and np.dot(template["embedding"], row["embedding"]) >= template["above"]
                for model, template in templates
            )
            for row in rows
        ]

    def _suppress(self, person_id: int, records: list[StoredSighting], above: float) -> None:
        if not self._client.has_collection(self._suppressed):
            self._make_suppressed()
        numbers = {model: number for number, model in self._models.items()}
        rows = []
        for models in group_by_space(record.model for record in records):
            looks = np.array([r.embedding for r in records if r.model in models])
            rows.append(
                {
                    "template_id": self._new_id(),
                    self._key_of_models: numbers[models[0]],
                    "above": above,
                    "embedding": pool_track(looks),
                }
            )
        self._client.insert(self._suppressed, rows, timeout=TIMEOUT_S)

    def _query(self, collection: str, expression: str, fields: list[str]) -> list[dict[str, Any]]:
        return list(
            self._client.query(
                collection,
                filter=expression,
                output_fields=fields,
                consistency_level=self._consistency,
                timeout=TIMEOUT_S,
            )
        )

    def _facts(self, where: Filter, fields: Sequence[str] = ()) -> list[dict[str, Any]]:
        """Some fields of all sightings that pass, by ascending id; about 40 MB per million."""
        expression = milvus_rows.expression(where)
        if not self._is_begun() or expression is None:
            return []
        with self._answers("read"):
            rows = self._query(self._sightings, expression, ["sighting_id", *fields])
        return sorted(rows, key=lambda row: int(row["sighting_id"]))

    def _rows(self, ids: Sequence[int], fields: Sequence[str] = ("*",)) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        if not self._is_begun():
            return rows
        # A row may have a picture of 64 kB.
        step = _BATCH_IDS if fields != ("*",) else 200
        for start in range(0, len(ids), step):
            chosen = [int(number) for number in ids[start : start + step]]
            rows += self._query(self._sightings, f"sighting_id in {chosen}", list(fields))
        return rows

    def _write(self, rows: list[dict[str, Any]], *, new: bool) -> None:
        """Write rows in batches; if one fails, new ones are removed again."""
        written: list[int] = []
        try:
            batch: list[dict[str, Any]] = []
            size = 0
            for row in rows:
                batch.append(row)
                size += len(row["thumbnail"]) + 4 * len(row["embedding"]) + 200
                if size >= _BATCH_BYTES or row is rows[-1]:
                    write = self._client.insert if new else self._client.upsert
                    written += [one["sighting_id"] for one in batch]
                    write(self._sightings, batch, timeout=TIMEOUT_S)
                    batch, size = [], 0
        except self._pymilvus.MilvusException:
            if new:
                self._delete(self._sightings, "sighting_id", written)
            raise

    def _move(self, rows: list[dict[str, Any]], person_id: int) -> int:
        changed = [row for row in rows if row["person_id"] != person_id]
        self._write([{**row, "person_id": person_id} for row in changed], new=False)
        return len(changed)

    def _delete(self, collection: str, key: str, ids: Sequence[int]) -> None:
        # The reply is a count from a server and a list from Milvus Lite; neither is needed.
        for start in range(0, len(ids), _BATCH_IDS):
            chosen = [int(number) for number in ids[start : start + _BATCH_IDS]]
            self._client.delete(collection, filter=f"{key} in {chosen}", timeout=TIMEOUT_S)

    def _record(self, row: dict[str, Any]) -> StoredSighting:
        box = json.loads(row["box_xyxy"]) if row["box_xyxy"] else None
        try:
            thumbnail = base64.b64decode(row["thumbnail"], validate=True) or None
        except binascii.Error as error:
            raise GalleryError(
                f"{self._place}: the picture of sighting {row['sighting_id']} is damaged."
            ) from error
        return StoredSighting(
            sighting_id=row["sighting_id"],
            embedding=np.asarray(row["embedding"], dtype=np.float32),
            model=self._model_of(row[self._key_of_models]),
            camera_id=row["camera_id"],
            time_s=row["time_s"],
            person_id=None if row["person_id"] == NO_PERSON else row["person_id"],
            track_id=None if row["track_id"] == milvus_rows.NO_TRACK else row["track_id"],
            box_xyxy=None if box is None else (box[0], box[1], box[2], box[3]),
            quality=row["quality"],
            thumbnail=thumbnail,
        )

    def _model_of(self, number: int) -> ModelKey:
        if number not in self._models:
            # Another process has added one.
            self._find_sightings()
        return self._models[number]

    def _search_params(self, k: int) -> dict[str, int]:
        return {"ef": max(128, 2 * k)} if self._index == "HNSW" else {}
