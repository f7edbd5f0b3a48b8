"""A gallery on a Milvus server: the same promises as the folder on this device, for many machines.

Needs the extra ``milvus`` (pymilvus) and a server, 2.3 or later. What the server cannot do shapes
this module: no field may be null (server 2.3 accepts such a schema and then refuses the rows), rows
are changed by writing them anew, there are no unique names, and its files are out of reach.

Reads are of "Session" consistency: this gallery sees at once all that it has written or erased
itself, and what other processes did a moment later. "Strong" sees that at once, too, for about
0.2 s a call.
"""

import base64
import binascii
import hashlib
import importlib
import json
import secrets
import threading
import time
from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import fields, replace
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from adln.errors import GalleryError
from adln.gallery.records import (
    EVERYTHING,
    NO_PERSON,
    Erasure,
    Filter,
    ModelKey,
    Person,
    PersonsResult,
    SearchResult,
    Sighting,
    StoredSighting,
    checked_embeddings,
    pool_track,
    require_usable,
)
from adln.gallery.spaces import admit, group_by_space

Consistency = Literal["Session", "Strong", "Bounded"]
# Milvus's own limits: answers a query, and bytes of a text field.
_MOST_ANSWERS = 16_384
_MOST_TEXT = 65_535
# gRPC messages end at 64 MB.
_BATCH_BYTES = 16 * 2**20
_BATCH_IDS = 5_000
_TIMEOUT_S = 60.0
_NO_TRACK = -1
_FORMAT = "adln-gallery-2"
# Made by earlier versions: all sightings of one model file, told apart by depth.
_FORMAT_OF_ONE_MODEL = "adln-gallery-1"
# A row without a vector is refused by the server, also where there is nothing to compare.
_NO_VECTOR = [0.0, 1.0]
_COLUMNS = tuple(field.name for field in fields(SearchResult))
# Low bits of an id tell apart who gave it, high bits when; 2^51 microseconds end in 2041.
_GIVER_BITS = 11


