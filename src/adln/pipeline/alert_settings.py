"""Settings of alerts: which person, where, when, how often, and how to notify."""

import re
from datetime import datetime, tzinfo
from typing import Literal

from adln.errors import SettingsError
from adln.settings import settings

ANYBODY, UNKNOWN = "anybody", "unknown"
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_MINUTES_PER_DAY = 24 * 60


@settings
class AlertSettings:
    """One rule: a sighting that meets it sends a notification.

    Attributes:
        name: unique; of letters a-z, A-Z, digits, _ and -.
        person: a name in the gallery; "unknown" for people without a name; or "anybody".
        cameras: names of cameras; all if left out.
        hours: local time of this machine, such as "22:00-06:00"; always if left out.
        not_again_within: shortest time between two alerts for one person: "30s", "10m", "2h", "1d".
        to: the channel: "mqtt" (the broker of `mqtt`), "webhook" (`url`) or "command".
        topic: MQTT topic; the camera's name is appended.
        url: address of the webhook; secret, certificates and permission are those of `webhook`.
        command: program and arguments, run without a shell. The alert arrives on standard input.
        names: whether alerts contain the person's name; otherwise only their number.
    """

    name: str = ""
    person: str = ANYBODY
    cameras: tuple[str, ...] = ()
    hours: str = ""
    not_again_within: str = "10m"
    to: Literal["mqtt", "webhook", "command"] = "mqtt"
    topic: str = "adln/alerts"
    url: str = ""
    command: tuple[str, ...] = ()
    names: bool = False

    def __post_init__(self) -> None:
        if self.name:
            require_letters(self.name, "the name of an alert")
        try:
            seconds(self.not_again_within)
            within_hours(self.hours, 0.0)
        except ValueError as error:
            raise SettingsError(f"alert {self.name!r}: {error}.") from error

    def require_way(self) -> None:
        """Raise a `SettingsError` unless the rule has a name, a person and a channel."""
        if not self.name:
            raise SettingsError('an alert needs a name, such as name = "night".')
        if not self.person:
            raise SettingsError(
                f'alert {self.name!r}: person needs a name, "{UNKNOWN}" or "{ANYBODY}".'
            )
        if self.to == "webhook" and not self.url:
            raise SettingsError(f'alert {self.name!r}: to = "webhook" needs a url.')
        if self.to == "command" and not self.command:
            raise SettingsError(
                f'alert {self.name!r}: to = "command" needs the command, such as '
                'command = ["/usr/local/bin/ring", "--once"].'
            )


def require_letters(name: str, what: str) -> None:
    """Raise a `SettingsError` unless a name can be part of a topic and of an id."""
    if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name):
        raise SettingsError(f"{what} needs 1 to 64 letters a-z, A-Z, digits, _ or -, got {name!r}.")


def seconds(text: str) -> float:
    """Convert a duration such as "30s", "10m", "2h" or "1d" to seconds.

    Raises:
        ValueError: the text is not a duration.
    """
    found = re.fullmatch(r"(\d{1,6})([smhd])", text.strip())
    if found is None:
        raise ValueError(
            f'not_again_within needs a time such as "30s", "10m" or "2h", got {text!r}'
        )
    return float(int(found[1]) * _SECONDS[found[2]])


def within_hours(hours: str, time_s: float, zone: tzinfo | None = None) -> bool:
    """Whether a Unix time lies within hours such as "22:00-06:00", end excluded; "" for always.

    The hours are in this time zone; in this machine's if it is left out.

    Raises:
        ValueError: `hours` is not a time range.
    """
    if not hours:
        return True
    found = re.fullmatch(r"\s*(\d\d?):([0-5]\d)\s*-\s*(\d\d?):([0-5]\d)\s*", hours)
    first, last = (60 * int(found[at]) + int(found[at + 1]) for at in (1, 3)) if found else (0, 0)
    if first == last or first >= _MINUTES_PER_DAY or last > _MINUTES_PER_DAY:
        raise ValueError(f'hours needs two different times such as "22:00-06:00", got {hours!r}')
    now = datetime.fromtimestamp(time_s, zone)
    minute = 60 * now.hour + now.minute
    if first < last:
        return first <= minute < last
    return minute >= first or minute < last
