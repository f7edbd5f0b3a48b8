"""Alerts: rules over sightings that send a notification when they hold.

Each rule is a receiver of its own (`adln.pipeline.delivery`): an alert is delivered at least once,
is retried while its channel fails, and delays no other receiver. Rules use the times of the
sightings, so a recording gives the same alerts on each run.
"""

import json
import shutil
import subprocess
from collections import OrderedDict
from collections.abc import Sequence
from datetime import tzinfo
from pathlib import Path

from adln.errors import DeliveryError, UndeliveredError
from adln.gallery.names import is_same_name
from adln.pipeline.alert_settings import ANYBODY, UNKNOWN, AlertSettings, seconds, within_hours
from adln.pipeline.delivery import Sink
from adln.pipeline.outbox import StoredEvent
from adln.pipeline.people import ReportedPeople
from adln.pipeline.sightings import SightingEvent, make_event_id

FORMAT = "adln-alert-1"
COMMAND_TIMEOUT_S = 30.0
COMMAND_REFUSES = 65
"""Exit status of a program that will never take an alert: EX_DATAERR of sysexits.h."""
_MOST_REMEMBERED = 10_000


class AlertSink:
    """Raises the alerts of a rule, by the local time of this machine, and sends them by `way`."""

    def __init__(
        self, rule: AlertSettings, people: ReportedPeople, way: Sink, *, zone: tzinfo | None = None
    ) -> None:
        self._rule = rule
        self._people = people
        self._way = way
        self._zone = zone
        self._within_s = seconds(rule.not_again_within)
        # Person (None: nobody known) -> time of the last alert; and the tracks that were alerted.
        self._last_s: OrderedDict[int | None, float] = OrderedDict()
        self._tracks: OrderedDict[tuple[int, int, int | None], None] = OrderedDict()

    def is_due(self, event: SightingEvent) -> bool:
        """Whether this sighting raises an alert."""
        rule = self._rule
        if rule.cameras and event.camera_name not in rule.cameras:
            return False
        if not within_hours(rule.hours, event.last_time_s, self._zone):
            return False
        if not self._is_about(event):
            return False
        if (event.camera_id, event.track_id, event.person_id) in self._tracks:
            return False
        last_s = self._last_s.get(event.person_id)
        return last_s is None or abs(event.last_time_s - last_s) >= self._within_s

    def told(self, event: SightingEvent) -> None:
        """Remember that an alert was sent for this sighting."""
        self._last_s[event.person_id] = event.last_time_s
        self._last_s.move_to_end(event.person_id)
        self._tracks[event.camera_id, event.track_id, event.person_id] = None
        for memory in (self._last_s, self._tracks):
            while len(memory) > _MOST_REMEMBERED:
                memory.popitem(last=False)

    def _is_about(self, event: SightingEvent) -> bool:
        if event.verdict == "matched" and self._people.is_ignored(event.person_id):
            return False
        name = self._people.name_of(event.person_id)
        if self._rule.person == ANYBODY:
            return True
        if self._rule.person == UNKNOWN:
            return name is None
        return event.verdict == "matched" and is_same_name(name, self._rule.person)

    def alert(self, event: SightingEvent) -> str:
        """The alert for a sighting, as one line of JSON."""
        name = self._people.name_of(event.person_id) if self._rule.names else None
        values = {
            "format": FORMAT,
            "alert_id": self.alert_id(event),
            "alert": self._rule.name,
            "camera_id": event.camera_id,
            "camera_name": event.camera_name,
            "time_s": event.last_time_s,
            "person_id": event.person_id,
            "person_name": name,
            "verdict": event.verdict,
            "probability": event.probability,
            "event_id": event.event_id,
        }
        return json.dumps(values, separators=(",", ":"), ensure_ascii=False, allow_nan=False)

    def alert_id(self, event: SightingEvent) -> str:
        """Id of the alert: two messages with the same id are the same alert."""
        return make_event_id("alert", self._rule.name, event.event_id)

    def deliver(self, events: Sequence[StoredEvent]) -> None:
        """Check sightings in order; on return all of their alerts are acknowledged.

        Raises:
            UndeliveredError: The channel fails, or the gallery cannot be read.
        """
        for done, stored in enumerate(events):
            if self._people.names() is None:
                # Without names everybody would count as unknown.
                raise UndeliveredError("the gallery cannot be read", acknowledged=done)
            event = SightingEvent.from_json(stored.body)
            if not self.is_due(event):
                continue
            alert = stored._replace(event_id=self.alert_id(event), body=self.alert(event))
            try:
                self._way.deliver([alert])
            except UndeliveredError as error:
                error.acknowledged = done
                raise
            self.told(event)

    def close(self) -> None:
        """Close the sink that delivers the alerts."""
        self._way.close()


class CommandSink:
    """Runs a program for each alert, with the alert on its standard input and without a shell.

    A relative path of the program is looked up in `folder` too, where it runs. After `timeout_s` it
    is killed.

    Raises:
        DeliveryError: The program does not exist.
    """

    def __init__(
        self, command: Sequence[str], *, folder: Path, timeout_s: float = COMMAND_TIMEOUT_S
    ) -> None:
        program = shutil.which(command[0]) or shutil.which(str(folder / command[0]))
        if program is None:
            raise DeliveryError(
                f"{command[0]}: no such program, or not executable, on the search path or in "
                f"{folder}."
            )
        self._command = [str(Path(program).absolute()), *command[1:]]
        self._folder = folder
        self._timeout_s = timeout_s

    def deliver(self, events: Sequence[StoredEvent]) -> None:
        """Run the program once for each alert; exit status 0 acknowledges it.

        Raises:
            UndeliveredError: It cannot be started, exceeds the timeout, or returns another status,
                of which `COMMAND_REFUSES` refuses the alert.
        """
        for done, event in enumerate(events):
            status, why = self._run(event)
            if status != 0:
                raise UndeliveredError(
                    f"{self._command[0]}: {why}",
                    acknowledged=done,
                    refused=status == COMMAND_REFUSES,
                )

    def _run(self, event: StoredEvent) -> tuple[int | None, str]:
        """The exit status, None without one, and in words."""
        # Without the arguments: they may hold a secret.
        try:
            status = subprocess.run(
                self._command,
                input=event.body.encode("utf-8"),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=self._folder,
                timeout=self._timeout_s,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            return None, f"did not finish within {self._timeout_s:g} s"
        except OSError as error:
            return None, error.strerror or "cannot be started"
        return status, f"exit status {status}"

    def close(self) -> None:
        """Nothing to release between runs."""