class MilvusGallery:
    """A gallery on a server; see `adln.gallery.interface.Gallery`.

    Erased sightings are gone from every answer at once; the server removes their bytes from its
    disks when it compacts, which `forget` asks it to do. A proof from the files is not possible
    from here: `Erasure.files_searched` is 0.

    Args:
        uri: the server, such as "http://localhost:19530".
        name: of this gallery; letters, digits and underscores.
        consistency: of reads, see the module.
        index: how the server searches. "FLAT" compares with everything and is exact; "HNSW" is
            faster and may miss some.
        token: "user:password" or API key, where the server asks for it.

    Raises:
        GalleryError: pymilvus is not installed, the server does not answer, or the name cannot be
            used or belongs to something else.
    """

    def __init__(
        self,
        uri: str,
        name: str = "gallery",
        *,
        consistency: Consistency = "Session",
        index: Literal["FLAT", "HNSW"] = "FLAT",
        token: str = "",
    ) -> None:
        if not name.isidentifier() or not name.isascii() or len(name) > 100:
            raise GalleryError(
                f"A gallery on a server cannot be called {name!r}; take letters, digits and "
                "underscores, a letter first."
            )
        try:
            self._pymilvus: Any = importlib.import_module("pymilvus")
        except ImportError as error:
            raise GalleryError(
                'A gallery on a server needs pymilvus; pip install "adln[milvus]".'
            ) from error
        self._place = f"{uri.rstrip('/')}/{name}"
        self._sightings = f"adln_{name}_sightings"
        self._persons = f"adln_{name}_persons"
        self._suppressed = f"adln_{name}_suppressed"
        self._consistency: Consistency = consistency
        self._index = index
        self._models_of = f"adln_{name}_models"
        self._dim = 0  # 0 before the first sighting
        self._models: dict[int, ModelKey] = {}
        self._key_of_models = "model_id"
        self._lock = threading.RLock()
        self._giver = secrets.randbelow(1 << _GIVER_BITS)
        self._last_id = 0
        self._closed = False
        with self._answers("connect"):
            self._client: Any = self._pymilvus.MilvusClient(
                uri=uri, token=token, timeout=_TIMEOUT_S
            )
            if not self._client.has_collection(self._persons):
                self._make_persons()
            self._client.load_collection(self._persons)
            self._find_sightings()

    @property
    def models(self) -> tuple[ModelKey, ...]:
        """What made the embeddings that were ever stored; empty before the first sighting."""
        with self._answers("read"):
            self._find_sightings()
        return tuple(self._models.values())

    def add(self, sightings: Sequence[Sighting]) -> list[int | None]:
        """Store sightings; see `Gallery.add`."""
        if not sightings:
            return []
        rows = []
        for sighting in sightings:
            require_usable(sighting)
            (embedding,) = checked_embeddings(sighting.embedding, dim=sighting.model.dim)
            rows.append(_row(sighting, embedding))
        models = list(dict.fromkeys(sighting.model for sighting in sightings))
        known = {p for s in sightings if (p := s.person_id) is not None}
        with self._lock, self._answers("store"):
            self._find_sightings()
            admitted = admit(self._models.values(), models, place=self._place)
            self._require_persons(known)
            if not self._dim:
                self._make_sightings(models[0].dim)
            numbers = dict(zip(models, self._take_models(admitted), strict=True))
            for row, sighting in zip(rows, sightings, strict=True):
                row[self._key_of_models] = numbers[sighting.model]
            refused = self._is_suppressed(rows)
            ids: list[int | None] = []
            for row, is_refused in zip(rows, refused, strict=True):
                ids.append(None if is_refused else self._new_id())
                row["sighting_id"] = ids[-1]
            kept = [row for row in rows if row["sighting_id"] is not None]
            self._write(kept, new=True)
            return ids

    def search(
        self,
        embeddings: NDArray[np.floating],
        *,
        model: ModelKey,
        k: int = 10,
        where: Filter = EVERYTHING,
    ) -> list[SearchResult]:
        """Find the most similar sightings; see `Gallery.search`."""
        if not 1 <= k <= _MOST_ANSWERS:
            raise GalleryError(
                f"A server gives 1 to {_MOST_ANSWERS:,} answers to a query, asked for {k:,}."
            )
        queries = checked_embeddings(embeddings, dim=model.dim, what="query")
        expression = _expression(where)
        with self._answers("search"):
            self._find_sightings()
            comparable = self._comparable(model) if self._models else []
            if not comparable or expression is None or len(queries) == 0:
                return [_result([]) for _ in queries]
            if len(comparable) < len(self._models):
                expression += f" and {self._key_of_models} in {comparable}"
            answers = self._client.search(
                self._sightings,
                data=list(queries),
                anns_field="embedding",
                filter=expression,
                limit=k,
                output_fields=["sighting_id", "person_id", "camera_id", "time_s", "depth"],
                search_params={"metric_type": "IP", "params": self._search_params(k)},
                consistency_level=self._consistency,
                timeout=_TIMEOUT_S,
            )
        return [_result(list(hits)) for hits in answers]

    def search_persons(
        self,
        embeddings: NDArray[np.floating],
        *,
        model: ModelKey,
        k: int = 5,
        where: Filter = EVERYTHING,
        without: Set[int] = frozenset(),
        named: bool = False,
    ) -> list[PersonsResult]:
        """See `Gallery.search_persons`; one search of the server for each person in an answer."""
        queries = checked_embeddings(embeddings, dim=model.dim, what="query")
        among = replace(where, not_persons=where.not_persons | {NO_PERSON})
        living = "is_forgotten == 0"
        with self._answers("search"):
            if named:
                rows = self._query(self._persons, f'{living} and name != ""', ["person_id"])
                known = frozenset(row["person_id"] for row in rows)
                count = len(known)
                among = replace(
                    among, persons=known if among.persons is None else known & among.persons
                )
            else:
                ((answer),) = self._query(self._persons, living, ["count(*)"])
                count = answer["count(*)"]
        found = [self._best_persons(query, model, k, among, without) for query in queries]
        persons = sorted({int(person) for best in found for person in best.person_ids})
        with self._answers("search"):
            rows = self._query(self._persons, f"person_id in {persons}", ["person_id", "name"])
        names = {row["person_id"]: row["name"] or None for row in rows}
        return [
            PersonsResult(
                best=best,
                names=tuple(names.get(person) for person in best.person_ids.tolist()),
                num_persons=max(len(best), count) if len(best) else 0,
            )
            for best in found
        ]

    def _best_persons(
        self, query: NDArray[np.float32], model: ModelKey, k: int, where: Filter, without: Set[int]
    ) -> SearchResult:
        """The best sighting of each of the k best persons."""
        # Servers of 2.3 cannot group answers; so each search leaves out whom those before found.
        found: list[SearchResult] = []
        while len(found) < k:
            (result,) = self.search(query, model=model, k=1 + len(without), where=where)
            at = next((i for i, one in enumerate(result.sighting_ids) if one not in without), None)
            if at is None:
                break
            found.append(_row_of(result, at))
            person = int(result.person_ids[at])
            where = replace(where, not_persons=where.not_persons | {person})
        if not found:
            return _result([])
        return SearchResult(
            *(np.concatenate([getattr(one, name) for one in found]) for name in _COLUMNS)
        )

    def get(self, sighting_ids: Iterable[int]) -> list[StoredSighting]:
        """Whole records, in the order of the ids; ids that are gone are left out."""
        ids = list(sighting_ids)
        with self._answers("read"):
            rows = {row["sighting_id"]: row for row in self._rows(ids)}
        return [self._record(rows[number]) for number in ids if number in rows]

    def iterate(
        self, where: Filter = EVERYTHING, *, batch_size: int = 1000
    ) -> Iterator[list[StoredSighting]]:
        """All records that pass, by ascending id, in batches."""
        if batch_size < 1:
            raise GalleryError(f"batch_size must be at least 1, got {batch_size}.")
        ids = [row["sighting_id"] for row in self._facts(where)]
        for start in range(0, len(ids), batch_size):
            batch = self.get(ids[start : start + batch_size])
            if batch:
                yield batch

    def count(self, where: Filter = EVERYTHING) -> int:
        """How many sightings pass."""
        expression = _expression(where)
        if not self._is_begun() or expression is None:
            return 0
        with self._answers("count"):
            ((counted),) = self._query(self._sightings, expression, ["count(*)"])
        return int(counted["count(*)"])

    def enrol(self, name: str | None = None) -> int:
        """Make a new person; see `Gallery.enrol`."""
        with self._lock, self._answers("enrol"):
            self._require_free(name, None)
            person_id = self._new_id()
            self._write_person(person_id, name)
            self._settle_name(person_id, name, None)
            return person_id

    def persons(self) -> list[Person]:
        """Everybody, by ascending id."""
        with self._answers("read"):
            rows = self._query(self._persons, "is_forgotten == 0", ["person_id", "name"])
        seen: dict[int, list[dict[str, Any]]] = {row["person_id"]: [] for row in rows}
        unknown = Filter(not_persons=frozenset({NO_PERSON}))
        for fact in self._facts(unknown, ["person_id", "camera_id", "time_s"]):
            if fact["person_id"] in seen:
                seen[fact["person_id"]].append(fact)
        return [
            Person(
                person_id=row["person_id"],
                name=row["name"] or None,
                num_sightings=len(facts := seen[row["person_id"]]),
                first_seen_s=min((fact["time_s"] for fact in facts), default=None),
                last_seen_s=max((fact["time_s"] for fact in facts), default=None),
                cameras=tuple(sorted({fact["camera_id"] for fact in facts})),
            )
            for row in sorted(rows, key=lambda row: row["person_id"])
        ]

    def name_person(self, person_id: int, name: str | None) -> None:
        """Give a person a name, another name, or take it away."""
        with self._lock, self._answers("name"):
            before = self._require_persons({person_id})[person_id]
            self._require_free(name, person_id)
            self._write_person(person_id, name)
            self._settle_name(person_id, name, before)

    def assign(self, sighting_ids: Iterable[int], person_id: int | None) -> int:
        """Say who was seen; None takes it back."""
        ids = list(dict.fromkeys(sighting_ids))
        with self._lock, self._answers("assign"):
            if person_id is not None:
                self._require_persons({person_id})
            rows = self._rows(ids)
            if len(rows) < len(ids):
                gone = sorted(set(ids) - {row["sighting_id"] for row in rows})
                raise GalleryError(f"There is no sighting {gone[0]}; nothing was assigned.")
            return self._move(rows, NO_PERSON if person_id is None else person_id)

    def merge(self, person_ids: Iterable[int], into: int) -> int:
        """Two or more people turn out to be one; see `Gallery.merge`."""
        others = sorted(set(person_ids) - {into})
        with self._lock, self._answers("merge"):
            names = self._require_persons({*others, into})
            moved = 0
            if others:
                facts = self._facts(Filter(persons=frozenset(others)))
                moved = self._move(self._rows([row["sighting_id"] for row in facts]), into)
                self._delete(self._persons, "person_id", others)
            name = names[into] or next((names[other] for other in others if names[other]), None)
            if name != names[into]:
                self._write_person(into, name)
            return moved

    def split(self, sighting_ids: Iterable[int], name: str | None = None) -> int:
        """One person turns out to be two: these sightings become a new person."""
        ids = list(sighting_ids)
        with self._lock:
            if len(self.get(ids)) < len(ids) or not ids:
                raise GalleryError(
                    "A person is split by naming sightings that are there, at least one; "
                    f"of the {len(ids)} named some are not."
                )
            person_id = self.enrol(name)
            self.assign(ids, person_id)
            return person_id

    def delete(self, sighting_ids: Iterable[int]) -> int:
        """Erase single sightings; ids that are gone already count as nothing."""
        ids = list(dict.fromkeys(sighting_ids))
        with self._lock, self._answers("erase"):
            found = [row["sighting_id"] for row in self._rows(ids, ["sighting_id"])]
            self._delete(self._sightings, "sighting_id", found)
            return len(found)

    def expire_before(self, time_s: float, where: Filter = EVERYTHING) -> int:
        """Erase sightings that were seen before a time and pass the filter."""
        until = time_s if where.until_s is None else min(time_s, where.until_s)
        with self._lock:
            return self.delete(
                row["sighting_id"] for row in self._facts(replace(where, until_s=until))
            )

    def forget(self, person_id: int, *, suppress_above: float | None = None) -> Erasure:
        """Erase a person everywhere the server answers from; see `Gallery.forget`."""
        if suppress_above is not None and not 0 < suppress_above < 1:
            raise GalleryError(f"suppress_above is a cosine between 0 and 1, got {suppress_above}.")
        with self._lock, self._answers("forget"):
            name = self._require_persons({person_id})[person_id]
            ids = [
                row["sighting_id"] for row in self._facts(Filter(persons=frozenset({person_id})))
            ]
            records = self.get(ids)
            if suppress_above is not None and records:
                self._suppress(person_id, records, suppress_above)
            # From here on nobody can be assigned to the person, also by other processes.
            self._write_person(person_id, None, forgotten=name or "")
            self._delete(self._sightings, "sighting_id", ids)
            found = self._still_found(records)
            if ids:
                self._client.flush(self._sightings, timeout=_TIMEOUT_S)
                self._client.compact(self._sightings)
            self._client.flush(self._persons, timeout=_TIMEOUT_S)
            self._client.compact(self._persons)
            return Erasure(
                person_id=person_id,
                sightings=len(ids),
                thumbnails=sum(record.thumbnail is not None for record in records),
                found_by_search=found,
                files_searched=0,
                traces_found=0,
                suppressed_above=suppress_above if records else None,
            )

    def close(self) -> None:
        """Let go of the connection; closing twice does nothing."""
        if not self._closed:
            self._closed = True
            self._client.close()

    def __enter__(self) -> Self:
        """The gallery itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    @contextmanager
    def _answers(self, what: str) -> Iterator[None]:
        """Turn the server's errors into ours."""
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
        """A number never given twice, by this gallery or another process; ascending with time."""
        now = time.time_ns() // 1000
        self._last_id = max(self._last_id + 1, now)
        return self._last_id << _GIVER_BITS | self._giver

    def _make_persons(self) -> None:
        kind = self._pymilvus.DataType
        schema = self._pymilvus.MilvusClient.create_schema(auto_id=False)
        schema.add_field("person_id", kind.INT64, is_primary=True)
        schema.add_field("name", kind.VARCHAR, max_length=_MOST_TEXT)
        schema.add_field("is_forgotten", kind.INT64)
        schema.add_field("forgotten_name", kind.VARCHAR, max_length=64)
        schema.add_field("nothing", kind.FLOAT_VECTOR, dim=len(_NO_VECTOR))
        self._make(self._persons, schema, "nothing", "FLAT")

    def _make_sightings(self, dim: int) -> None:
        kind = self._pymilvus.DataType
        client = self._pymilvus.MilvusClient
        schema = client.create_schema(auto_id=False)
        schema.add_field("model_id", kind.INT64, is_primary=True)
        schema.add_field("digest", kind.VARCHAR, max_length=_MOST_TEXT)
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
        schema.add_field("thumbnail", kind.VARCHAR, max_length=_MOST_TEXT)
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
        self._client.create_collection(
            name, schema=schema, index_params=indices, consistency_level="Session"
        )
        self._client.load_collection(name)

    def _is_begun(self) -> bool:
        """Whether there ever was a sighting."""
        if not self._dim:
            with self._answers("read"):
                self._find_sightings()
        return self._dim > 0

    def _find_sightings(self) -> None:
        """Look whether there are sightings by now, and what made them."""
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
                f"{self._place}: the server has a collection {self._sightings} that no gallery of "
                "this version made; choose another name."
            ) from error
        return facts

    def _comparable(self, model: ModelKey) -> list[int]:
        """Numbers of the models whose embeddings can be compared with this one's."""
        (named,) = admit(self._models.values(), [model], place=self._place)
        return [number for number, one in self._models.items() if one.shares_space(named)]

    def _take_models(self, admitted: Sequence[ModelKey]) -> list[int]:
        """The number of each; what is new is written down before sightings name it."""
        if self._key_of_models == "depth":
            if any(model.digest != self._models[1].digest for model in admitted):
                raise GalleryError(
                    f"{self._place}: made by an earlier version of adln, this gallery takes one "
                    "model file only. `adln gallery move` it to a new name first."
                )
            return [model.depth for model in admitted]
        numbers = [_number_of(model) for model in admitted]
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
            self._client.upsert(self._models_of, rows, timeout=_TIMEOUT_S)
            self._models |= dict(new)
        return numbers

    def _require_persons(self, person_ids: set[int]) -> dict[int, str | None]:
        """Names of people who must be there."""
        if not person_ids:
            return {}
        rows = self._query(
            self._persons,
            f"person_id in {sorted(person_ids)} and is_forgotten == 0",
            ["person_id", "name"],
        )
        names = {row["person_id"]: row["name"] or None for row in rows}
        missing = sorted(person_ids - names.keys())
        if missing:
            raise GalleryError(
                f"There is no person {missing[0]} in this gallery; enrol them first."
            )
        return names

    def _require_free(self, name: str | None, person_id: int | None) -> None:
        if name is None:
            return
        if not name.strip() or len(name.encode()) > 1000:
            raise GalleryError("A name must have 1 to 1000 bytes; None stands for no name.")
        if self._query(self._persons, f'forgotten_name == "{_digest(name)}"', ["person_id"]):
            raise GalleryError(
                f"{name!r} belonged to somebody who was forgotten and cannot be enrolled again."
            )
        if any(row["person_id"] != person_id for row in self._named(name)):
            raise GalleryError(f"There is a person called {name!r} already.")

    def _settle_name(self, person_id: int, name: str | None, before: str | None) -> None:
        """Two processes may take a name at once: then the person with the lower id keeps it."""
        if name is None or person_id == min(row["person_id"] for row in self._named(name)):
            return
        if before is None:
            self._delete(self._persons, "person_id", [person_id])
        else:
            self._write_person(person_id, before)
        raise GalleryError(f"There is a person called {name!r} already.")

    def _named(self, name: str) -> list[dict[str, Any]]:
        # Names are compared here, because the server's language has no safe way to quote them.
        rows = self._query(self._persons, "is_forgotten == 0", ["person_id", "name"])
        return [row for row in rows if row["name"] == name]

    def _write_person(
        self, person_id: int, name: str | None, *, forgotten: str | None = None
    ) -> None:
        row = {
            "person_id": person_id,
            "name": name or "",
            "is_forgotten": int(forgotten is not None),
            "forgotten_name": _digest(forgotten) if forgotten else "",
            "nothing": _NO_VECTOR,
        }
        self._client.upsert(self._persons, [row], timeout=_TIMEOUT_S)

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
        self._client.insert(self._suppressed, rows, timeout=_TIMEOUT_S)

    def _still_found(self, records: list[StoredSighting]) -> int:
        ids = {record.sighting_id for record in records}
        found: set[int] = set()
        for model in {record.model for record in records}:
            looks = np.array([r.embedding for r in records if r.model == model])
            for start in range(0, len(looks), 100):
                for result in self.search(looks[start : start + 100], model=model, k=10):
                    found |= ids & set(result.sighting_ids.tolist())
        return len(found)

    def _query(self, collection: str, expression: str, fields: list[str]) -> list[dict[str, Any]]:
        return list(
            self._client.query(
                collection,
                filter=expression,
                output_fields=fields,
                consistency_level=self._consistency,
                timeout=_TIMEOUT_S,
            )
        )

    def _facts(self, where: Filter, fields: Sequence[str] = ()) -> list[dict[str, Any]]:
        """Some fields of all sightings that pass, by ascending id; a million are some 40 MB."""
        expression = _expression(where)
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
        """Write rows in batches that the server takes; if one fails, new ones are taken back."""
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
                    write(self._sightings, batch, timeout=_TIMEOUT_S)
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
            self._client.delete(collection, filter=f"{key} in {chosen}", timeout=_TIMEOUT_S)

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
            track_id=None if row["track_id"] == _NO_TRACK else row["track_id"],
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


