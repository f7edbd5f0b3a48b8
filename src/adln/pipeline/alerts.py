"""Alerts: a rule over sightings, and a notification when it holds.

Each rule is a receiver of sightings of its own (`adln.pipeline.delivery`): what it has to say is
said at least once, is tried again while the way is blocked, and holds up no other receiver. Rules
go by the times of the sightings, so that a recording gives the same alerts on each run.
"""

import json
import shutil
import subprocess
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
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
_MOST_REMEMBERED = 10_000


class AlertRule:
    """Tells which sightings are worth an alert.

    Args:
        rule: Who, where, when and how often.
        people: Who is in the gallery.
        zone: Of the hours; that of this machine if left out.
    """

    def __init__(
        self, rule: AlertSettings, people: ReportedPeople, *, zone: tzinfo | None = None
    ) -> None:
        self._rule = rule
        self._people = people
        self._zone = zone
        self._within_s = seconds(rule.not_again_within)
        # Person (None: nobody known) -> time of the last alert; and the tracks that had one.
        self._last_s: OrderedDict[int | None, float] = OrderedDict()
        self._tracks: OrderedDict[tuple[int, int, int | None], None] = OrderedDict()

    def is_due(self, event: SightingEvent) -> bool:
        """Whether to notify of this sighting."""
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
        """Remember that this sighting was notified of."""
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
        """What is said of a sighting, as one line of JSON."""
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
        """Identifies the alert: what comes twice with the same id is the same alert."""
        return make_event_id("alert", self._rule.name, event.event_id)


class AlertSink:
    """Passes on the alerts of one rule.

    Args:
        rule: Tells which sightings are worth one.
        people: Who is in the gallery.
        way: Takes an alert as others take a sighting.
    """

    def __init__(self, rule: AlertRule, people: ReportedPeople, way: Sink) -> None:
        self._rule = rule
        self._people = people
        self._way = way

    def deliver(self, events: Sequence[StoredEvent]) -> None:
        """Look at sightings in order; on return all alerts of them are acknowledged.

        Raises:
            UndeliveredError: The way is blocked, or nobody says who is who.
        """
        for done, stored in enumerate(events):
            if self._people.names() is None:
                # Else everybody would be unknown.
                raise UndeliveredError("the gallery does not say who is who", acknowledged=done)
            event = SightingEvent.from_json(stored.body)
            if not self._rule.is_due(event):
                continue
            alert = replace(
                stored, event_id=self._rule.alert_id(event), body=self._rule.alert(event)
            )
            try:
                self._way.deliver([alert])
            except UndeliveredError as error:
                raise UndeliveredError(
                    str(error), acknowledged=done, refused=error.refused
                ) from error
            self._rule.told(event)

    def close(self) -> None:
        """Close the sink behind it."""
        self._way.close()


class CommandSink:
    """Runs a program for each alert, which comes on its standard input. No shell is involved.

    Args:
        command: Program and arguments.
        folder: Where it runs.
        timeout_s: Longest run; then it is killed.

    Raises:
        DeliveryError: There is no such program.
    """

    def __init__(
        self, command: Sequence[str], *, folder: Path, timeout_s: float = COMMAND_TIMEOUT_S
    ) -> None:
        program = shutil.which(command[0]) or shutil.which(str(folder / command[0]))
        if program is None:
            raise DeliveryError(
                f"{command[0]}: there is no such program that may be run, neither by the path nor "
                f"in {folder}."
            )
        self._command = [str(Path(program).absolute()), *command[1:]]
        self._folder = folder
        self._timeout_s = timeout_s

    def deliver(self, events: Sequence[StoredEvent]) -> None:
        """Run it once for each; exit status 0 acknowledges.

        Raises:
            UndeliveredError: It cannot be run, takes too long, or ends with another status.
        """
        for done, event in enumerate(events):
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
            except (OSError, subprocess.TimeoutExpired) as error:
                # Without the arguments: they may hold a secret.
                why = f"not done within {self._timeout_s:g} s"
                if isinstance(error, OSError):
                    why = error.strerror or "cannot be run"
                raise UndeliveredError(
                    f"{self._command[0]}: {why}", acknowledged=done, refused=True
                ) from None
            if status != 0:
                raise UndeliveredError(
                    f"{self._command[0]}: exit status {status}", acknowledged=done, refused=True
                )

    def close(self) -> None:
        """Nothing is held between runs."""
