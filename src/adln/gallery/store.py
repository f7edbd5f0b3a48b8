"""The parts of a gallery in a folder, and its operations within transactions."""

import contextlib
import errno
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from adln.arguments import checked
from adln.errors import GalleryError
from adln.gallery import audit, rows, scan
from adln.gallery.adapting import adaptation_of
from adln.gallery.audit import AuditLog
from adln.gallery.bridging import carry
from adln.gallery.database import (
    DATABASE_NAME,
    FullDiskError,
    connect,
    fill_reserve,
    is_in_place,
    is_read_only,
    plain_errors,
    reading,
    release_reserve,
    writing,
)
from adln.gallery.holding import read_held
from adln.gallery.index import SearchIndex, StaleFilesError
from adln.gallery.people import NewName, PeopleTable, prepare_name
from adln.gallery.records import (
    NO_PERSON,
    Filter,
    ModelKey,
    PersonsResult,
    SearchResult,
    Sighting,
    StoredSighting,
)
from adln.gallery.retention import Retention
from adln.gallery.spaces import admit, template_kind
from adln.gallery.templates import choose_templates
from adln.gallery.wiping import Wiper

# A person may exceed the limit of templates by this share before the surplus is erased: choosing
# one at each sighting would compare all of them each time.
_SURPLUS_SHARE = 0.25
# How long opening and closing a gallery wait for readers, to wipe what is left.
_PATIENCE_S = 1.0
# Number of sightings erased at a time if the disk is full.
ERASED_AT_A_TIME = 100

Answer = TypeVar("Answer")


@dataclass(frozen=True, eq=False)
class Queries:
    """Queries of a search.

    Attributes:
        embeddings: (Q, D) of unit length, from the network.
        cameras: (Q,) camera of each; `adln.gallery.adapting.NO_CAMERA` for none.
    """

    embeddings: NDArray[np.float32]
    cameras: NDArray[np.int64]


