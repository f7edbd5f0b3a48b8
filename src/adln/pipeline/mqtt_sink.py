"""Sightings by MQTT 3.1.1 with quality of service 1, one topic per camera.

A sighting is acknowledged only when the broker's PUBACK for it has arrived.
"""

import threading
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from adln.errors import UndeliveredError
from adln.pipeline.broker import Broker, leave, require_topic
from adln.pipeline.outbox import StoredEvent

TOPIC = "adln/sightings"


class MqttSink:
    """Publishes sightings to ``<topic>/<camera name>``.

    A batch waits at most `Broker.timeout_s` for its acknowledgements. `client_id` is unique per
    device; "" lets the broker choose.

    Raises:
        DeliveryError: The topic has a wildcard.
    """

    def __init__(self, broker: Broker, *, topic: str = TOPIC, client_id: str = "") -> None:
        self._broker = broker
        self._topic = require_topic(topic)
        self._client_id = client_id
        self._client: Any = None
        self._changed = threading.Condition()
        self._is_connected = False
        self._refusal = ""
        self._acknowledged: set[int] = set()

    def deliver(self, events: Sequence[StoredEvent]) -> None:
        """Publish sightings in order; on return the broker has acknowledged all of them.

        Raises:
            UndeliveredError: The broker cannot be reached, refuses the connection, or has not
                acknowledged all in time.
        """
        numbers: list[int] = []
        try:
            self._connect()
            with self._changed:
                self._acknowledged.clear()
            for event in events:
                topic = f"{self._topic}/{event.camera_name}"
                numbers.append(self._client.publish(topic, event.body.encode("utf-8"), qos=1).mid)
            with self._changed:
                self._changed.wait_for(
                    lambda: self._acknowledged.issuperset(numbers) or not self._is_connected,
                    timeout=self._broker.timeout_s,
                )
            why = "no answer in time" if self._is_connected else "the connection was lost"
        except (OSError, ValueError, RuntimeError) as error:
            why = str(error) or repr(error)
        else:
            if self._acknowledged.issuperset(numbers):
                return
        with self._changed:
            acknowledged = len(list(takewhile(self._acknowledged.__contains__, numbers)))
        self.close()
        raise UndeliveredError(
            f"MQTT broker {self._broker.host}:{self._broker.port}: {why}", acknowledged=acknowledged
        )

    def close(self) -> None:
        """Disconnect from the broker; the next delivery reconnects."""
        client, self._client = self._client, None
        if client is None:
            return
        if self._is_connected:
            client.disconnect()
            with self._changed:
                self._changed.wait_for(lambda: not self._is_connected, timeout=1.0)
        leave(client)

    def _connect(self) -> None:
        if self._client is not None and self._is_connected:
            return
        self.close()
        # A new client each time: the outbox knows what to send again; messages left in an old
        # client would be sent a third time.
        client = self._broker.new_client(self._client_id, reconnect=False)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        self._is_connected, self._refusal = False, ""
        self._client = client
        client.connect(self._broker.host, self._broker.port, keepalive=30)
        client.loop_start()
        with self._changed:
            self._changed.wait_for(
                lambda: self._is_connected or self._refusal, timeout=self._broker.timeout_s
            )
            if not self._is_connected:
                raise ConnectionError(self._refusal or "the broker did not answer in time")

    # paho calls these on its own thread.

    def _on_connect(self, _client: Any, _data: Any, _flags: Any, reason: Any, _: Any) -> None:
        with self._changed:
            self._is_connected = not reason.is_failure
            self._refusal = str(reason) if reason.is_failure else ""
            self._changed.notify_all()

    def _on_disconnect(self, _client: Any, _data: Any, _flags: Any, reason: Any, _: Any) -> None:
        with self._changed:
            self._is_connected = False
            self._refusal = self._refusal or str(reason)
            self._changed.notify_all()

    def _on_publish(self, _client: Any, _data: Any, mid: int, _reason: Any, _: Any) -> None:
        with self._changed:
            self._acknowledged.add(mid)
            self._changed.notify_all()
