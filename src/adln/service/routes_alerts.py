"""Routes for the `[[alerts]]` of the watch file.

Alerts that run a program can be listed and removed here, but not added: a token must not allow
running programs on this machine.
"""

import logging
from pathlib import PurePath
from typing import Annotated, Literal
from urllib.parse import urlsplit

from fastapi import APIRouter, Path
from pydantic import Field
from starlette.exceptions import HTTPException

from adln.errors import DeliveryError, ServiceError, SettingsError
from adln.gallery.names import is_same_name, kept_form
from adln.gallery.records import Person
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.pipeline.alert_settings import ANYBODY, UNKNOWN, AlertSettings
from adln.pipeline.watch_settings import WatchSettings
from adln.pipeline.webhook_sink import WebhookSink
from adln.service import camera_file
from adln.service.access import Admin
from adln.service.answers import In, Name, Out
from adln.service.parts import Parts
from adln.service.problems import documented
from adln.service.routes_cameras import file_of, read_file, refusing, watch_again

_log = logging.getLogger(__name__)
_NAME = r"^[a-zA-Z0-9_-]{1,64}$"
_ADDRESS = r"^https?://[!-~]{1,1000}$"
CameraName = Annotated[str, Field(min_length=1, max_length=64)]


class AlertIn(In):
    """An alert, as in the watch file."""

    name: str = Field(pattern=_NAME, description="Unique name of the alert.")
    person: Name = Field(default=ANYBODY, description=f"A name, {UNKNOWN} or {ANYBODY}.")
    cameras: list[CameraName] = Field(default=[], max_length=100, description="Names; empty: all.")
    hours: str = Field(default="", max_length=32, description="Such as 22:00-06:00.")
    not_again_within: str = Field(default="10m", max_length=16, description="Such as 30s or 2h.")
    to: Literal["webhook", "mqtt"] = "webhook"
    url: str = Field(default="", pattern=f"{_ADDRESS}|^$", description="Address of the webhook.")
    names: bool = Field(default=False, description="Whether the alert contains the person's name.")


class AlertOut(Out):
    """An alert as it is listed."""

    name: str
    person: str
    is_known: bool = Field(description="False if `person` is a name that no one has.")
    cameras: list[str]
    hours: str
    not_again_within: str
    to: Literal["webhook", "mqtt", "command"]
    where: str = Field(description="Host, broker or program, without secret parts.")
    names: bool


class Alerts(Out):
    """All alerts."""

    alerts: list[AlertOut]
    has_broker: bool = Field(description="Whether the file names an MQTT broker.")


class ChangedAlerts(Alerts):
    """All alerts, after a change."""

    is_watched: bool = Field(description="If false, the change takes effect after a restart.")


def alert_routes(router: APIRouter, parts: Parts) -> None:
    """List, add and remove alerts."""

    @router.get("/setup/alerts", responses=documented(409))
    def list_alerts(caller: Admin) -> Alerts:
        """All alerts of the watch file."""
        return _listed(parts)

    @router.post("/setup/alerts", status_code=201, responses=documented(409))
    def add_alert(asked: AlertIn, caller: Admin) -> ChangedAlerts:
        """Add an alert. Its address is not shown again."""
        with parts.changing:
            before = read_file(parts)
            if any(one.name == asked.name for one in before.alerts):
                raise HTTPException(409, "An alert with this name exists already.")
            parts.state.record(caller.name, "add alert", {"alerts": len(before.alerts) + 1})
            with refusing(asked.url):
                values = asked.model_dump() | {"cameras": tuple(asked.cameras)}
                alert = AlertSettings(**values)
                _require_target(alert, before)
                camera_file.add_alert(file_of(parts), alert)
            return _changed(parts)

    @router.delete("/setup/alerts/{name}", responses=documented(404, 409))
    def remove_alert(name: Annotated[str, Path(pattern=_NAME)], caller: Admin) -> ChangedAlerts:
        """Remove an alert."""
        with parts.changing:
            before = read_file(parts)
            if all(one.name != name for one in before.alerts):
                raise HTTPException(404, "There is no alert with this name.")
            parts.state.record(caller.name, "remove alert", {"alerts": len(before.alerts) - 1})
            with refusing():
                camera_file.remove_alerts(file_of(parts), lambda one: one.name == name)
            return _changed(parts)


def forget_alerts(parts: Parts, person: Person) -> None:
    """Remove the alerts about a person to be forgotten, whose names must not stay in the file.

    Also those under an earlier name, or under that of somebody who was merged into them: a merge,
    and other programs, rename people without changing the file.

    Raises:
        HTTPException: the file cannot be read or changed, so a name may remain in it.
    """
    path, gallery = file_of(parts), parts.gallery
    if not path.exists():
        return
    gone = 0
    try:
        settings = camera_file.read_cameras_of(path)
        listed = {one.person for one in settings.alerts} - {ANYBODY, UNKNOWN} | {*settings.ignore}
        names = {one for one in listed if is_same_name(one, person.name)}
        if isinstance(gallery, SqliteGallery):
            names |= gallery.ever_called(person.person_id, listed)
        for name in names:
            gone += camera_file.remove_alerts(path, lambda one: one.person in names, ignored=name)
    except SettingsError as error:
        raise HTTPException(
            409,
            "The watch file cannot be changed and may contain this person's name. Remove the name "
            "by hand, then forget the person.",
        ) from error
    if gone:
        watch_again(parts)


def rename_alerts(parts: Parts, before: str | None, after: str | None) -> None:
    """Update the alerts about a renamed person. Failures are logged."""
    if not before or not after or not file_of(parts).exists():
        return
    try:
        if camera_file.rename_in_alerts(file_of(parts), before, after):
            watch_again(parts)
    except (SettingsError, ServiceError) as error:
        # The renaming stands; Set up shows that no one has the old name.
        _log.error("cannot update the alerts about a renamed person: %s", error)


def _require_target(alert: AlertSettings, settings: WatchSettings) -> None:
    """Check the target of an alert as the watch does when it starts.

    Raises:
        SettingsError: nothing can be sent there.
    """
    alert.require_way()
    if alert.to != "webhook":
        return
    try:
        WebhookSink(alert.url, allow_plain_http=settings.webhook.allow_plain_http).close()
    except (DeliveryError, ValueError) as error:
        raise SettingsError(str(error)) from error


def _changed(parts: Parts) -> ChangedAlerts:
    is_watched = watch_again(parts)
    return ChangedAlerts(**vars(_listed(parts)), is_watched=is_watched)


def _listed(parts: Parts) -> Alerts:
    settings = read_file(parts)
    names = parts.people.names().values()
    called = {ANYBODY, UNKNOWN, *(kept_form(name) for name in names if name is not None)}
    alerts = [
        AlertOut(**vars(one), is_known=kept_form(one.person) in called, where=_where(one, settings))
        for one in settings.alerts
    ]
    return Alerts(alerts=alerts, has_broker=bool(settings.mqtt.host))


def _where(alert: AlertSettings, settings: WatchSettings) -> str:
    if alert.to == "mqtt":
        return f"{settings.mqtt.host}, {alert.topic}"
    if alert.to == "command":
        return PurePath(alert.command[0]).name
    # The path is often a secret, as in Home Assistant's webhooks.
    try:
        return urlsplit(alert.url).netloc.rpartition("@")[2]
    except ValueError:
        return ""