@checked(GalleryError)
class GalleryStore:
    """Database, code files and columns of one gallery, kept synchronised.

    Its arguments are those of `adln.gallery.sqlite_gallery.SqliteGallery`.

    Attributes:
        folder: folder of the gallery.
        engine: engine that compares codes, "numkong" or "numpy".

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
        # Absolute, because a program may change its working directory.
        self.folder = Path(folder).absolute()
        self.engine = scan.best_engine() if engine is None else engine
        self._audit_searches = audit_searches
        self._lock = threading.RLock()
        self._closed = False
        self._process = os.getpid()
        self._connection = connect(
            Path(folder), create=create, mapped=not low_memory, more_schema=audit.SCHEMA
        )
        self._path = self.folder / DATABASE_NAME
        self._file = self._path.stat()
        self._is_read_only = is_read_only(self.folder)
        self._index = SearchIndex(
            self._connection,
            self.folder,
            low_memory=low_memory,
            compares_embeddings=self.engine == "numpy",
        )
        self._people = PeopleTable(self._connection, str(self.folder))
        self._wiper = Wiper(self.folder)
        self._log = AuditLog(self._connection, actor=actor, clock=clock)
        try:
            with plain_errors(self.folder):
                self._recover()
        except BaseException:
            self._connection.close()
            raise

    @property
    def low_memory(self) -> bool:
        """Whether embeddings are read from the database."""
        return self._index.low_memory

    def close(self) -> None:
        """See `Gallery`."""
        if self._process != os.getpid():
            # In a fork, the database and any held lock belong to the parent.
            self._closed = True
            return
        with self._lock:
            if self._closed:
                return
            self._closed = True
            try:
                # Acknowledged data is already safe; a full disk only makes the next start slower.
                with contextlib.suppress(GalleryError), plain_errors(self.folder):
                    if is_in_place(self._file, self._path):
                        self._leave_ready()
            finally:
                self._index.close()
                self._connection.close()
                self._wiper.close()
                if not self._is_read_only:
                    # SQLite's temporary files, which may have used the reserve, are gone.
                    fill_reserve(self.folder)

    def __enter__(self) -> Self:
        """The gallery itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        self._require_own()
        with self._lock, plain_errors(self.folder):
            self._require_open()
            if self._connection.in_transaction:
                # Called by a method that already has a transaction.
                yield
                return
            while True:
                with reading(self._connection):
                    if self._index.refresh():
                        yield
                        return
                    if self._is_read_only:
                        self._index.read_into_memory()
                        yield
                        return
                self._rebuild()

    @contextlib.contextmanager
    def _writing(
        self, action: str | None = None, details: Mapping[str, Any] | None = None
    ) -> Iterator[None]:
        """A write transaction that logs an action, with the final content of `details`."""
        self._require_own()
        with self._lock, plain_errors(self.folder):
            self._require_open()
            if self._is_read_only:
                raise GalleryError(
                    f"{self.folder}: this gallery is read-only, because its disk or its "
                    "files cannot be written. Make them writable, or copy the folder and use the "
                    "copy."
                )
            with writing(self._connection):
                if not self._index.refresh():
                    self._index.rebuild()
                yield
                if action is not None:
                    self._log.record(action, details or {})

    def _note(self, action: str, details: Mapping[str, Any]) -> None:
        """Append to the audit log."""
        with self._writing(action, details):
            pass

    @property
    def closed(self) -> bool:
        """Whether it is closed."""
        return self._closed

    def _require_own(self) -> None:
        """Refuse use in a forked process, where SQLite would lose its locks."""
        if self._process != os.getpid():
            raise GalleryError(
                f"{self.folder}: this gallery was opened before this process was forked; open it "
                "again here."
            )

    def _require_open(self) -> None:
        if self._closed:
            raise GalleryError(f"{self.folder}: this gallery was closed; open it again.")
        if not is_in_place(self._file, self._path):
            # What is written would go to a file that has no name any more, and its log would
            # overwrite the file that has.
            raise GalleryError(
                f"{self.folder}: {DATABASE_NAME} was replaced or removed while it was open; what "
                "was written before is in the old file. Stop everything that uses this gallery, "
                f"remove {DATABASE_NAME}-wal and {DATABASE_NAME}-shm, which belong to the old "
                f"file, put the wanted {DATABASE_NAME} in place again, and start anew."
            ) from OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    def _rebuild(self) -> None:
        with writing(self._connection):
            if not self._index.refresh():
                self._index.rebuild()
        self._index.remove_leftovers()

    def _prepare(self, name: str | None) -> NewName:
        """A name with its digests, computed without blocking other writers."""
        with self._reading():
            salts = self._people.salts()
        return prepare_name(name, salts)

    def _recover(self) -> None:
        """Finish what a crash or a power cut interrupted."""
        with self._reading():
            (unwiped,) = self._connection.execute("SELECT COUNT(*) FROM unwiped").fetchone()
        if unwiped and not self._is_read_only:
            try:
                self._wiper.wipe(wait_s=_PATIENCE_S)
            except GalleryError:
                # Others are reading, or the disk is full: the gallery can still be used.
                self._wiper.wipe_soon()

    def _leave_ready(self) -> None:
        """Overwrite erased data, and save the columns for a quick next start."""
        if self._is_read_only:
            return
        with contextlib.suppress(GalleryError):
            self._wiper.wipe(wait_s=_PATIENCE_S)
        if self._index.files is None or not fill_reserve(self.folder):
            return
        with reading(self._connection):
            ready = self._index.refresh() and self._index.is_ready()
        if not ready:
            with writing(self._connection):
                if self._index.refresh():
                    self._index.make_ready()

    def _erasing(
        self, ids: list[int], erase: Callable[[list[int]], None], details: Mapping[str, Any]
    ) -> int:
        """Erase sightings at once, or in small batches if the disk lacks space for that.

        Returns:
            The number erased.
        """
        erased = 0
        try:
            erase(ids)
            erased = int(details["sightings"])
        except FullDiskError:
            try:
                for start in range(0, len(ids), ERASED_AT_A_TIME):
                    part = ids[start : start + ERASED_AT_A_TIME]
                    self._with_reserve(partial(erase, part))
                    erased += int(details["sightings"])
                    self._free_log()
            finally:
                fill_reserve(self.folder)
        self._wiper.wipe_soon()
        return erased

    def _with_reserve(self, do: Callable[[], Answer]) -> Answer:
        """Run an erasing operation; on a full disk, with the reserved space."""
        while True:
            try:
                return do()
            except FullDiskError:
                if not release_reserve(self.folder):
                    raise

    def _free_log(self) -> None:
        """Move the log's content to the database, and free the log's space."""
        with contextlib.suppress(GalleryError):
            self._with_reserve(partial(self._wiper.wipe, wait_s=0.0))

    def _passing(self, where: Filter) -> NDArray[np.int64]:
        columns = self._index.columns
        return columns.sighting_ids[columns.mask(where)]

    def _find(self, queries: Queries, model: ModelKey, k: int, where: Filter) -> list[SearchResult]:
        """The most similar sightings."""

        def answer() -> tuple[list[SearchResult], NDArray[np.int64]]:
            wanted = [scan.Wanted(self._comparable(model, where), k)]
            (results,), slots = self._compare(self._adapted(queries, model), wanted)
            return results, slots

        return self._holding(answer)

    def _find_persons(
        self,
        queries: Queries,
        model: ModelKey,
        k: int,
        where: Filter,
        without: Sequence[int],
        *,
        named: bool,
        sightings: int,
    ) -> list[PersonsResult]:
        """The most similar persons, and the most similar sightings if some are wanted."""

        def answer() -> tuple[list[PersonsResult], NDArray[np.int64]]:
            columns = self._index.columns
            passing = self._comparable(model, where)
            if without:
                passing &= ~np.isin(columns.sighting_ids, without)
            mask = passing & (columns.person_ids != NO_PERSON)
            if named:
                mask &= np.isin(columns.person_ids, list(self._people.named()))
            wanted = [scan.Wanted(mask, k, columns.person_ids)]
            if sightings:
                wanted.append(scan.Wanted(passing, sightings))
            (persons, *more), slots = self._compare(self._adapted(queries, model), wanted)
            count = columns.count_persons(mask)
            found = more[0] if more else [None] * len(persons)
            results = [
                self._persons_result(best, count, its)
                for best, its in zip(persons, found, strict=True)
            ]
            return results, slots

        return self._holding(answer)

    def _holding(
        self, answer: Callable[[], tuple[list[Answer], NDArray[np.int64]]]
    ) -> list[Answer]:
        """Answers that are still valid at the end of the search.

        Args:
            answer: returns them and all slots in them; called inside a transaction.
        """
        with self._lock:
            while True:
                try:
                    with self._reading():
                        results, slots = answer()
                except StaleFilesError as stale:
                    self._repair(stale.slots)
                    continue
                # A slot may have been emptied and refilled during the comparison.
                with plain_errors(self.folder), reading(self._connection):
                    if self._index.still_holds(slots):
                        return results

    def _repair(self, suspects: NDArray[np.int64]) -> None:
        """Rewrite wrong slots of the files, or, if they cannot be written, work without them."""
        if self._is_read_only:
            with self._reading():
                self._index.read_into_memory()
            return
        with self._writing():
            self._index.repair(suspects)

    def _comparable(self, model: ModelKey, where: Filter) -> NDArray[np.bool_]:
        """(S,) mask of the slots that pass and are comparable with a network's queries."""
        index = self._index
        if index.digest is None:
            return np.zeros(0, np.bool_)
        model = self._as_here(model)
        return index.columns.mask(where, models=index.comparable(model))

    def _as_here(self, model: ModelKey) -> ModelKey:
        """A network, with its space if known here.

        Raises:
            GalleryError: Its embeddings cannot be compared with any in the gallery.
        """
        (known,) = admit(self._index.models.values(), [model], place=str(self.folder))
        return known

    def _adapted(self, queries: Queries, model: ModelKey) -> NDArray[np.float32]:
        """Embeddings (Q, D) of queries, after bridges and adaptation."""
        index = self._index
        if not index.compares_changed:
            return queries.embeddings
        known = self._as_here(model)
        carried = carry(index.bridges, known, queries.embeddings)
        adaptation = adaptation_of(index.adaptations, known)
        return carried if adaptation is None else adaptation.apply(carried, queries.cameras)

    def _compared(self, record: StoredSighting) -> NDArray[np.float32]:
        """Embedding (D,) of a sighting, after bridges and adaptation."""
        camera = np.array([record.camera_id], dtype=np.int64)
        row = record.embedding.astype(np.float32)[np.newaxis]
        compared: NDArray[np.float32] = self._adapted(Queries(row, camera), record.model)[0]
        return compared

    def _compare(
        self, queries: NDArray[np.float32], wanted: Sequence[scan.Wanted]
    ) -> tuple[list[list[SearchResult]], NDArray[np.int64]]:
        """The answers to the queries for each search, and all slots in them."""
        index, columns = self._index, self._index.columns
        nothing = np.empty(0, np.int64)
        if not any(one.mask.any() for one in wanted):
            none = self._result(nothing, nothing.astype(np.float32))
            return [[none] * len(queries) for _ in wanted], nothing
        index.verify()
        found: list[list[scan.Best]] = [[] for _ in wanted]
        for batch in scan.batches(len(queries)):
            comparison = scan.compare(
                queries[batch],
                index.codes,
                engine=self.engine,
                low_memory=index.low_memory or index.compares_changed,
            )
            answers = scan.find_best(
                comparison, queries[batch], wanted, columns.sighting_ids, index.fetch
            )
            for its, more in zip(found, answers, strict=True):
                its += more
        slots = np.unique(np.concatenate([nothing, *(slots for its in found for slots, _ in its)]))
        return [[self._result(*best) for best in its] for its in found], slots

    def _persons_result(
        self, best: SearchResult, num_persons: int, sightings: SearchResult | None
    ) -> PersonsResult:
        return PersonsResult(
            best=best,
            names=tuple(self._people.name_of(person) for person in best.person_ids.tolist()),
            num_persons=num_persons,
            sightings=sightings,
        )

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

    def _take_models(self, models: Sequence[ModelKey]) -> dict[ModelKey, int]:
        """Check that these networks are admitted; returns the number of each."""
        index = self._index
        admitted = admit(index.models.values(), models, place=str(self.folder))
        rows.take_models(self._connection, admitted)
        if index.digest is None:
            # The first sighting determines the networks of this gallery.
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
        # Into free slots, before the commit: readers that see the sighting find its code.
        compared = index.adapt(
            embeddings,
            np.array(model_ids, dtype=np.int64),
            np.array([one.camera_id for one in sightings], dtype=np.int64),
        )
        sums = files.write(slots, embeddings, compared)
        row = execute("SELECT seq FROM sqlite_sequence WHERE name = 'sightings'").fetchone()
        first = 1 if row is None else row[0] + 1
        ids = list(range(first, first + len(sightings)))
        places = slots.tolist()
        rows.write_rows(self._connection, ids, places, sightings, model_ids, embeddings, sums)
        index.mark_changed(places)
        self._connection.executemany(
            "DELETE FROM unwiped WHERE slot = ?", [(slot,) for slot in places]
        )
        execute("UPDATE state SET slots = MAX(slots, ?)", (places[-1] + 1,))
        return ids

    def _erase(self, ids: Sequence[int]) -> int:
        slots = rows.erase_rows(self._connection, ids)
        self._index.mark_changed(slots.values())
        return len(slots)

    def _assign(self, ids: Sequence[int], person_id: int | None) -> int:
        slots = rows.assign_rows(self._connection, ids, person_id)
        self._index.mark_changed(slots)
        return len(slots)

    def _drop_surplus(self, person_ids: Iterable[int | None]) -> None:
        """Apply `max_templates` to these people, but for those who are held."""
        (text,) = self._connection.execute("SELECT retention FROM state").fetchone()
        most = None if text is None else Retention.from_json(text).max_templates
        if most is None:
            return
        gone: list[int] = []
        held = read_held(self._connection)
        for person_id in person_ids:
            if person_id in held:
                continue
            theirs = self._connection.execute(
                "SELECT sighting_id, model_id, quality FROM sightings WHERE person_id = ?",
                (person_id,),
            ).fetchall()
            if len(theirs) <= most * (1 + _SURPLUS_SHARE):
                continue
            kinds = [template_kind(self._index.models[row[1]]) for row in theirs]
            for kind in set(kinds):
                same = [row for row, its in zip(theirs, kinds, strict=True) if its == kind]
                ids = np.array([row[0] for row in same])
                qualities = np.array([row[2] for row in same])
                kept = choose_templates(self._index.read_embeddings(ids), qualities, most)
                gone += np.delete(ids, kept).tolist()
        if gone:
            self._erase(gone)
            self._wiper.wipe_soon()

    def _require_sightings(self, ids: Sequence[int]) -> None:
        missing = sorted(set(ids) - rows.slots_of(self._connection, ids).keys())
        if missing or not ids:
            raise GalleryError(
                f"{self.folder}: there is no sighting {missing[0] if missing else 'given'}."
            )
