"""The search index of one process: columns in memory and codes mapped from files.

It follows the database: each change there is a row in `changes` with the slot to read again.
"""

import contextlib
import secrets
import sqlite3
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adln.errors import GalleryError
from adln.gallery.adapting import adapt_rows, read_adaptations, read_calibrations
from adln.gallery.bridging import bridge_rows, read_bridges
from adln.gallery.codes import CodeFiles, Codes, encode_embeddings, remove_other_epochs, wipe_file
from adln.gallery.columns import Columns
from adln.gallery.database import open_private, writing
from adln.gallery.people import NAMES_MARK
from adln.gallery.records import NO_PERSON, ModelKey
from adln.gallery.schema import rows_if_made
from adln.gallery.sums import ROW_SUM_SQL, blob_sum, row_sums
from adln.matching.adaptation import Adaptation
from adln.matching.bridge import Bridge
from adln.matching.calibration import Calibration

_ROWS_AT_A_TIME = 20_000
_IDS_AT_A_TIME = 500
_SLOTS_AT_A_TIME = 65_536
# After this many changes, the columns are saved and old changes are dropped.
_SAVE_EVERY = 20_000
# A process that is behind by this many changes reads all columns again.
_CHANGES_KEPT = 200_000
COLUMNS_NAMES = ("columns.npz", "columns.partial")
"""Files with saved columns (who was seen when): the current one, and one being written."""
# So many changes are followed at a start as fast as saved columns are read.
_WORTH_SAVING = 5_000
_TOKEN_BYTES = 16
_COLUMNS_SQL = (
    f"SELECT slot, sighting_id, IFNULL(person_id, {NO_PERSON}), time_s, camera_id, depth, "
    f"model_id, IFNULL(embedding_sum, 0), IFNULL(code_sum, 0), row_sum IS {ROW_SUM_SQL} "
    "FROM sightings"
)


class StaleFilesError(Exception):
    """The files beside the database do not match it.

    Attributes:
        slots: the slots concerned, as far as known.
    """

    def __init__(self, slots: NDArray[np.int64]) -> None:
        super().__init__(slots)
        self.slots = slots


