"""The gallery as a folder: a SQLite database, and codes mapped into memory for the search.

The database alone is what counts: a call has returned when its transaction is synced to the disk,
and all other files can be computed from it. Several processes may use a folder at a time; each
sees, at every call, all that was acknowledged to any of them before.
"""

import contextlib
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from adln.embeddings import unit_length
from adln.errors import GalleryError
from adln.gallery import audit, scan
from adln.gallery.adapting import NO_CAMERA, remove_adaptations, space_name, store_adaptation
from adln.gallery.audit import AuditCheck, AuditEntry, AuditLog
from adln.gallery.codes import encode
from adln.gallery.database import connect, plain_errors, reading, writing
from adln.gallery.erasing import find_traces, pieces
from adln.gallery.index import SearchIndex
from adln.gallery.records import (
    EVERYTHING,
    Erasure,
    Filter,
    ModelKey,
    Person,
    SearchResult,
    Sighting,
    StoredSighting,
    checked_embeddings,
    require_usable,
)
from adln.gallery.retention import Retention
from adln.gallery.spaces import admit, group_by_space, template_kind
from adln.gallery.templates import choose_templates
from adln.matching.adaptation import Adaptation

_IDS_AT_A_TIME = 500
# A person may have this share of templates too many before the surplus is chosen and erased:
# choosing one at each sighting would compare all of them each time.
_SURPLUS_SHARE = 0.25
# Fewer free slots than this cost a search nothing that could be felt.
_WORTH_COMPACTING = 5_000
# Slots wiped after this many erasures, where nobody waits for the proof.
_WIPE_EVERY = 1_000
_PROOF_QUERIES = 256
_PROOF_ANSWERS = 10
_RECORD_SQL = (
    "SELECT sighting_id, embedding, model_id, camera_id, time_s, person_id, track_id, box, "
    "quality, jpeg FROM sightings JOIN embeddings USING (sighting_id) LEFT JOIN thumbnails "
    "USING (sighting_id)"
)


