"""An MQTT broker: its address and credentials."""

import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from adln.errors import DeliveryError, how_to_install
from adln.pipeline.connections import trusting

TIMEOUT_S = 10.0

_log = logging.getLogger(__name__)


class Broker:
    """Makes clients for one broker.

    A password needs a username. With `tls` the connection is encrypted and the broker's certificate
    verified, by `ca_file` (PEM) in place of the system's. The connection, and acknowledgements, are
    waited for `timeout_s` at most.

    Raises:
        DeliveryError: paho-mqtt is not installed, the host is no name, or the certificate file
            cannot be used.
    """

    def __init__(
        self,
        host: str,
        port: int = 1883,
        *,
        username: str | None = None,
        password: str | None = None,
        tls: bool = False,
        ca_file: Path | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        try:
            from paho.mqtt.client import Client
            from paho.mqtt.enums import CallbackAPIVersion
        except ImportError as error:
            raise DeliveryError(
                f"MQTT needs paho-mqtt, which is not installed; {how_to_install('watch')}."
            ) from error
        try:
            host.encode("idna")
        except UnicodeError as error:
            raise DeliveryError(
                f"An MQTT broker's host is a name or an address, got {host!r}."
            ) from error
        self._tls = trusting(ca_file) if tls else None
        self._make_client = partial(Client, CallbackAPIVersion.VERSION2, clean_session=True)
        self._login = (username, password)
        self.host, self.port, self.timeout_s = host, port, timeout_s

    def new_client(self, client_id: str, *, reconnect: bool) -> Any:
        """A paho client that is not connected yet; with the id "", the broker chooses one."""
        client = self._make_client(client_id=client_id, reconnect_on_failure=reconnect)
        if self._login[0] is not None:
            client.username_pw_set(*self._login)
        if self._tls is not None:
            client.tls_set_context(self._tls)
        client.connect_timeout = self.timeout_s
        return client

    def new_lasting_client(
        self,
        client_id: str,
        *,
        whose: str,
        on_connect: Callable[[Any], None],
        on_disconnect: Callable[[], None] = lambda: None,
    ) -> Any:
        """A paho client that is not connected yet, and reconnects until it is in.

        That the broker cannot be reached, or refuses the login, is logged once.

        Args:
            client_id: The client's id at the broker; "" lets the broker choose.
            whose: Whose broker it is, for the log, such as "Frigate's".
            on_connect: Called with the client when the broker has let it in, on paho's thread.
            on_disconnect: Called when a connection ended, on paho's thread.
        """
        client = self.new_client(client_id, reconnect=True)
        is_in = is_told = False

        def tell(why: str) -> None:
            nonlocal is_told
            if not is_told:
                place = f"{self.host}:{self.port}"
                _log.warning("%s broker %s %s; it is tried again", whose, place, why)
            is_told = True

        def connected(_client: Any, _data: Any, _flags: Any, reason: Any, _: Any) -> None:
            nonlocal is_in, is_told
            if reason.is_failure:
                tell(f"refuses the connection: {reason}")
                return
            is_in, is_told = True, False
            on_connect(client)

        def disconnected(*_: Any) -> None:
            nonlocal is_in
            if not is_in:
                tell("does not answer")
            is_in = False
            on_disconnect()

        client.on_connect = connected
        client.on_connect_fail = lambda *_: tell("cannot be reached")
        client.on_disconnect = disconnected
        return client


def leave(client: Any) -> None:
    """Stop a paho client's thread, even if its broker hangs, which would keep it waiting."""
    client.on_connect_fail = client.on_disconnect = None  # nothing is tried again
    connection = client.socket()
    if connection is not None:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
    client.loop_stop()


def require_topic(topic: str) -> str:
    """A topic to publish to, without surrounding slashes.

    Raises:
        DeliveryError: The topic is empty or has a wildcard.
    """
    if not topic.strip("/") or any(letter in topic for letter in "+#\0"):
        raise DeliveryError(f"An MQTT topic must be non-empty and without + and #, got {topic!r}.")
    return topic.strip("/")
