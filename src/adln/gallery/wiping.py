"""Overwrites what was erased: in the code files, in the table of people, and in the log.

An erasure is done, and answers know nothing of it any more, when its transaction is through. Its
bytes are overwritten afterwards: at once where somebody waits for it, as when a person is
forgotten, else by a thread beside, so that no camera waits for the disk or for other processes.
What could not be overwritten yet is marked in the database, and done at the next opportunity.
"""

import logging
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import numpy as np

from adln.errors import GalleryError
from adln.gallery.codes import CodeFiles, remove_other_epochs, wipe_file
from adln.gallery.database import WAIT_S, empty_log, open_again, plain_errors, writing
from adln.gallery.index import COLUMNS_NAMES
from adln.gallery.people import NAMES_MARK, rewrite_persons

# Stands in `unwiped` for: bytes of a name may still be in the log.
_LOG_MARK = -2
# Several erasures are overwritten together.
_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0
_DONE = "The erasure is done and stays done; its bytes are overwritten as soon as that is possible."

_log = logging.getLogger(__name__)


class Wiper:
    """Overwrites what one gallery's processes have erased. May be used by several threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._turn = threading.Lock()
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._asked = False

    def wipe(self, *, wait_s: float = WAIT_S) -> None:
        """Overwrite all that is marked, down to the disk.

        Args:
            wait_s: how long to wait for other processes that still read an old state.

        Raises:
            GalleryError: They read for longer, or the disk refuses; the erasure holds.
        """
        try:
            with (
                self._turn,
                plain_errors(self._folder, what_holds=_DONE),
                closing(open_again(self._folder)) as connection,
            ):
                marks = [slot for (slot,) in connection.execute("SELECT slot FROM unwiped")]
                if marks:
                    self._wipe(connection, wait_s)
        except GalleryError as error:
            # Without its cause: those who ask for that take it that nothing was done.
            raise type(error)(str(error)) from None

    def _wipe(self, connection: sqlite3.Connection, wait_s: float) -> None:
        # So that the table of people is emptied as a whole.
        connection.execute("PRAGMA foreign_keys = OFF")
        with writing(connection):
            epoch, dim, mapped, change_id = connection.execute(
                "SELECT epoch, dim, mapped, (SELECT IFNULL(MAX(change_id), 0) FROM changes) "
                "FROM state"
            ).fetchone()
            marks = [slot for (slot,) in connection.execute("SELECT slot FROM unwiped")]
            # Slots that were refilled hold nothing erased.
            slots = connection.execute(
                "SELECT slot FROM unwiped WHERE slot >= 0 "
                "AND slot NOT IN (SELECT slot FROM sightings) ORDER BY slot"
            ).fetchall()
            files = CodeFiles(self._folder, epoch, dim or 1, with_embeddings=bool(mapped))
            if slots:
                files.wipe(np.array(slots, dtype=np.int64).ravel())
            for name in COLUMNS_NAMES:
                wipe_file(self._folder / name)
            # Under the lock, so that no other process is writing such files right now.
            remove_other_epochs(self._folder, epoch)
            if NAMES_MARK in marks:
                rewrite_persons(connection)
                # Who takes a name away from here on sets the first mark again.
                connection.execute("DELETE FROM unwiped WHERE slot = ?", (NAMES_MARK,))
                connection.execute("INSERT OR IGNORE INTO unwiped VALUES (?)", (_LOG_MARK,))
                marks.append(_LOG_MARK)
        # The disk is waited for without the lock.
        if slots:
            files.sync()
        if not empty_log(connection, wait_s=wait_s):
            raise GalleryError(
                f"{self._folder}: the erasure is done and stays done, but bytes of it are still in "
                "the log file, because another process has been reading for too long. They are "
                "overwritten as soon as it lets go."
            )
        with writing(connection):
            connection.executemany(
                "DELETE FROM unwiped WHERE slot = ? "
                "AND slot NOT IN (SELECT slot FROM changes WHERE change_id > ?)",
                [(slot, change_id) for slot in marks if slot != NAMES_MARK],
            )

    def wipe_soon(self) -> None:
        """Overwrite what is marked in a moment, beside everything else."""
        with self._guard:
            if self._stop.is_set():
                return
            self._asked = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="adln-wiper", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """End the thread; what is left is done by whoever opens the gallery next."""
        with self._guard:
            self._stop.set()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        pause_s = _PAUSE_S
        while not self._stop.wait(pause_s):
            with self._guard:
                self._asked = False
            try:
                self.wipe(wait_s=0.0)
                pause_s = _PAUSE_S
            except GalleryError as error:
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                _log.debug("erased bytes are not overwritten yet: %s", error)
                continue
            with self._guard:
                if not self._asked:
                    self._thread = None
                    return
