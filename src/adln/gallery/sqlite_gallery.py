"""The gallery as a folder: a SQLite database, and memory-mapped codes for the search.

The database is authoritative: a call returns when its transaction is synced to the disk, and all
other files can be recomputed from it. Several processes may use a folder at a time; each call sees
everything that was acknowledged to any of them before.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence, Set
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adln.arguments import checked
from adln.errors import GalleryError
from adln.gallery import proving, rows
from adln.gallery.adapting import NO_CAMERA
from adln.gallery.audit import AuditCheck, AuditEntry
from adln.gallery.copied import CopiedGallery
from adln.gallery.database import (
    FullDiskError,
    fill_reserve,
    plain_errors,
    require_reserve,
    writing,
)
from adln.gallery.erasing import Needles
from adln.gallery.holding import hold, read_held
from adln.gallery.records import (
    EVERYTHING,
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
from adln.gallery.retention import Retention
from adln.gallery.store import ERASED_AT_A_TIME, Queries
from adln.gallery.suppression import are_refused, keep_template

# Fewer free slots than this have no noticeable cost for searches.
_WORTH_COMPACTING = 5_000
_PROOF_QUERIES = 256
_PROOF_ANSWERS = 10


@checked(GalleryError)
class SqliteGallery(CopiedGallery):
    """A gallery in one folder of this machine; see `adln.gallery.interface.Gallery`.

    Searches are exact: codes of one byte per component exclude what is provably not among the
    answers, embeddings decide the rest. The files beside the database are recomputed whenever they
    are missing, damaged, or do not match it. On a write-protected disk, the gallery can be read,
    and searches are not logged.

    Args:
        folder: folder of the gallery.
        create: create it if it does not exist.
        low_memory: read embeddings from the database instead of a mapped file: slightly slower, and
            only the codes take memory. A gallery created this way has no such file.
        actor: name for the audit log.
        audit_searches: log searches, too. These entries survive a crash of the program; a power cut
            may lose the last ones.
        engine: "numkong" or "numpy"; by default the faster installed one.
        clock: seconds since 1970, for the audit log.

    Raises:
        GalleryError: There is no gallery, it is of another version, damaged or locked.
    """

    @property
    def models(self) -> tuple[ModelKey, ...]:
        """See `Gallery`."""
        with self._reading():
            return tuple(self._index.models.values())

    @property
    def retention(self) -> Retention:
        """The retention rules of this gallery."""
        with self._reading():
            (text,) = self._connection.execute("SELECT retention FROM state").fetchone()
        return Retention() if text is None else Retention.from_json(text)

    def set_retention(self, retention: Retention) -> None:
        """Set the retention rules. Only `max_templates` is applied by the gallery itself.

        Args:
            retention: the rules, for all processes; see `apply_retention`.
        """
        with self._writing("retention", {"rules": retention.to_json()}):
            self._connection.execute("UPDATE state SET retention = ?", (retention.to_json(),))

    def add(self, sightings: Sequence[Sighting]) -> list[int | None]:
        """See `Gallery`."""
        if not sightings:
            return []
        for sighting in sightings:
            require_usable(sighting)
        models = list(dict.fromkeys(one.model for one in sightings))
        if len({model.dim for model in models}) > 1:
            raise GalleryError(
                "These embeddings have different lengths and cannot be compared: "
                + "; ".join(sorted(map(str, models)))
                + ". Embed all pictures with one network file."
            )
        shapes = {np.shape(one.embedding) for one in sightings}
        if shapes != {(models[0].dim,)}:
            raise GalleryError(
                f"Expected embeddings of shape ({models[0].dim},), got {sorted(map(str, shapes))}."
            )
        embeddings = checked_embeddings(
            np.stack([np.asarray(one.embedding) for one in sightings]), dim=models[0].dim
        )
        require_reserve(self.folder)
        with self._writing():
            numbers = self._take_models(models)
            model_ids = [numbers[one.model] for one in sightings]
            self._people.require({one.person_id for one in sightings} - {None})
            index = self._index
            welcome = ~are_refused(
                self._connection, index.models, embeddings, model_ids, index.bridges
            )
            positions = np.flatnonzero(welcome).tolist()
            ids = self._insert(
                [sightings[at] for at in positions],
                [model_ids[at] for at in positions],
                embeddings[welcome],
            )
            answer: list[int | None] = [None] * len(sightings)
            for at, sighting_id in zip(positions, ids, strict=True):
                answer[at] = sighting_id
            self._drop_surplus({sightings[at].person_id for at in positions})
            self._index.save_if_due()
        return answer

    def search(
        self,
        embeddings: NDArray[np.floating],
        *,
        model: ModelKey,
        k: int = 10,
        where: Filter = EVERYTHING,
        cameras: Sequence[int] | None = None,
    ) -> list[SearchResult]:
        """See `Gallery`."""
        queries = self._begin_search(embeddings, cameras, model, k, where)
        return self._find(queries, model, k, where)

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
        """See `Gallery`."""
        queries = self._begin_search(embeddings, cameras, model, k, where)
        uncounted = as_ids(without, "a sighting")
        return self._find_persons(
            queries, model, k, where, uncounted, named=named, sightings=sightings
        )

    def _begin_search(
        self,
        embeddings: NDArray[np.floating],
        cameras: Sequence[int] | None,
        model: ModelKey,
        k: int,
        where: Filter,
    ) -> Queries:
        """Check the queries of a search, and log it."""
        k = as_id(k, "k")
        if k < 1:
            raise GalleryError(f"k must be at least 1, got {k}.")
        queries = checked_embeddings(embeddings, dim=model.dim, what="query")
        seen_by = [NO_CAMERA] * len(queries) if cameras is None else as_ids(cameras, "a camera")
        if len(seen_by) != len(queries):
            raise GalleryError(
                f"{len(queries)} queries need {len(queries)} cameras, got {len(seen_by)}."
            )
        self._require_own()
        if self._audit_searches and not self._is_read_only:
            facts = {
                "queries": len(queries),
                "k": k,
                "model": model.digest[:12],
                "depth": model.depth,
                "where": rows.plain_filter(vars(where)),
            }
            with self._lock, plain_errors(self.folder):
                self._require_open()
                # Written before the answer is returned, without waiting for the disk.
                self._connection.execute("PRAGMA synchronous = NORMAL")
                try:
                    with writing(self._connection):
                        self._log.record("search", facts)
                finally:
                    self._connection.execute("PRAGMA synchronous = FULL")
        return Queries(queries, np.array(seen_by, dtype=np.int64))

    def get(self, sighting_ids: Iterable[int]) -> list[StoredSighting]:
        """See `Gallery`."""
        wanted = as_ids(sighting_ids, "a sighting")
        with self._reading():
            found = rows.read_records(self._connection, self._index, wanted)
        return [found[sighting_id] for sighting_id in wanted if sighting_id in found]

    def newest(
        self,
        where: Filter = EVERYTHING,
        *,
        limit: int = 50,
        before: tuple[float, int] | None = None,
    ) -> list[StoredSighting]:
        """See `Gallery`."""
        with self._reading():
            ids = self._index.columns.newest(where, limit, before).tolist()
            return self.get(ids)

    def newest_facts(
        self,
        where: Filter = EVERYTHING,
        *,
        limit: int = 50,
        before: tuple[float, int] | None = None,
    ) -> list[SightingFacts]:
        """See `Gallery`."""
        with self._reading():
            ids = self._index.columns.newest(where, limit, before).tolist()
            found = rows.read_facts(self._connection, self._index, ids)
        return [found[sighting_id] for sighting_id in ids if sighting_id in found]

    def iterate(
        self, where: Filter = EVERYTHING, *, batch_size: int = 1000
    ) -> Iterator[list[StoredSighting]]:
        """See `Gallery`."""
        with self._reading():
            ids = np.sort(self._passing(where))
        for start in range(0, len(ids), batch_size):
            if batch := self.get(ids[start : start + batch_size].tolist()):
                yield batch

    def count(self, where: Filter = EVERYTHING) -> int:
        """See `Gallery`."""
        with self._reading():
            return len(self._passing(where))

    def last_track(self) -> int:
        """The highest track number of any sighting; 0 if there is none."""
        with self._reading():
            # Earlier versions stored some numbers as bytes, which compare above all integers.
            (track_id,) = self._connection.execute(
                "SELECT max(track_id) FROM sightings WHERE typeof(track_id) = 'integer'"
            ).fetchone()
        return int(track_id or 0)

    def enrol(self, name: str | None = None) -> int:
        """See `Gallery`."""
        details: dict[str, Any] = {}
        new = self._prepare(name)
        with self._writing("enrol", details):
            details["person"] = person_id = self._people.add(new)
        return person_id

    def require_free_name(self, name: str) -> None:
        """Check that a new person may have this name.

        Raises:
            GalleryError: See `enrol`.
        """
        new = self._prepare(name)
        with self._reading():
            self._people.require_free(new)

    def persons(self) -> list[Person]:
        """See `Gallery`."""
        with self._reading():
            return self._people.all(self._index.columns.tallies())

    def names(self, person_ids: Iterable[int]) -> dict[int, str | None]:
        """See `Gallery`."""
        with self._reading():
            return self._people.names(as_ids(person_ids, "a person"))

    def person_called(self, name: str) -> int | None:
        """The person with a name, however its accents are encoded; None if there is none.

        Raises:
            GalleryError: The database is damaged.
        """
        with self._reading():
            return self._people.called(name)

    def name_person(self, person_id: int, name: str | None) -> None:
        """See `Gallery`."""
        person_id = as_id(person_id, "a person")
        new = self._prepare(name)
        with self._writing("name", {"person": person_id, "named": name is not None}):
            self._people.require({person_id})
            self._people.rename(person_id, new)
        self._wiper.wipe_soon()

    def assign(self, sighting_ids: Iterable[int], person_id: int | None) -> int:
        """See `Gallery`."""
        ids = _unique(sighting_ids)
        person_id = None if person_id is None else as_id(person_id, "a person")
        with self._writing("assign", {"sightings": len(ids), "person": person_id}):
            self._people.require({person_id} - {None})
            self._require_sightings(ids)
            changed = self._assign(ids, person_id)
            hold(self._connection, person_id)
        return changed

    def merge(self, person_ids: Iterable[int], into: int) -> int:
        """See `Gallery`."""
        into = as_id(into, "a person")
        others = sorted(set(as_ids(person_ids, "a person")) - {into})
        details: dict[str, Any] = {"persons": others, "into": into}
        with self._writing("merge", details):
            self._people.require({into, *others})
            names = [self._people.name_of(person_id) for person_id in (into, *others)]
            moved = 0
            for other in others:
                moved += self._assign(rows.ids_of(self._connection, other), into)
                self._people.merge(other, into)
            self._people.take_name(into, next((name for name in names if name is not None), None))
            details["sightings"] = moved
            hold(self._connection, into)
        self._wiper.wipe_soon()
        return moved

    def unmerge(
        self, person_id: int, sighting_ids: Iterable[int], *, name: str | None = None
    ) -> int:
        """See `Gallery`."""
        person_id, ids = as_id(person_id, "a person"), _unique(sighting_ids)
        new = self._prepare(name)
        with self._writing("unmerge", {"person": person_id, "sightings": len(ids)}):
            if ids:
                self._require_sightings(ids)
            self._people.unmerge(person_id, new)
            return self._assign(ids, person_id)

    def held(self) -> frozenset[int]:
        """See `Gallery`."""
        with self._reading():
            return read_held(self._connection)

    def merged_into(self, person_id: int) -> frozenset[int]:
        """See `Gallery`."""
        with self._reading():
            return self._people.merged_into(as_id(person_id, "a person"))

    def gone(self, person_ids: Collection[int]) -> frozenset[int]:
        """See `Gallery`."""
        with self._reading():
            return self._people.gone(as_ids(person_ids, "a person"))

    def ever_called(self, person_id: int, names: Iterable[str]) -> frozenset[str]:
        """Those of these names that this person, or one merged into them, has or had.

        A name that somebody else has by now is theirs. Takes about 10 ms a name.
        """
        with self._reading():
            return self._people.ever_called(as_id(person_id, "a person"), names)

    def split(self, sighting_ids: Iterable[int], name: str | None = None) -> int:
        """See `Gallery`."""
        ids = _unique(sighting_ids)
        new = self._prepare(name)
        details: dict[str, Any] = {"sightings": len(ids)}
        with self._writing("split", details):
            self._require_sightings(ids)
            details["person"] = person_id = self._people.add(new)
            self._assign(ids, person_id)
        return person_id

    def delete(self, sighting_ids: Iterable[int]) -> int:
        """See `Gallery`. The bytes are overwritten soon after, or when the gallery is closed."""
        ids = _unique(sighting_ids)
        details: dict[str, Any] = {}

        def erase(part: list[int]) -> None:
            with self._writing("delete", details):
                details["sightings"] = self._erase(part)

        return self._erasing(ids, erase, details)

    def expire_before(self, time_s: float, where: Filter = EVERYTHING) -> int:
        """See `Gallery`. The bytes are overwritten soon after, or when the gallery is closed."""
        details: dict[str, Any] = {
            "before_s": float(time_s),
            "where": rows.plain_filter(vars(where)),
        }
        with self._reading():
            columns = self._index.columns
            old = columns.mask(where) & (columns.times_s < time_s)
            ids = np.sort(columns.sighting_ids[old]).tolist()

        def erase(part: list[int]) -> None:
            with self._writing("expire", details):
                # Others may have changed some in the meantime.
                there = self._index.columns
                still = there.mask(where) & (there.times_s < time_s)
                still &= np.isin(there.sighting_ids, part)
                details["sightings"] = self._erase(there.sighting_ids[still].tolist())

        return self._erasing(ids, erase, details)

    def drop_emptied(self, person_ids: Collection[int]) -> int:
        """See `Gallery`."""
        ids = as_ids(person_ids, "a person")
        if not ids:
            return 0
        details: dict[str, Any] = {}
        with self._writing("drop", details):
            details["persons"] = dropped = self._people.drop_emptied(ids)
        self._wiper.wipe_soon()
        return dropped

    def forget(self, person_id: int, *, suppress_above: float | None = None) -> Erasure:
        """See `Gallery`."""
        person_id = as_id(person_id, "a person")
        if suppress_above is not None and not 0 < suppress_above < 1:
            raise GalleryError(
                f"suppress_above must be a cosine between 0 and 1, got {suppress_above}."
            )
        details: dict[str, Any] = {"person": person_id, "suppressed_above": suppress_above}
        try:
            try:
                records, name, _ = self._forget(person_id, suppress_above, details)
            except FullDiskError:
                records, name = self._forget_in_pieces(person_id, suppress_above, details)
            self._with_reserve(self._wiper.wipe)
            with plain_errors(self.folder, what_holds="The erasure itself is complete."):
                needles = proving.needles_of(records, [name], self._compared)
                erasure = self._prove(person_id, records, needles, suppress_above)
            proof = {
                "person": person_id,
                "found_by_search": erasure.found_by_search,
                "traces_found": erasure.traces_found,
            }
            self._with_reserve(partial(self._note, "forgotten", proof))
        finally:
            fill_reserve(self.folder)
        return erasure

    def _forget(
        self,
        person_id: int,
        suppress_above: float | None,
        details: dict[str, Any],
        most: int | None = None,
    ) -> tuple[list[StoredSighting], str | None, bool]:
        """Erase a person, or their first `most` sightings.

        Returns:
            The erased sightings, their name, and whether nothing of them is left.
        """
        with self._writing("forget", details):
            self._people.require({person_id})
            name = self._people.name_of(person_id)
            ids = rows.ids_of(self._connection, person_id)
            if suppress_above is not None:
                records, models = self.get(ids), self._index.models
                keep_template(self._connection, models, person_id, records, suppress_above)
            part = ids[:most]
            records = self.get(part)
            details["sightings"] = self._erase(part)
            if len(part) == len(ids):
                self._people.forget(person_id)
        return records, name, len(part) == len(ids)

    def _forget_in_pieces(
        self, person_id: int, suppress_above: float | None, details: dict[str, Any]
    ) -> tuple[list[StoredSighting], str | None]:
        """Erase a person in small steps, using the reserved disk space."""
        records: list[StoredSighting] = []
        is_gone = False
        while not is_gone:
            # The template to refuse them is made once, of all sightings.
            suppressed = None if records else suppress_above
            erase = partial(self._forget, person_id, suppressed, details, ERASED_AT_A_TIME)
            some, name, is_gone = self._with_reserve(erase)
            records += some
            self._free_log()
        return records, name

    def compact(self) -> None:
        """Remove free slots, so that searches read only slots in use.

        Useful after large erasures; takes about as long as reading the whole database.
        """
        with self._writing("compact"):
            if self._index.digest is not None:
                self._index.rebuild()
        self._remove_old_files()

    def compact_if_worthwhile(self) -> bool:
        """`compact` if less than half of the slots are in use.

        Returns:
            Whether it was compacted.
        """
        with self._reading():
            slots = self._index.columns.slots
            used = int(np.count_nonzero(self._index.columns.depths))
        if slots < 2 * used + _WORTH_COMPACTING:
            return False
        self.compact()
        return True

    def audit_entries(self, *, action: str | None = None) -> list[AuditEntry]:
        """The audit log, or its entries of one action, oldest first."""
        with self._reading():
            return list(self._log.entries(action=action))

    def check_audit(self, *, expected_digest: str | None = None) -> AuditCheck:
        """Check that the audit log is unaltered; see `AuditLog.check`."""
        with self._reading():
            return self._log.check(expected_digest=expected_digest)

    def _prove(
        self,
        person_id: int,
        records: Sequence[StoredSighting],
        needles: Needles,
        suppress_above: float | None,
    ) -> Erasure:
        """Search for a forgotten person in the gallery and its files."""
        erased = {record.sighting_id for record in records}
        found = self.count(Filter(persons=frozenset({person_id}))) + len(self.get(erased))
        for model in {record.model for record in records}:
            same = [record for record in records if record.model == model][:_PROOF_QUERIES]
            queries = Queries(
                np.stack([record.embedding for record in same]).astype(np.float32),
                np.array([record.camera_id for record in same], dtype=np.int64),
            )
            for result in self._find(queries, same[0].model, _PROOF_ANSWERS, EVERYTHING):
                found += len(erased.intersection(result.sighting_ids.tolist()))
        with self._lock:
            traces = proving.erase_traces(
                self._connection,
                self.folder,
                needles,
                self.iterate(batch_size=200),
                self._compared,
            )
        return Erasure(
            person_id=person_id,
            sightings=len(records),
            thumbnails=sum(record.thumbnail is not None for record in records),
            found_by_search=found,
            files_searched=traces.files,
            traces_found=traces.found,
            suppressed_above=suppress_above,
        )


def _unique(ids: Iterable[int]) -> list[int]:
    return sorted(set(as_ids(ids, "a sighting")))
