"""What a process keeps of a gallery to search it: columns in memory, codes mapped from files.

Follows the database: each change there is a row in `changes`, which says which slot to read anew.
"""

import contextlib
import sqlite3
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adln.gallery.adapting import adapt_rows, read_adaptations
from adln.gallery.codes import CodeFiles, remove_other_epochs, wipe_file
from adln.gallery.columns import Columns
from adln.gallery.database import empty_log, writing
from adln.gallery.records import NO_PERSON, ModelKey
from adln.matching.adaptation import Adaptation

_ROWS_AT_A_TIME = 20_000
_IDS_AT_A_TIME = 500
# After so many new sightings the code files are synced, which bounds what is checked at a start.
_SYNC_EVERY = 20_000
# A process that has not looked for so many changes reads all columns anew.
_CHANGES_KEPT = 200_000
_COLUMNS_NAME = "columns.npz"
_PARTIAL_NAME = "columns.partial"
# So many changes are followed at a start as fast as saved columns are read.
_WORTH_SAVING = 5_000
_COLUMNS_SQL = (
    f"SELECT slot, sighting_id, IFNULL(person_id, {NO_PERSON}), time_s, camera_id, depth, model_id "
    "FROM sightings"
)


class SearchIndex:
    """Columns and code files of one process, in step with the database.

    Args:
        connection: the gallery's database.
        folder: of the gallery.
        low_memory: read embeddings from the database, even if a mapped file has them.
    """

    def __init__(self, connection: sqlite3.Connection, folder: Path, *, low_memory: bool) -> None:
        self._connection = connection
        self._folder = folder
        self._wants_database = low_memory
        self._epoch = -1
        self._mapped = False
        self._saved_change_id = 0
        self.change_id = 0
        self.digest: str | None = None
        self.dim = 0
        self.models: dict[int, ModelKey] = {}
        self._model_rows: list[tuple[int, str, int, str]] = []
        self.adaptations: dict[str, Adaptation] = {}
        self.columns = Columns()
        self.files: CodeFiles | None = None

    @property
    def low_memory(self) -> bool:
        """Whether embeddings are read from the database."""
        return self._wants_database or not self._mapped

    def refresh(self) -> bool:
        """Catch up with the database as the open transaction sees it.

        Returns:
            False if the code files are missing or too short: `rebuild` is needed.
        """
        epoch, slots, digest, dim, mapped, change_id = self._connection.execute(
            "SELECT epoch, slots, digest, dim, mapped, "
            "(SELECT IFNULL(MAX(change_id), 0) FROM changes) FROM state"
        ).fetchone()
        if digest is None:
            # Also after a first sighting whose transaction did not get through.
            self.close()
            self.digest, self.files, self._epoch = None, None, -1
            self.columns, self.change_id = Columns(), 0
            self.models, self._model_rows = {}, []
            return True
        self.read_models(dim)
        if epoch != self._epoch or digest != self.digest:
            if self.files is not None:
                self.files.close()
            self.files = CodeFiles(self._folder, epoch, dim, with_embeddings=bool(mapped))
            self.digest, self.dim, self._mapped, self._epoch = digest, dim, bool(mapped), epoch
            self.adaptations = read_adaptations(self._connection)
            self._load_columns(epoch, slots, change_id)
        if self.change_id != change_id:
            self._follow(slots)
            self.change_id = change_id
        assert self.files is not None
        return self.files.open(slots)

    def read_models(self, dim: int) -> None:
        """Take over the models as the open transaction sees them; there are a few at most."""
        # Read anew each time: a number may have been given in a transaction that did not get
        # through, and then to another model.
        rows = self._connection.execute(
            "SELECT model_id, digest, depth, space FROM models ORDER BY model_id"
        ).fetchall()
        if rows != self._model_rows:
            self._model_rows = rows
            self.models = {
                model_id: ModelKey(digest, depth, dim, space)
                for model_id, digest, depth, space in rows
            }

    def comparable(self, model: ModelKey) -> frozenset[int] | None:
        """Numbers of the models whose embeddings can be compared with this one's.

        None if that is all of them.
        """
        numbers = {number for number, one in self.models.items() if one.shares_space(model)}
        return None if len(numbers) == len(self.models) else frozenset(numbers)

    def still_holds(self, slots: NDArray[np.int64]) -> bool:
        """Whether these slots were not given to other sightings since the last `refresh`.

        To be asked in a newer transaction than the one of that `refresh`.
        """
        if len(slots) == 0:
            return True
        epoch, change_id = self._connection.execute(
            "SELECT epoch, (SELECT IFNULL(MAX(change_id), 0) FROM changes) FROM state"
        ).fetchone()
        if change_id == self.change_id and epoch == self._epoch:
            return True
        changed = self._connection.execute(
            "SELECT DISTINCT slot FROM changes WHERE change_id > ?", (self.change_id,)
        ).fetchall()
        return (
            epoch == self._epoch
            and not np.isin(slots, np.array(changed, dtype=np.int64).ravel()).any()
        )

    def require_files(self) -> CodeFiles:
        """The code files, after a successful `refresh`."""
        assert self.files is not None
        return self.files

    def fetch(self, slots: NDArray[np.int64]) -> NDArray[np.float32]:
        """Exact embeddings (M, D), as they are compared, of the sightings in slots (M,)."""
        embeddings = None if self.low_memory else self.require_files().embeddings
        if embeddings is not None:
            return embeddings[slots]
        return self.adapt(
            self.read_embeddings(self.columns.sighting_ids[slots]),
            self.columns.model_ids[slots].astype(np.int64),
            self.columns.camera_ids[slots].astype(np.int64),
        )

    def adapt(
        self,
        embeddings: NDArray[np.float32],
        model_ids: NDArray[np.int64],
        cameras: NDArray[np.int64],
    ) -> NDArray[np.float32]:
        """Embeddings (N, D) as they are compared; see `adln.gallery.adapting`."""
        return adapt_rows(self.adaptations, embeddings, self.models, model_ids, cameras)

    def read_embeddings(self, sighting_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Exact embeddings (M, D) of sightings (M,) from the database."""
        found = np.empty((len(sighting_ids), self.dim), np.float32)
        order = np.argsort(sighting_ids)
        for start in range(0, len(order), _IDS_AT_A_TIME):
            part = order[start : start + _IDS_AT_A_TIME]
            marks = ",".join("?" * len(part))
            rows = self._connection.execute(
                "SELECT embedding FROM embeddings "
                f"WHERE sighting_id IN ({marks}) ORDER BY sighting_id",
                sighting_ids[part].tolist(),
            )
            blobs = b"".join([blob for (blob,) in rows])
            found[part] = np.frombuffer(blobs, "<f4").reshape(-1, self.dim)
        return found

    def rebuild(self) -> None:
        """Write all code files anew, without free slots; the caller holds a write transaction.

        Other processes notice by the epoch. The old files are wiped by `remove_leftovers`, when
        the transaction is through.
        """
        (epoch, dim, mapped) = self._connection.execute(
            "SELECT epoch, dim, mapped FROM state"
        ).fetchone()
        count, last = self._connection.execute(
            "SELECT COUNT(*), IFNULL(MAX(sighting_id), 0) FROM sightings"
        ).fetchone()
        self._epoch = -1
        self.adaptations = read_adaptations(self._connection)
        # Of an attempt that did not end, files may be left that are not to be added to.
        remove_other_epochs(self._folder, epoch)
        files = CodeFiles(self._folder, epoch + 1, dim, with_embeddings=bool(mapped))
        files.reserve(count)
        slots = 0
        ids: list[int] = []
        for _, embeddings, part in self._stored("sighting_id > 0"):
            files.write(np.arange(slots, slots + len(part)), embeddings)
            slots += len(part)
            ids += part
        files.sync()
        files.close()
        # Slots are unique at every moment, so that all go out of the way first.
        self._connection.execute("UPDATE sightings SET slot = -1 - slot")
        self._connection.executemany(
            "UPDATE sightings SET slot = ? WHERE sighting_id = ?", enumerate(ids)
        )
        self._connection.execute("DELETE FROM unwiped")
        self._connection.execute(
            "UPDATE state SET epoch = ?, slots = ?, synced_id = ?", (epoch + 1, count, last)
        )
        self.refresh()

    def check_unsynced(self) -> bool:
        """Whether codes that were not synced to the disk yet are what they should be.

        They are not after a power cut. The caller has a transaction open.
        """
        files = self.require_files()
        where = "sighting_id > (SELECT synced_id FROM state)"
        return all(files.hold(slots, embeddings) for slots, embeddings, _ in self._stored(where))

    def repair_unsynced(self) -> None:
        """Write such codes anew; the caller holds a write transaction."""
        files = self.require_files()
        where = "sighting_id > (SELECT synced_id FROM state)"
        for slots, embeddings, _ in self._stored(where):
            files.write(slots, embeddings)
        self._mark_synced()

    def sync_if_due(self, *, at_least: int = _SYNC_EVERY) -> None:
        """Sync the files now and then, save columns; the caller holds a write transaction."""
        if self._unsynced() >= at_least:
            self._mark_synced()
            if self.change_id - self._saved_change_id >= _WORTH_SAVING:
                self._save_columns()
            self._connection.execute(
                "DELETE FROM changes WHERE change_id <= (SELECT MAX(change_id) FROM changes) - ?",
                (_CHANGES_KEPT,),
            )

    def is_ready(self) -> bool:
        """Whether the next start will be quick, as far as the open transaction sees."""
        return self._unsynced() == 0 and self.change_id - self._saved_change_id < _WORTH_SAVING

    def make_ready(self) -> None:
        """Sync and save what makes the next start quick; needs a write transaction."""
        self.sync_if_due(at_least=1)
        if self.change_id - self._saved_change_id >= _WORTH_SAVING:
            self._save_columns()

    def _save_columns(self) -> None:
        path = self._folder / _COLUMNS_NAME
        partial = self._folder / _PARTIAL_NAME
        tags = {"epoch": np.array(self._epoch), "change_id": np.array(self.change_id)}
        with partial.open("wb") as file:
            np.savez(file, **tags, **self.columns.saved())  # type: ignore[arg-type]
        wipe_file(path)
        partial.replace(path)
        self._saved_change_id = self.change_id

    def wipe(self) -> None:
        """Remove the bytes of all erased sightings from the files and from the log."""
        with writing(self._connection):
            if not self.refresh():
                self.rebuild()
            rows = self._connection.execute("SELECT slot FROM unwiped ORDER BY slot").fetchall()
            if rows:
                self.require_files().wipe(np.array(rows, dtype=np.int64).ravel())
                self._connection.execute("DELETE FROM unwiped")
            self._forget_columns()
        self.remove_leftovers()
        empty_log(self._connection)

    def remove_leftovers(self) -> None:
        """Wipe and remove files of other epochs."""
        # Under the lock, so that no other process is writing such files right now.
        with writing(self._connection):
            (epoch,) = self._connection.execute("SELECT epoch FROM state").fetchone()
            remove_other_epochs(self._folder, epoch)

    def close(self) -> None:
        """Let go of the maps."""
        if self.files is not None:
            self.files.close()

    def _unsynced(self) -> int:
        waiting: int = self._connection.execute(
            "SELECT IFNULL((SELECT seq FROM sqlite_sequence WHERE name = 'sightings'), 0) "
            "- synced_id FROM state"
        ).fetchone()[0]
        return waiting

    def _mark_synced(self) -> None:
        self.require_files().sync()
        self._connection.execute(
            "UPDATE state SET synced_id = "
            "IFNULL((SELECT seq FROM sqlite_sequence WHERE name = 'sightings'), 0)"
        )

    def _forget_columns(self) -> None:
        # They hold who was seen when, also of those who were erased since.
        wipe_file(self._folder / _COLUMNS_NAME)
        wipe_file(self._folder / _PARTIAL_NAME)
        self._saved_change_id = 0

    def _load_columns(self, epoch: int, slots: int, change_id: int) -> None:
        # Missing, just being replaced or damaged: then the database has it all.
        with (
            contextlib.suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile),
            np.load(self._folder / _COLUMNS_NAME, allow_pickle=False) as saved,
        ):
            # Saved by another process, they may be ahead of what this transaction sees.
            if int(saved["epoch"]) == epoch and int(saved["change_id"]) <= change_id:
                columns = Columns()
                columns.restore(saved)
                self.columns, self.change_id = columns, int(saved["change_id"])
                self._saved_change_id = self.change_id
                return
        self._read_all_columns(slots)
        self.change_id = change_id

    def _read_all_columns(self, slots: int) -> None:
        self.columns = Columns()
        self.columns.set_slots(slots)
        self._put(self._connection.execute(_COLUMNS_SQL))

    def _follow(self, slots: int) -> None:
        (oldest,) = self._connection.execute(
            "SELECT IFNULL(MIN(change_id), 1) FROM changes"
        ).fetchone()
        if self.change_id < oldest - 1:
            self._read_all_columns(slots)
            return
        self.columns.set_slots(slots)
        recent = "SELECT DISTINCT slot FROM changes WHERE change_id > ?"
        changed = self._connection.execute(recent, (self.change_id,)).fetchall()
        self.columns.free(slot for (slot,) in changed if slot < slots)
        self._put(
            self._connection.execute(f"{_COLUMNS_SQL} WHERE slot IN ({recent})", (self.change_id,))
        )

    def _put(self, rows: sqlite3.Cursor) -> None:
        while batch := rows.fetchmany(_ROWS_AT_A_TIME):
            self.columns.put(batch)

    def _stored(
        self, where: str
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32], list[int]]]:
        """Slots, embeddings and ids of sightings by ascending id, in batches."""
        rows = self._connection.execute(
            "SELECT slot, embedding, sighting_id, model_id, camera_id FROM sightings "
            f"JOIN embeddings USING (sighting_id) WHERE {where} ORDER BY sighting_id"
        )
        while batch := rows.fetchmany(_ROWS_AT_A_TIME // 4):
            slots, blobs, ids, models, cameras = zip(*batch, strict=True)
            embeddings = np.frombuffer(b"".join(blobs), "<f4").reshape(len(batch), -1)
            adapted = self.adapt(embeddings.astype(np.float32), np.array(models), np.array(cameras))
            yield np.array(slots, dtype=np.int64), adapted, list(ids)