def _row(sighting: Sighting, embedding: NDArray[np.float32]) -> dict[str, Any]:
    """A sighting as the server keeps it; nothing is null."""
    thumbnail = base64.b64encode(sighting.thumbnail or b"").decode()
    if len(thumbnail) > _MOST_TEXT:
        raise GalleryError(
            f"A picture of {len(sighting.thumbnail or b''):,} bytes is too large for a server: at "
            f"most {_MOST_TEXT * 3 // 4:,}. Store a smaller thumbnail, or none."
        )
    return {
        "depth": sighting.model.depth,
        "person_id": NO_PERSON if sighting.person_id is None else int(sighting.person_id),
        "camera_id": int(sighting.camera_id),
        "time_s": float(sighting.time_s),
        "track_id": _NO_TRACK if sighting.track_id is None else int(sighting.track_id),
        "box_xyxy": "" if sighting.box_xyxy is None else json.dumps(list(sighting.box_xyxy)),
        "quality": float(sighting.quality),
        "thumbnail": thumbnail,
        "embedding": embedding,
    }


def _number_of(model: ModelKey) -> int:
    """The number of an exit: the same for all processes, without asking."""
    name = f"{model.digest}/{model.depth}".encode()
    return int.from_bytes(hashlib.sha256(name).digest()[:8], "big") >> 1