class SqliteGallery:
    """A gallery in one folder of this machine; see `adln.gallery.interface.Gallery`.

    Searches are exact: codes of one byte a number leave out what provably is not among the
    answers, the embeddings decide the rest. The files beside the database are computed from it
    again whenever they are missing.

    Args:
        folder: of the gallery.
        create: make it if there is none.
        low_memory: read embeddings from the database instead of a mapped file: slower by a
            little, and only the codes take memory. A gallery that is made this way has no such
            file at all.
        actor: whom the audit log names.
        audit_searches: log searches, too. Such a row survives a crash of the program; only a
            power cut may take the last ones.
        engine: "numkong" or "numpy"; the faster one that is installed if left out.
        clock: gives seconds since 1970, for the audit log.

    Raises:
        GalleryError: There is no gallery, it is of another version, damaged or locked.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        create: bool = False,
        low_memory: bool = False,
        actor: str = "program",
        audit_searches: bool = False,
        engine: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = Path(folder)
        self._engine = scan.best_engine() if engine is None else engine
        self._audit_searches = audit_searches
        self._lock = threading.RLock()
        self._closed = False
        self._connection = connect(
            self._folder, create=create, mapped=not low_memory, more_schema=audit.SCHEMA
        )
        self._index = SearchIndex(self._connection, self._folder, low_memory=low_memory)
        self._log = AuditLog(self._connection, actor=actor, clock=clock)
        try:
            with plain_errors(self._folder):
                self._recover()
        except BaseException:
            self._connection.close()
            raise

    @property
    def folder(self) -> Path:
        """Where it is."""
        return self._folder

    @property
    def low_memory(self) -> bool:
        """Whether embeddings are read from the database."""
        return self._index.low_memory

    @property
    def engine(self) -> str:
        """What compares codes: "numkong" or "numpy"."""
        return self._engine

    @property
    def models(self) -> tuple[ModelKey, ...]:
        """See `Gallery`."""
        with self._reading():
            return tuple(self._index.models.values())

    @property
    def retention(self) -> Retention:
        """The rules that were set for this gallery."""
        with self._reading():
            (text,) = self._connection.execute("SELECT retention FROM state").fetchone()
        return Retention() if text is None else Retention.from_json(text)

    def set_retention(self, retention: Retention) -> None:
        """Set the rules. Only `max_templates` is seen to at once; `apply_retention` does the rest.

        Args:
            retention: the rules, for all processes.
        """
        with self._writing("retention", {"rules": retention.to_json()}):
            self._connection.execute("UPDATE state SET retention = ?", (retention.to_json(),))

    @property
    def adaptations(self) -> tuple[Adaptation, ...]:
        """What is switched on, at most one for each space."""
        with self._reading():
            return tuple(self._index.adaptations.values())

    def adapt(self, adaptation: Adaptation) -> None:
        """Compare embeddings of its space adapted, from now on; takes as long as a `compact`.

        The embeddings themselves stay as they are; `undo_adaptation` goes back to them.

        Raises:
            GalleryError: The gallery has no embeddings of that space.
        """
        with self._writing("adapt", {"id": adaptation.id, "method": adaptation.method}):
            models = self._index.models.values()
            if adaptation.space not in {space_name(model) for model in models}:
                raise GalleryError(
                    f"{self._folder}: there are no embeddings of space {adaptation.space!r} here, "
                    "which this adaptation was fitted in."
                )
            store_adaptation(self._connection, adaptation)
            self._index.rebuild()
        self._index.remove_leftovers()

    def undo_adaptation(self) -> int:
        """Compare embeddings as the network gave them again.

        Returns:
            How many adaptations were switched off.
        """
        details: dict[str, Any] = {}
        with self._writing("undo_adaptation", details):
            details["adaptations"] = undone = len(self._index.adaptations)
            if undone:
                remove_adaptations(self._connection)
                self._index.rebuild()
        self._index.remove_leftovers()
        return undone

    def add(self, sightings: Sequence[Sighting]) -> list[int | None]:
        """See `Gallery`."""
        if not sightings:
            return []
        for sighting in sightings:
            require_usable(sighting)
        models = list(dict.fromkeys(one.model for one in sightings))
        if len({model.dim for model in models}) > 1:
            raise GalleryError(
                "These embeddings are of different lengths, which cannot be compared: "
                + "; ".join(sorted(map(str, models)))
                + ". Embed all pictures with one model file."
            )
        embeddings = checked_embeddings(
            np.stack([np.asarray(one.embedding) for one in sightings]), dim=models[0].dim
        )
        with self._writing():
            numbers = self._take_models(models)
            model_ids = [numbers[one.model] for one in sightings]
            self._require_persons({one.person_id for one in sightings} - {None})
            welcome = ~self._suppressed(embeddings, model_ids)
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
            self._index.sync_if_due()
        self._wipe(at_least=_WIPE_EVERY)
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
        """See `Gallery`.

        Where an adaptation is switched on, queries are adapted as stored embeddings are: give
        them as the network gave them, with the camera of each in `cameras`, if it has one.
        """
        if k < 1:
            raise GalleryError(f"k must be at least 1, got {k}.")
        queries = checked_embeddings(embeddings, dim=model.dim, what="query")
        if self._audit_searches:
            facts = {
                "queries": len(queries),
                "k": k,
                "model": model.digest[:12],
                "depth": model.depth,
                "where": _plain(where),
            }
            with self._lock, plain_errors(self._folder):
                # Written before the answer is given, but not worth a wait for the disk.
                self._connection.execute("PRAGMA synchronous = NORMAL")
                try:
                    with writing(self._connection):
                        self._log.record("search", facts)
                finally:
                    self._connection.execute("PRAGMA synchronous = FULL")
        if cameras is None:
            cameras = [NO_CAMERA] * len(queries)
        if len(cameras) != len(queries):
            raise GalleryError(f"{len(queries)} queries came with {len(cameras)} cameras.")
        return self._find(queries, model, k, where, np.array(cameras, dtype=np.int64))

    def get(self, sighting_ids: Iterable[int]) -> list[StoredSighting]:
        """See `Gallery`."""
        wanted = [int(sighting_id) for sighting_id in sighting_ids]
        found: dict[int, StoredSighting] = {}
        with self._reading():
            for start in range(0, len(wanted), _IDS_AT_A_TIME):
                part = wanted[start : start + _IDS_AT_A_TIME]
                marks = ",".join("?" * len(part))
                rows = self._connection.execute(
                    f"{_RECORD_SQL} WHERE sighting_id IN ({marks})", part
                )
                found |= {row[0]: self._record(row) for row in rows}
        return [found[sighting_id] for sighting_id in wanted if sighting_id in found]

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

    def enrol(self, name: str | None = None) -> int:
        """See `Gallery`."""
        details: dict[str, Any] = {}
        with self._writing("enrol", details):
            details["person"] = person_id = self._new_person(name)
        return person_id

    def persons(self) -> list[Person]:
        """See `Gallery`."""
        with self._reading():
            rows = self._connection.execute(
                "SELECT persons.person_id, name, COUNT(sighting_id), MIN(time_s), MAX(time_s), "
                "GROUP_CONCAT(DISTINCT camera_id) FROM persons "
                "LEFT JOIN sightings USING (person_id) GROUP BY persons.person_id ORDER BY 1"
            ).fetchall()
        return [
            Person(
                person_id=person_id,
                name=name,
                num_sightings=count,
                first_seen_s=first,
                last_seen_s=last,
                cameras=tuple(sorted(map(int, cameras.split(",")))) if cameras else (),
            )
            for person_id, name, count, first, last, cameras in rows
        ]

    def name_person(self, person_id: int, name: str | None) -> None:
        """See `Gallery`."""
        with self._writing("name", {"person": person_id, "named": name is not None}):
            self._require_persons({person_id})
            if name is not None:
                self._require_free_name(name, but_for=person_id)
            self._connection.execute(
                "UPDATE persons SET name = ? WHERE person_id = ?", (name, person_id)
            )

    def assign(self, sighting_ids: Iterable[int], person_id: int | None) -> int:
        """See `Gallery`."""
        ids = _unique(sighting_ids)
        with self._writing("assign", {"sightings": len(ids), "person": person_id}):
            self._require_persons({person_id} - {None})
            self._require_sightings(ids)
            changed = self._assign(ids, person_id)
            self._drop_surplus({person_id})
        self._wipe(at_least=_WIPE_EVERY)
        return changed

    def merge(self, person_ids: Iterable[int], into: int) -> int:
        """See `Gallery`."""
        others = sorted({int(person_id) for person_id in person_ids} - {into})
        details: dict[str, Any] = {"persons": others, "into": into}
        with self._writing("merge", details):
            self._require_persons({into, *others})
            moved = 0
            names = [self._name(person_id) for person_id in (into, *others)]
            for other in others:
                ids = [
                    sighting_id
                    for (sighting_id,) in self._connection.execute(
                        "SELECT sighting_id FROM sightings WHERE person_id = ?", (other,)
                    )
                ]
                moved += self._assign(ids, into)
                self._connection.execute("DELETE FROM persons WHERE person_id = ?", (other,))
            name = next((name for name in names if name is not None), None)
            self._connection.execute(
                "UPDATE persons SET name = ? WHERE person_id = ?", (name, into)
            )
            details["sightings"] = moved
            self._drop_surplus({into})
        self._wipe(at_least=_WIPE_EVERY)
        return moved

    def split(self, sighting_ids: Iterable[int], name: str | None = None) -> int:
        """See `Gallery`."""
        ids = _unique(sighting_ids)
        details: dict[str, Any] = {"sightings": len(ids)}
        with self._writing("split", details):
            self._require_sightings(ids)
            details["person"] = person_id = self._new_person(name)
            self._assign(ids, person_id)
        return person_id

    def delete(self, sighting_ids: Iterable[int]) -> int:
        """See `Gallery`."""
        ids = _unique(sighting_ids)
        details: dict[str, Any] = {}
        with self._writing("delete", details):
            details["sightings"] = erased = self._erase(ids)
        self._wipe()
        return erased

    def expire_before(self, time_s: float, where: Filter = EVERYTHING) -> int:
        """See `Gallery`."""
        details: dict[str, Any] = {"before_s": time_s, "where": _plain(where)}
        with self._writing("expire", details):
            columns = self._index.columns
            old = columns.mask(where) & (columns.times_s < time_s)
            details["sightings"] = erased = self._erase(columns.sighting_ids[old].tolist())
        self._wipe()
        return erased

    def forget(self, person_id: int, *, suppress_above: float | None = None) -> Erasure:
        """See `Gallery`."""
        if suppress_above is not None and not 0 < suppress_above < 1:
            raise GalleryError(f"suppress_above is a cosine between 0 and 1, got {suppress_above}.")
        details: dict[str, Any] = {"person": person_id, "suppressed_above": suppress_above}
        with self._writing("forget", details):
            self._require_persons({person_id})
            ids = [
                sighting_id
                for (sighting_id,) in self._connection.execute(
                    "SELECT sighting_id FROM sightings WHERE person_id = ?", (person_id,)
                )
            ]
            records = self.get(ids)
            if suppress_above is not None:
                self._suppress(person_id, records, suppress_above)
            self._bar_name(self._name(person_id))
            details["sightings"] = self._erase(ids)
            self._connection.execute("DELETE FROM persons WHERE person_id = ?", (person_id,))
        self._wipe()
        with plain_errors(self._folder):
            erasure = self._prove(person_id, records, suppress_above)
        with self._writing(
            "forgotten",
            {
                "person": person_id,
                "found_by_search": erasure.found_by_search,
                "traces_found": erasure.traces_found,
            },
        ):
            pass
        return erasure

    def compact(self) -> None:
        """Give free slots back, so that a search reads no more than there is.

        Worth its while after much was erased and little added; takes about as long as reading the
        whole database.
        """
        with self._writing("compact"):
            if self._index.digest is not None:
                self._index.rebuild()
        with self._lock, plain_errors(self._folder):
            self._index.wipe()

    def compact_if_worthwhile(self) -> bool:
        """`compact` if less than half of the slots are in use.

        Returns:
            Whether it was done.
        """
        with self._reading():
            slots = self._index.columns.slots
            used = int(np.count_nonzero(self._index.columns.depths))
        if slots < 2 * used + _WORTH_COMPACTING:
            return False
        self.compact()
        return True

    def audit_entries(self) -> list[AuditEntry]:
        """The audit log, oldest first."""
        with self._reading():
            return list(self._log.entries())

    def check_audit(self, *, expected_digest: str | None = None) -> AuditCheck:
        """Check that nobody rewrote the audit log; see `AuditLog.check`."""
        with self._reading():
            return self._log.check(expected_digest=expected_digest)

    def close(self) -> None:
        """See `Gallery`."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            try:
                # What was acknowledged is safe already; a full disk makes the next start slower.
                with contextlib.suppress(GalleryError), plain_errors(self._folder):
                    self._leave_ready()
            finally:
                self._index.close()
                self._connection.close()

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

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        with self._lock, plain_errors(self._folder):
            self._require_open()
            if self._connection.in_transaction:
                # Called by a method that holds a transaction already.
                yield
                return
            while True:
                with reading(self._connection):
                    if self._index.refresh():
                        yield
                        return
                self._rebuild()

    @contextlib.contextmanager
    def _writing(
        self, action: str | None = None, details: Mapping[str, Any] | None = None
    ) -> Iterator[None]:
        """A transaction; an action is logged in it, with what `details` hold in the end."""
        with self._lock, plain_errors(self._folder):
            self._require_open()
            with writing(self._connection):
                if not self._index.refresh():
                    self._index.rebuild()
                yield
                if action is not None:
                    self._log.record(action, details or {})

    def _require_open(self) -> None:
        if self._closed:
            raise GalleryError(f"{self._folder}: this gallery was closed; open it again.")

    def _rebuild(self) -> None:
        with writing(self._connection):
            if not self._index.refresh():
                self._index.rebuild()
        self._index.remove_leftovers()

    def _recover(self) -> None:
        """Finish what a crash or a power cut interrupted."""
        with self._reading():
            if self._index.digest is None:
                return
            fine = self._index.check_unsynced()
            (unwiped,) = self._connection.execute("SELECT COUNT(*) FROM unwiped").fetchone()
        if not fine:
            with self._writing():
                # Another process may have filled slots anew in between; under the lock it is sure.
                if not self._index.check_unsynced():
                    self._index.repair_unsynced()
        if unwiped:
            self._index.wipe()

    def _leave_ready(self) -> None:
        """Save what makes the next start quick."""
        if self._index.files is None:
            return
        self._wipe()
        with reading(self._connection):
            ready = self._index.refresh() and self._index.is_ready()
        if not ready:
            with writing(self._connection):
                if self._index.refresh():
                    self._index.make_ready()

    def _wipe(self, *, at_least: int = 1) -> None:
        """Remove the bytes of what was erased, if there are so many."""
        with self._lock, plain_errors(self._folder):
            (waiting,) = self._connection.execute("SELECT COUNT(*) FROM unwiped").fetchone()
            if waiting >= at_least:
                self._index.wipe()

    def _passing(self, where: Filter) -> NDArray[np.int64]:
        columns = self._index.columns
        return columns.sighting_ids[columns.mask(where)]

    def _find(
        self,
        queries: NDArray[np.float32],
        model: ModelKey,
        k: int,
        where: Filter,
        cameras: NDArray[np.int64],
    ) -> list[SearchResult]:
        """Answers that hold at the end of the search, too."""
        with self._lock:
            while True:
                with self._reading():
                    results, slots = self._search(queries, model, k, where, cameras)
                # A slot may have been emptied and filled anew while it was being compared.
                with plain_errors(self._folder), reading(self._connection):
                    if self._index.still_holds(slots):
                        return results

    def _search(
        self,
        queries: NDArray[np.float32],
        model: ModelKey,
        k: int,
        where: Filter,
        cameras: NDArray[np.int64],
    ) -> tuple[list[SearchResult], NDArray[np.int64]]:
        """Answers, and all slots in them."""
        index, columns = self._index, self._index.columns
        if index.digest is None:
            nothing = np.empty(0, np.int64)
            return [self._result(nothing, nothing.astype(np.float32)) for _ in queries], nothing
        (model,) = admit(index.models.values(), [model], place=str(self._folder))
        if (adaptation := index.adaptations.get(space_name(model))) is not None:
            queries = adaptation.apply(queries, cameras)
        mask = columns.mask(where, models=index.comparable(model))
        found = []
        for batch in scan.batches(len(queries)):
            comparison = scan.compare(
                queries[batch],
                index.require_files(),
                engine=self._engine,
                low_memory=index.low_memory,
            )
            found += scan.find_best(
                comparison, queries[batch], mask, columns.sighting_ids, k, index.fetch
            )
        slots = np.unique(np.concatenate([np.empty(0, np.int64), *(slots for slots, _ in found)]))
        return [self._result(slots, similarity) for slots, similarity in found], slots

    def _result(self, slots: NDArray[np.int64], similarity: NDArray[np.float32]) -> SearchResult:
        columns = self._index.columns
        return SearchResult(
            sighting_ids=columns.sighting_ids[slots],
            similarity=similarity,
            person_ids=columns.person_ids[slots],
            camera_ids=columns.camera_ids[slots].astype(np.int64),
            time_s=columns.times_s[slots],
            depths=columns.depths[slots].astype(np.int64),
        )

    def _record(self, row: tuple[Any, ...]) -> StoredSighting:
        sighting_id, blob, model_id, camera_id, time_s, person_id, track_id, box, quality, jpeg = (
            row
        )
        left, top, right, bottom = (0.0,) * 4 if box is None else np.frombuffer(box, "<f8").tolist()
        return StoredSighting(
            sighting_id=sighting_id,
            embedding=np.frombuffer(blob, "<f4").astype(np.float32),
            model=self._index.models[model_id],
            camera_id=camera_id,
            time_s=time_s,
            person_id=person_id,
            track_id=track_id,
            box_xyxy=None if box is None else (left, top, right, bottom),
            quality=quality,
            thumbnail=jpeg,
        )

    def _take_models(self, models: Sequence[ModelKey]) -> dict[ModelKey, int]:
        """Make sure that these models may be here; the number of each."""
        index = self._index
        admitted = admit(index.models.values(), models, place=str(self._folder))
        self._connection.executemany(
            "INSERT INTO models (digest, depth, space) VALUES (?, ?, ?) "
            # What a file says of itself may be learned after its first sightings.
            "ON CONFLICT (digest, depth) DO UPDATE SET space = excluded.space "
            "WHERE models.space != excluded.space",
            [(model.digest, model.depth, model.space) for model in admitted],
        )
        if index.digest is None:
            # The first sighting says what this gallery is for.
            self._connection.execute(
                "UPDATE state SET digest = ?, dim = ?", (models[0].digest, models[0].dim)
            )
            if not index.refresh():
                index.require_files().reserve(1)
        index.read_models(index.dim)
        numbers = {model.exit: number for number, model in index.models.items()}
        return {model: numbers[model.exit] for model in models}

    def _insert(
        self,
        sightings: Sequence[Sighting],
        model_ids: Sequence[int],
        embeddings: NDArray[np.float32],
    ) -> list[int]:
        if not sightings:
            return []
        execute, index = self._connection.execute, self._index
        slots = index.columns.free_slots(len(sightings))
        files = index.require_files()
        files.reserve(int(slots[-1]) + 1)
        # Into free slots and before the commit: whoever sees the sighting finds its code there.
        model_numbers = np.array(model_ids, dtype=np.int64)
        cameras = np.array([int(one.camera_id) for one in sightings], dtype=np.int64)
        files.write(slots, index.adapt(embeddings, model_numbers, cameras))
        row = execute("SELECT seq FROM sqlite_sequence WHERE name = 'sightings'").fetchone()
        first = 1 if row is None else row[0] + 1
        ids = list(range(first, first + len(sightings)))
        places = slots.tolist()
        self._connection.executemany(
            "INSERT INTO sightings VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    sighting_id,
                    slot,
                    one.person_id,
                    int(one.camera_id),
                    float(one.time_s),
                    one.model.depth,
                    one.track_id,
                    None if one.box_xyxy is None else np.array(one.box_xyxy, "<f8").tobytes(),
                    float(one.quality),
                    model_id,
                )
                for sighting_id, slot, one, model_id in zip(
                    ids, places, sightings, model_ids, strict=True
                )
            ],
        )
        self._connection.executemany(
            "INSERT INTO embeddings VALUES (?, ?)",
            [
                (sighting_id, row.astype("<f4").tobytes())
                for sighting_id, row in zip(ids, embeddings, strict=True)
            ],
        )
        self._connection.executemany(
            "INSERT INTO thumbnails VALUES (?, ?)",
            [
                (sighting_id, one.thumbnail)
                for sighting_id, one in zip(ids, sightings, strict=True)
                if one.thumbnail is not None
            ],
        )
        self._mark_changed(places)
        self._connection.executemany(
            "DELETE FROM unwiped WHERE slot = ?", [(slot,) for slot in places]
        )
        execute("UPDATE state SET slots = MAX(slots, ?)", (places[-1] + 1,))
        return ids

    def _mark_changed(self, slots: Iterable[int]) -> None:
        self._connection.executemany(
            "INSERT INTO changes (slot) VALUES (?)", [(slot,) for slot in slots]
        )

    def _slots_of(self, ids: Sequence[int]) -> dict[int, int]:
        """Sighting -> slot, of those that are there."""
        found: dict[int, int] = {}
        for start in range(0, len(ids), _IDS_AT_A_TIME):
            part = ids[start : start + _IDS_AT_A_TIME]
            marks = ",".join("?" * len(part))
            found |= dict(
                self._connection.execute(
                    f"SELECT sighting_id, slot FROM sightings WHERE sighting_id IN ({marks})", part
                ).fetchall()
            )
        return found

    def _erase(self, ids: Sequence[int]) -> int:
        slots = self._slots_of(ids)
        keys = [(sighting_id,) for sighting_id in slots]
        for table in ("thumbnails", "embeddings", "sightings"):
            self._connection.executemany(f"DELETE FROM {table} WHERE sighting_id = ?", keys)
        self._connection.executemany(
            "INSERT INTO unwiped VALUES (?)", [(slot,) for slot in slots.values()]
        )
        self._mark_changed(slots.values())
        return len(slots)

    def _assign(self, ids: Sequence[int], person_id: int | None) -> int:
        slots = self._slots_of(ids)
        changed = 0
        for sighting_id, slot in slots.items():
            done = self._connection.execute(
                "UPDATE sightings SET person_id = ? WHERE sighting_id = ? AND person_id IS NOT ?",
                (person_id, sighting_id, person_id),
            ).rowcount
            if done:
                self._mark_changed([slot])
            changed += done
        return changed

    def _drop_surplus(self, person_ids: Iterable[int | None]) -> None:
        """Keep the gallery's rule on templates for these people."""
        (text,) = self._connection.execute("SELECT retention FROM state").fetchone()
        most = None if text is None else Retention.from_json(text).max_templates
        if most is None:
            return
        gone: list[int] = []
        for person_id in person_ids:
            rows = self._connection.execute(
                "SELECT sighting_id, model_id, quality FROM sightings WHERE person_id = ?",
                (person_id,),
            ).fetchall()
            if len(rows) <= most * (1 + _SURPLUS_SHARE):
                continue
            kinds = [template_kind(self._index.models[row[1]]) for row in rows]
            for kind in set(kinds):
                same = [row for row, its in zip(rows, kinds, strict=True) if its == kind]
                ids = np.array([row[0] for row in same])
                qualities = np.array([row[2] for row in same])
                kept = choose_templates(self._index.read_embeddings(ids), qualities, most)
                gone += np.delete(ids, kept).tolist()
        if gone:
            self._erase(gone)

    def _require_persons(self, person_ids: Iterable[int | None]) -> None:
        for person_id in person_ids:
            known = self._connection.execute(
                "SELECT 1 FROM persons WHERE person_id = ?", (person_id,)
            ).fetchone()
            if known is None:
                raise GalleryError(
                    f"{self._folder}: there is no person {person_id}; `adln gallery list` shows "
                    "who there is, and enrolling makes a new one."
                )

    def _require_sightings(self, ids: Sequence[int]) -> None:
        missing = sorted(set(ids) - self._slots_of(ids).keys())
        if missing or not ids:
            raise GalleryError(
                f"{self._folder}: there is no sighting {missing[0] if missing else 'given'}."
            )

    def _name(self, person_id: int) -> str | None:
        row = self._connection.execute(
            "SELECT name FROM persons WHERE person_id = ?", (person_id,)
        ).fetchone()
        name: str | None = row[0]
        return name

    def _new_person(self, name: str | None) -> int:
        if name is not None:
            self._require_free_name(name)
        done = self._connection.execute("INSERT INTO persons (name) VALUES (?)", (name,))
        assert done.lastrowid is not None
        return done.lastrowid

    def _require_free_name(self, name: str, *, but_for: int | None = None) -> None:
        if not name.strip():
            raise GalleryError("A name needs at least one letter; leave it out for no name.")
        taken = self._connection.execute(
            "SELECT person_id FROM persons WHERE name = ?", (name,)
        ).fetchone()
        if taken is not None and taken[0] != but_for:
            raise GalleryError(
                f"{self._folder}: person {taken[0]} is called {name!r} already. Choose another "
                "name, or merge the two if they are one."
            )
        for salt, digest in self._connection.execute("SELECT salt, digest FROM barred_names"):
            if _name_digest(name, salt) == digest:
                raise GalleryError(
                    f"{self._folder}: {name!r} was forgotten on request and must not be enrolled "
                    "again. If they have agreed since, enrol them under another name."
                )

    def _bar_name(self, name: str | None) -> None:
        if name is not None:
            salt = os.urandom(16)
            self._connection.execute(
                "INSERT INTO barred_names VALUES (?, ?)", (salt, _name_digest(name, salt))
            )

    def _suppress(self, person_id: int, records: Sequence[StoredSighting], above: float) -> None:
        numbers = {model: number for number, model in self._index.models.items()}
        for models in group_by_space(record.model for record in records):
            same = [record.embedding for record in records if record.model in models]
            mean = unit_length(np.mean(same, axis=0, dtype=np.float64)).astype("<f4")
            self._connection.execute(
                "INSERT INTO suppressed VALUES (?, ?, ?, ?, ?)",
                (person_id, models[0].depth, above, mean.tobytes(), numbers[models[0]]),
            )

    def _suppressed(
        self, embeddings: NDArray[np.float32], model_ids: Sequence[int]
    ) -> NDArray[np.bool_]:
        models = self._index.models
        refused = np.zeros(len(embeddings), dtype=np.bool_)
        for model_id, above, blob in self._connection.execute(
            "SELECT model_id, above, embedding FROM suppressed"
        ):
            alike = np.vecdot(embeddings, np.frombuffer(blob, "<f4")) >= above
            same = [models[number].shares_space(models[model_id]) for number in model_ids]
            refused |= alike & np.array(same)
        return refused

    def _compared(self, record: StoredSighting) -> NDArray[np.float32]:
        """The embedding (1, D) as it is compared."""
        row = record.embedding.astype(np.float32)[np.newaxis]
        adaptation = self._index.adaptations.get(space_name(record.model))
        if adaptation is None:
            return row
        return adaptation.apply(row, np.array([record.camera_id], dtype=np.int64))

    def _prove(
        self, person_id: int, records: Sequence[StoredSighting], suppress_above: float | None
    ) -> Erasure:
        """Search for somebody who is gone, in the gallery and in its files."""
        erased = {record.sighting_id for record in records}
        found = self.count(Filter(persons=frozenset({person_id}))) + len(self.get(erased))
        for model in {record.model for record in records}:
            same = [record for record in records if record.model == model][:_PROOF_QUERIES]
            queries = np.stack([record.embedding for record in same]).astype(np.float32)
            cameras = np.array([record.camera_id for record in same], dtype=np.int64)
            for result in self._find(queries, same[0].model, _PROOF_ANSWERS, EVERYTHING, cameras):
                found += len(erased.intersection(result.sighting_ids.tolist()))
        needles: list[bytes] = []
        for record in records:
            stored = record.embedding.astype(np.float32)
            needles += pieces(stored.astype("<f4").tobytes())
            compared = self._compared(record)
            needles += pieces(encode(compared).numbers.tobytes())
            needles += pieces(compared.astype("<f4").tobytes())
            if record.thumbnail is not None:
                needles += pieces(_picture_data(record.thumbnail))
        traces = find_traces(self._folder, needles)
        return Erasure(
            person_id=person_id,
            sightings=len(records),
            thumbnails=sum(record.thumbnail is not None for record in records),
            found_by_search=found,
            files_searched=traces.files,
            traces_found=traces.found,
            suppressed_above=suppress_above,
        )


def _picture_data(jpeg: bytes) -> bytes:
    """The part of a JPEG file that is not much the same in all of them: what follows the header."""
    return jpeg[jpeg.rfind(b"\xff\xda") + 1 :]


def _unique(ids: Iterable[int]) -> list[int]:
    return sorted({int(sighting_id) for sighting_id in ids})


def _plain(where: Filter) -> dict[str, Any]:
    """The conditions of a filter that are set, as JSON takes them."""
    set_ones = {
        name: sorted(value) if isinstance(value, frozenset) else value
        for name, value in vars(where).items()
    }
    return {name: value for name, value in set_ones.items() if value not in (None, [])}


def _name_digest(name: str, salt: bytes) -> bytes:
    """A digest that is slow to compute, so that names are slow to guess."""
    same = " ".join(name.casefold().split())
    return hashlib.scrypt(same.encode(), salt=salt, n=2**12, r=8, p=1)
