import socket
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from adln.cameras.clocks import Backoff
from adln.errors import DeliveryError, UndeliveredError
from adln.pipeline.broker import Broker
from adln.pipeline.delivery import Delivery
from adln.pipeline.mqtt_sink import MqttSink
from adln.pipeline.outbox import Outbox, StoredEvent
from adln.pipeline.sightings import SightingEvent

Make = Callable[..., SightingEvent]
MakeStored = Callable[[int], StoredEvent]


def test_each_camera_has_a_topic_and_what_is_acknowledged_arrives(
    broker: Any, subscribe: Any, tmp_path: Path, make_event: Make
) -> None:
    listener = subscribe(broker)
    outbox = Outbox(tmp_path / "outbox.db", ["mqtt"])
    events = [make_event(n, camera_name=("entrance", "hall")[n % 2]) for n in range(30)]
    outbox.append(events)
    sink = MqttSink(Broker("127.0.0.1", broker.port), client_id="box-1")
    sink.deliver(outbox.pending("mqtt", 20))
    sink.deliver(outbox.pending("mqtt", 30)[20:])
    sink.close()
    outbox.close()
    listener.wait_until(events[-1].to_json())
    assert listener.bodies == [event.to_json() for event in events]
    assert listener.topics[:2] == ["adln/sightings/entrance", "adln/sightings/hall"]


class Gate:
    """Keeps sightings back until the listener is there: a broker acknowledges without one."""

    def __init__(self, sink: MqttSink) -> None:
        self.is_open = threading.Event()
        self._sink = sink

    def deliver(self, events: Sequence[StoredEvent]) -> None:
        if not self.is_open.is_set():
            raise UndeliveredError("not yet")
        self._sink.deliver(events)

    def close(self) -> None:
        self._sink.close()


def test_nothing_is_lost_while_the_broker_is_away(
    broker: Any, subscribe: Any, tmp_path: Path, make_event: Make
) -> None:
    """Killed and started again twice, in the midst of a steady stream of sightings."""
    listener = subscribe(broker)
    gate = Gate(MqttSink(Broker("127.0.0.1", broker.port, timeout_s=2.0), client_id="box-1"))
    gate.is_open.set()
    outbox = Outbox(tmp_path / "outbox.db", ["mqtt"])
    delivery = Delivery(
        outbox, {"mqtt": gate}, backoff=partial(Backoff, first_s=0.02, longest_s=0.1)
    )
    events = [make_event(n) for n in range(60)]
    for number, event in enumerate(events):
        if number in (10, 40):
            listener.wait_until(events[max(number - 11, 0)].to_json())
            broker.kill()
            listener.ready.clear()
        if number in (30, 50):
            gate.is_open.clear()
            broker.start()
            assert listener.ready.wait(10)
            gate.is_open.set()
        delivery.submit(event)
        time.sleep(0.01)
    assert delivery.drain(20)
    counts = delivery.counts().sinks["mqtt"]
    delivery.close()
    assert (counts.delivered, counts.pending, counts.dropped) == (60, 0, 0)
    expected = [event.event_id for event in events]
    listener.wait_until(events[-1].to_json())
    heard = listener.event_ids()
    # What these brokers, which keep nothing, acknowledged in the moment of their own death may
    # have died with them; all else has reached the listener.
    missing = [n for n, event_id in enumerate(expected) if event_id not in heard]
    assert not [n for n in missing if 10 <= n < 30 or n >= 40]
    assert set(heard) <= set(expected)
    first_heard = list(dict.fromkeys(heard))
    assert first_heard == sorted(first_heard, key=expected.index)


# paho leaves the socket of a failed handshake to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_user_is_let_in_over_tls_and_others_are_not(
    guarded_broker: Any, make_stored: MakeStored
) -> None:
    broker, ca_file = guarded_broker
    ann = {"username": "ann", "password": "secret", "tls": True, "ca_file": ca_file}
    sink = MqttSink(Broker("localhost", broker.port, **ann))
    sink.deliver([make_stored(1)])
    sink.close()
    stranger = MqttSink(
        Broker("localhost", broker.port, **{**ann, "password": "guess"}, timeout_s=3.0)
    )
    with pytest.raises(UndeliveredError, match=r"(?i)not auth|bad user|lost"):
        stranger.deliver([make_stored(1)])
    trusting_nobody_known = MqttSink(Broker("localhost", broker.port, **{**ann, "ca_file": None}))
    with pytest.raises(UndeliveredError, match="CERTIFICATE_VERIFY_FAILED"):
        trusting_nobody_known.deliver([make_stored(1)])


def test_a_frozen_broker_acknowledges_nothing_and_does_not_hold_us(
    broker: Any, make_stored: MakeStored
) -> None:
    sink = MqttSink(Broker("127.0.0.1", broker.port, timeout_s=0.3))
    sink.deliver([make_stored(1)])
    broker.freeze()
    with pytest.raises(UndeliveredError, match="in time") as caught:
        sink.deliver([make_stored(2), make_stored(3)])
    assert caught.value.acknowledged == 0
    broker.thaw()
    sink.deliver([make_stored(2), make_stored(3)])
    sink.close()


def test_a_server_that_never_speaks_is_given_up(make_stored: MakeStored) -> None:
    silent = socket.create_server(("127.0.0.1", 0))
    taken: list[socket.socket] = []
    thread = threading.Thread(target=lambda: taken.append(silent.accept()[0]))
    thread.start()
    sink = MqttSink(Broker("127.0.0.1", silent.getsockname()[1], timeout_s=0.3))
    with pytest.raises(UndeliveredError, match="in time"):
        sink.deliver([make_stored(1)])
    thread.join()
    for connection in (*taken, silent):
        connection.close()
    with pytest.raises(UndeliveredError, match="Connection refused"):
        sink.deliver([make_stored(1)])


def test_arguments_are_checked(tmp_path: Path) -> None:
    with pytest.raises(DeliveryError, match="topic"):
        MqttSink(Broker("localhost"), topic="a/#")
    with pytest.raises(DeliveryError, match="name or an address"):
        Broker("homeassistant..local")
    with pytest.raises(DeliveryError, match="certificates"):
        MqttSink(Broker("localhost", tls=True, ca_file=tmp_path / "none.pem"))
