"""A gallery on a Milvus server: the same interface as the local folder, for many machines.

Needs the extra ``milvus`` (pymilvus) and a server, version 2.3 or later. The server's limits shape
this module: no field may be null (server 2.3 accepts such a schema and then refuses the rows), rows
are changed by rewriting them, names cannot be unique, and its files cannot be accessed.

Reads have "Session" consistency: this gallery immediately sees everything that it has written or
erased itself, and changes by other processes a moment later. "Strong" also sees those immediately,
for about 0.2 s per call.
"""

import heapq
import time
from collections.abc import Collection, Iterable, Iterator, Sequence, Set
from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adln.arguments import checked
from adln.errors import GalleryError
from adln.gallery import milvus_rows
from adln.gallery.holding import HELD_S
from adln.gallery.milvus_store import FORGOTTEN, MERGED, TIMEOUT_S, MilvusStore
from adln.gallery.names import checked_name
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
    SightingFacts,
    StoredSighting,
    as_id,
    as_ids,
    checked_embeddings,
    require_usable,
)
from adln.gallery.spaces import admit

# Milvus's limit of answers per query.
_MOST_ANSWERS = 16_384
_COLUMNS = tuple(field.name for field in fields(SearchResult))


@checked(GalleryError)
class MilvusGallery(MilvusStore):
    """A gallery on a server; see `adln.gallery.interface.Gallery`.

    Erased sightings immediately disappear from all answers; the server removes their bytes from its
    disks when it compacts, which `forget` requests. The files cannot be checked from here:
    `Erasure.files_searched` is 0.

    Args:
        uri: address of the server, such as "http://localhost:19530".
        name: name of the gallery: letters, digits and underscores.
        consistency: consistency of reads, see the module.
        index: index of the server. "FLAT" compares with everything and is exact; "HNSW" is faster
            and may miss some.
        token: "user:password" or API key, if the server requires it.
        create: whether to make the gallery if there is none.

    Raises:
        GalleryError: pymilvus is not installed, the server does not answer, the name is invalid or
            used by something else, or there is no such gallery and none is to be made.
    """

    most_answers = _MOST_ANSWERS
    """Most answers to a query."""

    @property
    def models(self) -> tuple[ModelKey, ...]:
        """See `Gallery.models`."""
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
            rows.append(milvus_rows.row_of(sighting, embedding))
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
        cameras: Sequence[int] | None = None,
    ) -> list[SearchResult]:
        """Find the most similar sightings; see `Gallery.search`."""
        if not 1 <= k <= _MOST_ANSWERS:
            raise GalleryError(f"k must be 1 to {_MOST_ANSWERS:,} on a server, got {k:,}.")
        queries = checked_embeddings(embeddings, dim=model.dim, what="query")
        expression = milvus_rows.expression(where)
        with self._answers("search"):
            self._find_sightings()
            comparable = self._comparable(model) if self._models else []
            if not comparable or expression is None or len(queries) == 0:
                return [milvus_rows.result([]) for _ in queries]
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
                timeout=TIMEOUT_S,
            )
        return [milvus_rows.result(list(hits)) for hits in answers]

    def search_persons(
        self,
        embeddings: NDArray[np.floating],
        *,
        model: ModelKey,
        k: int = 5,
        where: Filter = EVERYTHING,
        without: Set[int] = frozenset(),
        named: bool = False,
        cameras: Sequence[int] | None = None,
        sightings: int = 0,
    ) -> list[PersonsResult]:
        """See `Gallery.search_persons`; needs one search of the server per person in an answer."""
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
        most_alike = [
            self._best_sightings(query, model, sightings, where, without) if sightings else None
            for query in queries
        ]
        persons = sorted({int(person) for best in found for person in best.person_ids})
        with self._answers("search"):
            rows = self._query(self._persons, f"person_id in {persons}", ["person_id", "name"])
        names = {row["person_id"]: row["name"] or None for row in rows}
        return [
            PersonsResult(
                best=best,
                names=tuple(names.get(person) for person in best.person_ids.tolist()),
                num_persons=max(len(best), count) if len(best) else 0,
                sightings=its,
            )
            for best, its in zip(found, most_alike, strict=True)
        ]

    def _best_sightings(
        self, query: NDArray[np.float32], model: ModelKey, k: int, where: Filter, without: Set[int]
    ) -> SearchResult:
        (result,) = self.search(query, model=model, k=k + len(without), where=where)
        return _rows_of(result, np.flatnonzero(~np.isin(result.sighting_ids, list(without)))[:k])

    def _best_persons(
        self, query: NDArray[np.float32], model: ModelKey, k: int, where: Filter, without: Set[int]
    ) -> SearchResult:
        """The best sighting of each of the k best persons."""
        # Servers of version 2.3 cannot group answers, so each search excludes the persons found.
        found: list[SearchResult] = []
        while len(found) < k:
            (result,) = self.search(query, model=model, k=1 + len(without), where=where)
            at = next((i for i, one in enumerate(result.sighting_ids) if one not in without), None)
            if at is None:
                break
            found.append(_rows_of(result, np.array([at])))
            person = int(result.person_ids[at])
            where = replace(where, not_persons=where.not_persons | {person})
        if not found:
            return milvus_rows.result([])
        return SearchResult(
            *(np.concatenate([getattr(one, name) for one in found]) for name in _COLUMNS)
        )

    def get(self, sighting_ids: Iterable[int]) -> list[StoredSighting]:
        """See `Gallery.get`."""
        ids = as_ids(sighting_ids, "a sighting")
        with self._answers("read"):
            rows = {row["sighting_id"]: row for row in self._rows(ids)}
        return [self._record(rows[number]) for number in ids if number in rows]

    def newest(
        self,
        where: Filter = EVERYTHING,
        *,
        limit: int = 50,
        before: tuple[float, int] | None = None,
    ) -> list[StoredSighting]:
        """See `Gallery.newest`."""
        facts = ((row["time_s"], row["sighting_id"]) for row in self._facts(where, ["time_s"]))
        found = heapq.nlargest(limit, (one for one in facts if before is None or one < before))
        return self.get([sighting_id for _, sighting_id in found])

    def newest_facts(
        self,
        where: Filter = EVERYTHING,
        *,
        limit: int = 50,
        before: tuple[float, int] | None = None,
    ) -> list[SightingFacts]:
        """See `Gallery.newest_facts`.

        Reads complete rows: no field of the server says whether there is a picture.
        """
        return [SightingFacts.of(one) for one in self.newest(where, limit=limit, before=before)]

    def iterate(
        self, where: Filter = EVERYTHING, *, batch_size: int = 1000
    ) -> Iterator[list[StoredSighting]]:
        """See `Gallery.iterate`."""
        if batch_size < 1:
            raise GalleryError(f"batch_size must be at least 1, got {batch_size}.")
        ids = [row["sighting_id"] for row in self._facts(where)]
        for start in range(0, len(ids), batch_size):
            batch = self.get(ids[start : start + batch_size])
            if batch:
                yield batch

    def count(self, where: Filter = EVERYTHING) -> int:
        """See `Gallery.count`."""
        expression = milvus_rows.expression(where)
        if not self._is_begun() or expression is None:
            return 0
        with self._answers("count"):
            ((counted),) = self._query(self._sightings, expression, ["count(*)"])
        return int(counted["count(*)"])

    def enrol(self, name: str | None = None) -> int:
        """See `Gallery.enrol`."""
        name = None if name is None else checked_name(name)
        with self._lock, self._answers("enrol"):
            self._require_free(name, None)
            person_id = self._new_id()
            self._write_person(person_id, name)
            self._settle_name(person_id, name, None)
            return person_id

    def persons(self) -> list[Person]:
        """See `Gallery.persons`."""
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

    def names(self, person_ids: Iterable[int]) -> dict[int, str | None]:
        """See `Gallery.names`."""
        with self._answers("read"):
            return self._names(set(as_ids(person_ids, "a person")))

    def name_person(self, person_id: int, name: str | None) -> None:
        """See `Gallery.name_person`."""
        person_id = as_id(person_id, "a person")
        name = None if name is None else checked_name(name)
        with self._lock, self._answers("name"):
            before = self._require_persons({person_id})[person_id]
            if name == before:
                return
            self._require_free(name, person_id)
            self._write_person(person_id, name)
            self._settle_name(person_id, name, before)
            self._keep_digest(person_id, before)

    def assign(self, sighting_ids: Iterable[int], person_id: int | None) -> int:
        """See `Gallery.assign`."""
        ids = list(dict.fromkeys(as_ids(sighting_ids, "a sighting")))
        person_id = None if person_id is None else as_id(person_id, "a person")
        with self._lock, self._answers("assign"):
            if person_id is not None:
                self._require_persons({person_id})
            rows = self._rows(ids)
            if len(rows) < len(ids):
                gone = sorted(set(ids) - {row["sighting_id"] for row in rows})
                raise GalleryError(f"There is no sighting {gone[0]}; nothing was assigned.")
            moved = self._move(rows, NO_PERSON if person_id is None else person_id)
            if person_id is not None:
                self._held_s[person_id] = time.monotonic()
            return moved

    def merge(self, person_ids: Iterable[int], into: int) -> int:
        """See `Gallery.merge`."""
        into = as_id(into, "a person")
        others = sorted(set(as_ids(person_ids, "a person")) - {into})
        with self._lock, self._answers("merge"):
            names = self._require_persons({*others, into})
            moved = 0
            if others:
                facts = self._facts(Filter(persons=frozenset(others)))
                moved = self._move(self._rows([row["sighting_id"] for row in facts]), into)
                for other in others:
                    self._keep_digest(into, names[other])
                    self._write_person(other, str(into), kind=MERGED)
            name = names[into] or next((names[other] for other in others if names[other]), None)
            if name != names[into]:
                self._write_person(into, name)
            self._held_s[into] = time.monotonic()
            return moved

    def unmerge(
        self, person_id: int, sighting_ids: Iterable[int], *, name: str | None = None
    ) -> int:
        """See `Gallery.unmerge`."""
        person_id, ids = as_id(person_id, "a person"), as_ids(sighting_ids, "a sighting")
        name = None if name is None else checked_name(name)
        with self._lock, self._answers("undo a merge"):
            if person_id not in self._merged():
                raise GalleryError(
                    f"Person {person_id} was not merged into a person who still exists."
                )
            self._require_free(name, person_id)
            self._write_person(person_id, name)
            if name is not None:
                self._claim(person_id, name)
            return self.assign(ids, person_id) if ids else 0

    def held(self) -> frozenset[int]:
        """See `Gallery.held`. By this process only."""
        oldest_s = time.monotonic() - HELD_S
        with self._lock:
            self._held_s = {one: at_s for one, at_s in self._held_s.items() if at_s >= oldest_s}
            return frozenset(self._held_s)

    def merged_into(self, person_id: int) -> frozenset[int]:
        """See `Gallery.merged_into`."""
        with self._answers("read"):
            return self._merged_into(as_id(person_id, "a person"))

    def gone(self, person_ids: Collection[int]) -> frozenset[int]:
        """See `Gallery.gone`."""
        with self._answers("read"):
            there = {
                row["person_id"]
                for row in self._query(self._persons, "is_forgotten == 0", ["person_id"])
            }
            there |= {part for one in there for part in self._merged_into(one)}
        return frozenset(set(as_ids(person_ids, "a person")) - there)

    def split(self, sighting_ids: Iterable[int], name: str | None = None) -> int:
        """See `Gallery.split`."""
        ids = list(dict.fromkeys(as_ids(sighting_ids, "a sighting")))
        with self._lock:
            if len(self.get(ids)) < len(ids) or not ids:
                raise GalleryError(
                    "Splitting needs at least one sighting, and all must exist; of the "
                    f"{len(ids)} given, some do not."
                )
            person_id = self.enrol(name)
            self.assign(ids, person_id)
            return person_id

    def delete(self, sighting_ids: Iterable[int]) -> int:
        """See `Gallery.delete`."""
        ids = list(dict.fromkeys(as_ids(sighting_ids, "a sighting")))
        with self._lock, self._answers("erase"):
            found = [row["sighting_id"] for row in self._rows(ids, ["sighting_id"])]
            self._delete(self._sightings, "sighting_id", found)
            return len(found)

    def expire_before(self, time_s: float, where: Filter = EVERYTHING) -> int:
        """See `Gallery.expire_before`."""
        until = time_s if where.until_s is None else min(time_s, where.until_s)
        if where.from_s is not None and until <= where.from_s:
            return 0
        with self._lock:
            return self.delete(
                row["sighting_id"] for row in self._facts(replace(where, until_s=until))
            )

    def drop_emptied(self, person_ids: Collection[int]) -> int:
        """See `Gallery.drop_emptied`."""
        ids = set(as_ids(person_ids, "a person"))
        if not ids:
            return 0
        with self._lock, self._answers("erase"):
            dropped = [
                one.person_id
                for one in self.persons()
                if one.person_id in ids and one.name is None and not one.num_sightings
            ]
            parts = {part for one in dropped for part in self._merged_into(one)}
            self._delete(self._persons, "person_id", sorted({*dropped, *parts}))
        return len(dropped)

    def forget(self, person_id: int, *, suppress_above: float | None = None) -> Erasure:
        """See `Gallery.forget`; erases from the server's answers."""
        if suppress_above is not None and not 0 < suppress_above < 1:
            raise GalleryError(
                f"suppress_above must be a cosine between 0 and 1, got {suppress_above}."
            )
        person_id = as_id(person_id, "a person")
        with self._lock, self._answers("forget"):
            ids = [
                row["sighting_id"] for row in self._facts(Filter(persons=frozenset({person_id})))
            ]
            parts = self._merged_into(person_id)
            # An attempt that was cut off has barred their name.
            is_begun = self._is_forgotten(person_id) and bool(
                ids or parts or self._former_names({person_id})
            )
            name = None if is_begun else self._require_persons({person_id})[person_id]
            records = self.get(ids)
            if suppress_above is not None and records:
                self._suppress(person_id, records, suppress_above)
            if not is_begun:
                # From here on, no process can assign sightings to the person.
                digest = "" if name is None else self._name_digest(name)
                self._write_person(person_id, None, kind=FORGOTTEN, digest=digest)
            self._bar_former_names({person_id, *parts})
            self._delete(self._persons, "person_id", sorted(parts))
            self._delete(self._sightings, "sighting_id", ids)
            found = self._still_found(records)
            if ids:
                self._client.flush(self._sightings, timeout=TIMEOUT_S)
                self._client.compact(self._sightings)
            self._client.flush(self._persons, timeout=TIMEOUT_S)
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

    def _still_found(self, records: list[StoredSighting]) -> int:
        ids = {record.sighting_id for record in records}
        found: set[int] = set()
        for model in {record.model for record in records}:
            looks = np.array([r.embedding for r in records if r.model == model])
            for start in range(0, len(looks), 100):
                for result in self.search(looks[start : start + 100], model=model, k=10):
                    found |= ids & set(result.sighting_ids.tolist())
        return len(found)


def _rows_of(result: SearchResult, at: NDArray[np.intp]) -> SearchResult:
    return SearchResult(*(getattr(result, name)[at] for name in _COLUMNS))