def _expression(where: Filter) -> str | None:
    """A filter in the server's language; None if nothing can pass."""
    if where.cameras == frozenset() or where.persons == frozenset():
        return None
    conditions = ["sighting_id >= 0"]
    if where.cameras is not None:
        conditions.append(f"camera_id in {sorted(where.cameras)}")
    if where.not_cameras:
        conditions.append(f"camera_id not in {sorted(where.not_cameras)}")
    if where.from_s is not None:
        conditions.append(f"time_s >= {float(where.from_s)!r}")
    if where.until_s is not None:
        conditions.append(f"time_s < {float(where.until_s)!r}")
    if where.persons is not None:
        conditions.append(f"person_id in {sorted(where.persons)}")
    if where.not_persons:
        conditions.append(f"person_id not in {sorted(where.not_persons)}")
    if where.depth is not None:
        conditions.append(f"depth == {where.depth}")
    return " and ".join(conditions)


def _result(hits: list[Any]) -> SearchResult:
    # The id is asked for by name: servers differ in what they call the key of an answer.
    found = [(float(hit["distance"]), hit["entity"]) for hit in hits]
    found.sort(key=lambda answer: (-answer[0], answer[1]["sighting_id"]))

    def column(name: str, kind: type) -> NDArray[Any]:
        return np.array([facts[name] for _, facts in found], dtype=kind)

    return SearchResult(
        sighting_ids=column("sighting_id", np.int64),
        similarity=np.array([similarity for similarity, _ in found], dtype=np.float32),
        person_ids=column("person_id", np.int64),
        camera_ids=column("camera_id", np.int64),
        time_s=column("time_s", np.float64),
        depths=column("depth", np.int64),
    )


def _row_of(result: SearchResult, at: int) -> SearchResult:
    return SearchResult(*(getattr(result, name)[at : at + 1] for name in _COLUMNS))


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
