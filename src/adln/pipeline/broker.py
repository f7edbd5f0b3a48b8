"""An MQTT broker: its address and credentials."""

import socket
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from adln.errors import DeliveryError, how_to_install
from adln.pipeline.connections import trusting

TIMEOUT_S = 10.0


class Broker:
    """Makes clients for one broker.

    A password needs a username. With `tls` the connection is encrypted and the broker's certificate
    verified, by `ca_file` (PEM) in place of the system's. The connection, and acknowledgements, are
    waited for `timeout_s` at most.

    Raises:
        DeliveryError: paho-mqtt is not installed, or the certificate file cannot be used.
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


def leave(client: Any) -> None:
    """Stop a paho client's thread, even if its broker hangs, which would keep it waiting."""
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
