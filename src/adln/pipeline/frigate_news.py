"""Receives by MQTT that a Frigate event has ended, to poll Frigate at once.

Source: https://docs.frigate.video/integrations/mqtt, topic ``frigate/events``.
"""

import threading
from typing import Any

from adln.pipeline.broker import Broker, leave, require_topic
from adln.strict import parse_json

# Frigate writes the snapshot shortly after it reports the end of the event.
_SETTLES_S = 1.0


class FrigateNews:
    """Waits for the next poll of Frigate, or for the end of an event, until `stop` is set."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._news = threading.Event()
        self._client: Any = None

    def listen(self, broker: Broker, prefix: str) -> None:
        """Subscribe at a broker; while it is down, regular polling continues."""
        topic = f"{require_topic(prefix)}/events"
        client = self._client = broker.new_lasting_client(
            "", whose="Frigate's", on_connect=lambda asked: asked.subscribe(topic, qos=1)
        )
        client.reconnect_delay_set(1, 60)
        client.on_message = lambda _client, _data, message: self._hear(message.payload)
        client.connect_async(broker.host, broker.port, keepalive=30)
        client.loop_start()

    def wait(self, timeout_s: float) -> None:
        """Wait this long, or until an event ends or `stop` is set."""
        if self._news.wait(timeout_s):
            self._news.clear()
            self._stop.wait(_SETTLES_S)

    def stop(self) -> None:
        """Stop waiting."""
        self._stop.set()
        self._news.set()

    def close(self) -> None:
        """Disconnect from the broker."""
        if self._client is not None:
            self._client.disconnect()
            leave(self._client)

    def _hear(self, payload: bytes) -> None:
        try:
            message = parse_json(payload)
            is_over = message["type"] == "end" and message["after"]["label"] == "person"
        except (ValueError, KeyError, TypeError):
            return
        if is_over:
            self._news.set()
