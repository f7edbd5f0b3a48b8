"""Overwrites erased data in the code files, the table of people, and the log.

An erasure takes effect, and disappears from answers, when its transaction commits. Its bytes are
overwritten afterwards: immediately if a caller waits for it, as when a person is forgotten,
otherwise by a background thread, so that no camera waits for the disk or other processes. What
cannot be overwritten yet is marked in the database, and overwritten at the next opportunity.
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

# Mark in `unwiped`: bytes of a name may still be in the log.
_LOG_MARK = -2
# Delay, so that several erasures are overwritten together.
_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0
_DONE = "The erasure itself is complete; its bytes are overwritten as soon as possible."

_log = logging.getLogger(__name__)


class Wiper:
    """Overwrites the erased data of a gallery. May be used by several threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._turn = threading.Lock()
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._asked = False

    def wipe(self, *, wait_s: float = WAIT_S) -> None:
        """Overwrite everything that is marked, synced to the disk.

        Args:
            wait_s: how long to wait for other processes that still read an old state.

        Raises:
            GalleryError: They read for longer, or the disk failed; the erasure itself is complete.
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
            # Without cause: callers would take a cause to mean that nothing was done.
            raise type(error)(str(error)) from None

    def _wipe(self, connection: sqlite3.Connection, wait_s: float) -> None:
        # Allows emptying the table of people as a whole.
        connection.execute("PRAGMA foreign_keys = OFF")
        with writing(connection):
            epoch, dim, mapped, change_id = connection.execute(
                "SELECT epoch, dim, mapped, (SELECT IFNULL(MAX(change_id), 0) FROM changes) "
                "FROM state"
            ).fetchone()
            marks = [slot for (slot,) in connection.execute("SELECT slot FROM unwiped")]
            # Refilled slots contain no erased data.
            slots = connection.execute(
                "SELECT slot FROM unwiped WHERE slot >= 0 "
                "AND slot NOT IN (SELECT slot FROM sightings) ORDER BY slot"
            ).fetchall()
            files = CodeFiles(self._folder, epoch, dim or 1, with_embeddings=bool(mapped))
            if slots:
                files.wipe(np.array(slots, dtype=np.int64).ravel())
            for name in COLUMNS_NAMES:
                wipe_file(self._folder / name)
            # Under the lock, so that no other process is writing such files.
            remove_other_epochs(self._folder, epoch)
            if NAMES_MARK in marks:
                rewrite_persons(connection)
                # Removing a name from here on sets the first mark again.
                connection.execute("DELETE FROM unwiped WHERE slot = ?", (NAMES_MARK,))
                connection.execute("INSERT OR IGNORE INTO unwiped VALUES (?)", (_LOG_MARK,))
                marks.append(_LOG_MARK)
        # Waits for the disk without the lock.
        if slots:
            files.sync()
        if not empty_log(connection, wait_s=wait_s):
            raise GalleryError(
                f"{self._folder}: the erasure itself is complete, but some of its bytes are still "
                "in the log file, because another process has been reading for too long. They are "
                "overwritten as soon as it finishes."
            )
        with writing(connection):
            changed = connection.execute(
                "SELECT slot FROM changes WHERE change_id > ?", (change_id,)
            )
            # Names removed since have set their mark again.
            again = {NAMES_MARK, *(slot for (slot,) in changed)}
            connection.executemany(
                "DELETE FROM unwiped WHERE slot = ?",
                [(slot,) for slot in marks if slot not in again],
            )

    def wipe_soon(self) -> None:
        """Overwrite what is marked soon, in the background."""
        with self._guard:
            if self._stop.is_set():
                return
            self._asked = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="adln-wiper", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Stop the thread; what is left is overwritten when the gallery is next opened."""
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