class SearchIndex:
    """Columns and code files of one process, synchronised with the database.

    Args:
        connection: the gallery's database.
        folder: folder of the gallery.
        low_memory: read embeddings from the database, even if a mapped file has them.
        compares_embeddings: whether searches read the embeddings of the mapped file, if there is
            one, instead of the codes.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        folder: Path,
        *,
        low_memory: bool,
        compares_embeddings: bool = False,
    ) -> None:
        self._connection = connection
        self._folder = folder
        self._wants_database = low_memory
        self._compares_embeddings = compares_embeddings
        self._is_verified = False
        # Embeddings of the mapped file that were found to be right.
        self._are_right = np.zeros(0, np.bool_)
        self._in_memory: Codes | None = None
        self._epoch = -1
        self._mapped = False
        self._saved_change_id = 0
        self.change_id = 0
        self.digest: str | None = None
        self.dim = 0
        self.models: dict[int, ModelKey] = {}
        self._model_rows: list[tuple[int, str, int, str]] = []
        self.bridges: dict[str, Bridge] = {}
        self.adaptations: dict[str, Adaptation] = {}
        self.calibrations: dict[str, Calibration] = {}
        self.columns = Columns()
        self.files: CodeFiles | None = None

    @property
    def low_memory(self) -> bool:
        """Whether embeddings are read from the database."""
        return self._wants_database or not self._mapped or self._in_memory is not None

    def refresh(self) -> bool:
        """Synchronise with the database, in the open transaction.

        Returns:
            False if the code files are missing or too short: `rebuild` is needed.
        """
        epoch, slots, digest, dim, mapped, change_id = self._connection.execute(
            "SELECT epoch, slots, digest, dim, mapped, "
            "(SELECT IFNULL(MAX(change_id), 0) FROM changes) FROM state"
        ).fetchone()
        if digest is None:
            # Also after a first sighting whose transaction failed.
            self.close()
            self.digest, self.files, self._epoch, self._in_memory = None, None, -1, None
            self.columns, self.change_id = Columns(), 0
            self.models, self._model_rows = {}, []
            self.bridges, self.adaptations, self.calibrations = {}, {}, {}
            return True
        self.read_models(dim)
        # A lower number means that the database was replaced by another one.
        if epoch != self._epoch or digest != self.digest or change_id < self.change_id:
            if self.files is not None:
                self.files.close()
            self.files = CodeFiles(self._folder, epoch, dim, with_embeddings=bool(mapped))
            self.digest, self.dim, self._mapped, self._epoch = digest, dim, bool(mapped), epoch
            self._is_verified, self._in_memory = False, None
            self._read_changes()
            self._load_columns(epoch, slots, change_id)
            self._are_right = np.zeros(slots, np.bool_)
        if self.change_id != change_id:
            self._follow(slots)
            self.change_id = change_id
            self._in_memory = None
        assert self.files is not None
        return self._in_memory is not None or self.files.open(slots)

    def _read_changes(self) -> None:
        """Read bridges and adaptations, in the open transaction."""
        self.bridges = read_bridges(self._connection)
        self.adaptations = read_adaptations(self._connection)
        self.calibrations = read_calibrations(self._connection)

    @property
    def compares_changed(self) -> bool:
        """Whether bridges or adaptations apply."""
        return bool(self.bridges or self.adaptations)

    def read_models(self, dim: int) -> None:
        """Read the networks, in the open transaction; there are only a few."""
        # Read each time: a number may have been assigned in a transaction that failed, and then
        # again to another network.
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
        """Numbers of the networks with embeddings comparable with this one's; None for all."""
        numbers = {number for number, one in self.models.items() if one.shares_space(model)}
        return None if len(numbers) == len(self.models) else frozenset(numbers)

    def still_holds(self, slots: NDArray[np.int64]) -> bool:
        """Whether these slots still hold the same sightings as at the last `refresh`.

        Call it in a newer transaction than that of the `refresh`.
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

    @property
    def codes(self) -> CodeFiles | Codes:
        """The codes that searches read, after a successful `refresh`."""
        return self.require_files() if self._in_memory is None else self._in_memory

    def verify(self) -> None:
        """Check, once, that the codes match the database's embeddings.

        Raises:
            StaleFilesError: They do not: files are damaged, were lost in a power cut, or belong to
                another state of the database.
        """
        if self._is_verified or self._in_memory is not None:
            return
        wrong = self._wrong_slots()
        if len(wrong) > 0:
            raise StaleFilesError(wrong)
        self._is_verified = True

    def repair(self, suspects: NDArray[np.int64]) -> None:
        """Rewrite wrong slots of the files; needs a write transaction.

        Args:
            suspects: slots that are rewritten in any case, if in use.

        Raises:
            GalleryError: The database is damaged, too.
        """
        suspects = suspects[suspects < self.columns.slots]
        suspects = suspects[self.columns.depths[suspects] > 0]
        slots = np.union1d(self._wrong_slots(), suspects)
        for start in range(0, len(slots), _ROWS_AT_A_TIME // 4):
            part = slots[start : start + _ROWS_AT_A_TIME // 4]
            ids = self.columns.sighting_ids[part]
            stored = self.read_embeddings(ids)
            sums = self.require_files().write(part, stored, self._adapt_slots(stored, part))
            # Rounding differs between machines.
            new = np.flatnonzero(sums != self.columns.code_sums[part])
            self._connection.executemany(
                "UPDATE sightings SET code_sum = ? WHERE sighting_id = ?",
                zip(sums[new].tolist(), ids[new].tolist(), strict=True),
            )
            self.mark_changed(part[new].tolist())
            self.columns.code_sums[part] = sums
        self._is_verified = True

    def read_into_memory(self) -> None:
        """Compute the codes in memory, if the files are wrong and cannot be written."""
        numbers = np.zeros((self.columns.slots, self.dim), np.int8)
        scales, errors = np.zeros((2, self.columns.slots), np.float32)
        for slots, _, compared, _ in self._stored("sighting_id > 0"):
            codes = encode_embeddings(compared)
            numbers[slots], scales[slots], errors[slots] = codes.numbers, codes.scales, codes.errors
        self._in_memory = Codes(numbers, scales, errors)

    def mark_changed(self, slots: Iterable[int]) -> None:
        """Record for all processes that these slots changed."""
        self._connection.executemany(
            "INSERT INTO changes (slot) VALUES (?)", [(slot,) for slot in slots]
        )

    def fetch(self, slots: NDArray[np.int64]) -> NDArray[np.float32]:
        """Exact embeddings (M, D) of slots (M,), after bridges and adaptation.

        Raises:
            StaleFilesError: The file does not match the database.
        """
        embeddings = None if self.low_memory else self.codes.embeddings
        if embeddings is None:
            found = self.read_embeddings(self.columns.sighting_ids[slots])
            return self._adapt_slots(found, slots)
        found = embeddings[slots]
        new = np.flatnonzero(~self._are_right[slots])
        wrong = row_sums(found[new]) != self.columns.embedding_sums[slots[new]]
        if wrong.any():
            raise StaleFilesError(slots[new[wrong]])
        self._are_right[slots] = True
        return self._adapt_slots(found, slots)

    def adapt(
        self,
        embeddings: NDArray[np.float32],
        model_ids: NDArray[np.int64],
        cameras: NDArray[np.int64],
    ) -> NDArray[np.float32]:
        """Apply bridges, then adaptation, to embeddings (N, D).

        See `adln.gallery.bridging` and `adln.gallery.adapting`.
        """
        carried = bridge_rows(self.bridges, embeddings, self.models, model_ids)
        return adapt_rows(self.adaptations, carried, self.models, model_ids, cameras)

    def _adapt_slots(
        self, embeddings: NDArray[np.float32], slots: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Apply bridges and adaptation to embeddings (M, D) of slots (M,)."""
        return self.adapt(
            embeddings,
            self.columns.model_ids[slots].astype(np.int64),
            self.columns.camera_ids[slots].astype(np.int64),
        )

    def read_embeddings(self, sighting_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Exact embeddings (M, D) of sightings (M,) from the database.

        Raises:
            GalleryError: One is damaged.
        """
        found = np.empty((len(sighting_ids), self.dim), np.float32)
        order = np.argsort(sighting_ids)
        for start in range(0, len(order), _IDS_AT_A_TIME):
            part = order[start : start + _IDS_AT_A_TIME]
            marks = ",".join("?" * len(part))
            rows = self._connection.execute(
                "SELECT sighting_id, embedding, embedding_sum FROM embeddings JOIN sightings "
                f"USING (sighting_id) WHERE sighting_id IN ({marks}) ORDER BY sighting_id",
                sighting_ids[part].tolist(),
            ).fetchall()
            if len(rows) != len(part):
                raise self.damaged("an embedding is missing")
            for place, row in zip(part, rows, strict=True):
                found[place] = self.checked_embedding(*row)
        return found

    def checked_embedding(
        self, sighting_id: int, blob: bytes, expected_sum: int | None
    ) -> NDArray[np.float32]:
        """An embedding (D,) from the database, checked.

        Raises:
            GalleryError: It is damaged.
        """
        if (
            not isinstance(blob, bytes)
            or len(blob) != 4 * self.dim
            or blob_sum(blob) != expected_sum
        ):
            raise self.damaged(f"the embedding of sighting {sighting_id} is not what was stored")
        return np.frombuffer(blob, "<f4").astype(np.float32)

    def damaged(self, what: str) -> GalleryError:
        """The error for a damaged database."""
        return GalleryError(
            f"{self._folder}: the database is damaged ({what}). Restore the folder from a copy or "
            "from an export; single sightings can be erased by `adln gallery delete`."
        )

    def rebuild(self) -> None:
        """Rewrite all code files without free slots; needs a write transaction.

        Other processes notice the new epoch. `remove_leftovers` wipes the old files after the
        transaction.
        """
        (epoch, dim, mapped) = self._connection.execute(
            "SELECT epoch, dim, mapped FROM state"
        ).fetchone()
        (count,) = self._connection.execute("SELECT COUNT(*) FROM sightings").fetchone()
        self._epoch = -1
        self._read_changes()
        # Files of an interrupted attempt must not be appended to.
        remove_other_epochs(self._folder, epoch)
        files = CodeFiles(self._folder, epoch + 1, dim, with_embeddings=bool(mapped))
        files.reserve(count)
        slots = 0
        ids: list[int] = []
        sums: list[int] = []
        for _, embeddings, compared, part in self._stored("sighting_id > 0"):
            places = np.arange(slots, slots + len(part))
            sums += files.write(places, embeddings, compared).tolist()
            slots += len(part)
            ids += part
        files.close()
        # Slots must be unique at any time, so all are first moved out of the way.
        self._connection.execute("UPDATE sightings SET slot = -1 - slot")
        self._connection.executemany(
            "UPDATE sightings SET slot = ?, code_sum = ? WHERE sighting_id = ?",
            zip(range(len(ids)), sums, ids, strict=True),
        )
        # The new files contain no erased data; the old ones and the log still do.
        self._connection.execute(
            "INSERT OR IGNORE INTO unwiped SELECT ? FROM unwiped LIMIT 1", (NAMES_MARK,)
        )
        self._connection.execute("DELETE FROM unwiped WHERE slot >= 0")
        self._connection.execute("UPDATE state SET epoch = ?, slots = ?", (epoch + 1, count))
        self.refresh()

    def save_if_due(self) -> None:
        """Save the columns after enough changes; needs a write transaction."""
        if self._unsaved() >= _SAVE_EVERY:
            self._save_columns()
            self._connection.execute(
                "DELETE FROM changes WHERE change_id <= (SELECT MAX(change_id) FROM changes) - ?",
                (_CHANGES_KEPT,),
            )

    def is_ready(self) -> bool:
        """Whether the next start will be quick, in the open transaction."""
        return self._unsaved() < _WORTH_SAVING

    def make_ready(self) -> None:
        """Save the columns, for a quick next start; needs a write transaction."""
        if not self.is_ready():
            self._save_columns()

    def _unsaved(self) -> int:
        """Number of changes since the saved columns."""
        is_there = (self._folder / COLUMNS_NAMES[0]).exists()
        return self.change_id - (self._saved_change_id if is_there else 0)

    def _wrong_slots(self) -> NDArray[np.int64]:
        """Slots in use whose codes (or embeddings, if compared) do not match the database."""
        files, columns = self.require_files(), self.columns
        embeddings = self._compares_embeddings and not self.low_memory and not self.compares_changed
        wrong = []
        for start in range(0, columns.slots, _SLOTS_AT_A_TIME):
            stop = min(start + _SLOTS_AT_A_TIME, columns.slots)
            differ = files.sums(start, stop) != columns.code_sums[start:stop]
            if embeddings:
                differ |= files.embedding_sums(start, stop) != columns.embedding_sums[start:stop]
            wrong.append(start + np.flatnonzero(differ & (columns.depths[start:stop] > 0)))
        return np.concatenate([np.zeros(0, np.int64), *wrong])

    def _save_columns(self) -> None:
        path, partial = (self._folder / name for name in COLUMNS_NAMES)
        token = secrets.token_bytes(_TOKEN_BYTES)
        tags = {
            "epoch": np.array(self._epoch),
            "change_id": np.array(self.change_id),
            "token": np.frombuffer(token, np.uint8),
        }
        try:
            with open_private(partial, "wb") as file:
                np.savez(file, **tags, **self.columns.saved())  # type: ignore[arg-type]
        except OSError:
            wipe_file(partial)
            raise
        wipe_file(path)
        partial.replace(path)
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS saved_columns (only_row INTEGER PRIMARY KEY "
            "CHECK (only_row = 1), content BLOB NOT NULL)"
        )
        self._connection.execute("INSERT OR REPLACE INTO saved_columns VALUES (1, ?)", (token,))
        self._saved_change_id = self.change_id

    def remove_leftovers(self) -> None:
        """Wipe and remove files of other epochs."""
        # Under the lock, so that no other process is writing such files.
        with writing(self._connection):
            (epoch,) = self._connection.execute("SELECT epoch FROM state").fetchone()
            remove_other_epochs(self._folder, epoch)

    def close(self) -> None:
        """Release the maps."""
        if self.files is not None:
            self.files.close()

    def _load_columns(self, epoch: int, slots: int, change_id: int) -> None:
        # Missing, being replaced or damaged: everything is read from the database.
        with (
            contextlib.suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile),
            np.load(self._folder / COLUMNS_NAMES[0], allow_pickle=False) as saved,
        ):
            # Another process may have saved them after this transaction began; or the database was
            # put back from a copy, and they belong to what came after it.
            rows = rows_if_made(self._connection, "saved_columns", "only_row")
            newest = [token for _, token in rows]
            if int(saved["epoch"]) == epoch and [saved["token"].tobytes()] == newest:
                columns = Columns()
                columns.restore(saved)
                self.columns, self.change_id = columns, int(saved["change_id"])
                self._saved_change_id = self.change_id
                return
        self._read_all_columns(slots)
        self.change_id, self._saved_change_id = change_id, 0

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
        before = self._are_right
        self._are_right = np.zeros(max(slots, len(before)), np.bool_)
        self._are_right[: len(before)] = before
        freed = [slot for (slot,) in changed if slot < slots]
        self._are_right[freed] = False
        self.columns.free(freed)
        self._put(
            self._connection.execute(f"{_COLUMNS_SQL} WHERE slot IN ({recent})", (self.change_id,))
        )

    def _put(self, rows: sqlite3.Cursor) -> None:
        while batch := rows.fetchmany(_ROWS_AT_A_TIME):
            wrong = next((row for row in batch if not row[-1]), None)
            if wrong is not None:
                raise self.damaged(f"sighting {wrong[1]} is not what was stored")
            try:
                self.columns.put(row[:-1] for row in batch)
            except (ValueError, TypeError, OverflowError) as error:
                raise self.damaged(str(error)) from error

    def _stored(
        self, where: str
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32], list[int]]]:
        """Slots, embeddings, adapted embeddings and ids, by ascending id, in batches."""
        rows = self._connection.execute(
            "SELECT slot, model_id, camera_id, sighting_id, embedding, embedding_sum "
            "FROM sightings LEFT JOIN embeddings USING (sighting_id) "
            f"WHERE {where} ORDER BY sighting_id"
        )
        while batch := rows.fetchmany(_ROWS_AT_A_TIME // 4):
            embeddings = np.stack([self.checked_embedding(*row[3:]) for row in batch])
            slots, models, cameras = np.array([row[:3] for row in batch], dtype=np.int64).T
            compared = self.adapt(embeddings, models, cameras)
            yield slots, embeddings, compared, [row[3] for row in batch]
