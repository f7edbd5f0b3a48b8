"""Applies the gallery's rules on what is kept, again and again."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from adln.errors import AdlnError, ServiceError
from adln.gallery.retention import Retention, Tidied, apply_retention
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.service.state import ServiceState

ACTOR = "retention"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Tidiness:
    """What was done last.

    Attributes:
        applied_s: when the rules were last applied, in seconds since 1970; None before.
        erased: sightings that this service has erased by them since its start.
        problem: why they could not be applied the last time; "" if they could.
    """

    applied_s: float | None = None
    erased: int = 0
    problem: str = ""


class Tidying:
    """Erases what the rules of a gallery no longer keep.

    The gallery logs each erasure in its own transaction; the service's log says, too, how many
    there were, if there were any.

    Args:
        gallery: whose rules hold.
        state: with the audit log.
        every_s: how often, for those who ask; 0 for never.
        clock: seconds since 1970.

    Attributes:
        last: what was done last.
    """

    def __init__(
        self,
        gallery: SqliteGallery,
        state: ServiceState,
        *,
        every_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._gallery = gallery
        self._state = state
        self.every_s = every_s
        self._clock = clock
        self.last = Tidiness()

    @property
    def rules(self) -> Retention:
        """What holds now; whoever changes it, in whatever process, is heard.

        Raises:
            GalleryError: the gallery cannot be read.
        """
        return self._gallery.retention

    def apply(self) -> None:
        """Apply the rules once. Trouble is logged and told, and tried again the next time."""
        now_s = self._clock()
        try:
            tidied = apply_retention(self._gallery, self._gallery.retention, now_s=now_s)
            self._gallery.compact_if_worthwhile()
        except AdlnError as error:
            _log.error("the rules on what is kept could not be applied: %s", error)
            self._tell(str(error))
            return
        except Exception as error:
            # Whatever it is: people were promised that this goes on.
            _log.exception("the rules on what is kept could not be applied")
            self._tell(f"{type(error).__name__}: {error}")
            return
        erased = tidied.expired + tidied.surplus_templates + tidied.surplus_unnamed
        self.last = Tidiness(applied_s=now_s, erased=self.last.erased + erased)
        if erased:
            self._record(tidied)

    def _tell(self, problem: str) -> None:
        self.last = replace(self.last, problem=problem)

    def _record(self, tidied: Tidied) -> None:
        try:
            self._state.record(ACTOR, "retention", vars(tidied))
        except ServiceError as error:
            # It had to be erased all the same, and the gallery's own log says that it was.
            _log.error("erased by the rules, but not in the service's log: %s", error)
