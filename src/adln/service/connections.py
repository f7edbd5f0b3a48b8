"""Connection limits of the service: total, per address, and time-outs.

Uvicorn limits only the total number of connections and waits indefinitely for a request, so a
client that opens enough silent connections locks everyone out. Here a connection must deliver its
request and accept its answer in time, and each address has a share. When there are too many, idle
connections are closed, first those that never sent a request.
"""

import asyncio
import ipaddress
import time
from collections.abc import Iterable
from typing import ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from adln.service.settings import ServeSettings

_NO_ROOM = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 5\r\n"
    b"content-length: 64\r\nconnection: close\r\n\r\n"
    b'{"problem": "not_now", "message": "Too many requests at a time"}'
)


# How long a client may leave an answer unread.
_WRITE_S = 30.0


def guarded_protocol(settings: ServeSettings) -> type[H11Protocol]:
    """The protocol class of one server, for uvicorn's setting `http`."""
    values = {"room": _Room(settings), "head_s": settings.head_s}
    return type("GuardedProtocol", (_Guarded,), values)


def network_of(address: str) -> str:
    """The client that an address counts as: an IPv4 address, or an IPv6 network (/64).

    One machine can use all addresses of such a network.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed.packed[:8] + bytes(8), 64)))
    return str(parsed)


class _Guarded(H11Protocol):
    """A connection with time-outs."""

    room: ClassVar["_Room"]
    head_s: ClassVar[float]

    # Used to choose which connection to close when there are too many.
    network = ""
    has_asked = False
    idle_since_s = 0.0
    _head: asyncio.TimerHandle | None = None
    _stuck: asyncio.TimerHandle | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.network = network_of(self.client[0]) if self.client else ""
        self._expect_head()
        if not self.room.enter(self):
            transport.write(_NO_ROOM)
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.room.leave(self)
        _cancel(self._head)
        _cancel(self._stuck)
        super().connection_lost(exc)

    def handle_events(self) -> None:
        super().handle_events()
        if self.is_busy:
            self.has_asked = True
            _cancel(self._head)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.is_busy:
            self._expect_head()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, once; whoever reads its body is told that no more comes."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            # An answer was sent, in part or whole.
            self.transport.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stuck = self.loop.call_later(_WRITE_S, self.give_up)

    def resume_writing(self) -> None:
        super().resume_writing()
        _cancel(self._stuck)

    def give_up(self) -> None:
        """Close it without waiting for the other side."""
        self.room.leave(self)
        self.transport.abort()

    def _expect_head(self) -> None:
        self.idle_since_s = time.monotonic()
        _cancel(self._head)
        # Closing connections, too: the client may never read their last bytes.
        self._head = self.loop.call_later(self.head_s, self.give_up)


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


class _Room:
    """The connections of a server, by client."""

    def __init__(self, settings: ServeSettings) -> None:
        self._settings = settings
        self._inside: dict[str, set[_Guarded]] = {}
        self._count = 0

    def enter(self, one: _Guarded) -> bool:
        """Admit a connection, closing an idle one if necessary; False if it must be refused."""
        own = self._inside.get(one.network, set())
        fits = True
        if len(own) >= self._settings.max_connections_of_one:
            fits = self._evict(own)
        elif self._count >= self._settings.max_connections:
            fits = self._evict(other for group in self._inside.values() for other in group)
        if fits:
            self._inside.setdefault(one.network, set()).add(one)
            self._count += 1
        return fits

    def leave(self, one: _Guarded) -> None:
        """Remove a connection that has ended; may be called twice."""
        own = self._inside.get(one.network, set())
        if one in own:
            own.remove(one)
            self._count -= 1
            if not own:
                del self._inside[one.network]

    def _evict(self, among: Iterable[_Guarded]) -> bool:
        idle = [one for one in among if not one.is_busy]
        if not idle:
            return False
        # From the client with most connections; an honest one has sent a request before.
        victim = min(
            idle,
            key=lambda one: (one.has_asked, -len(self._inside[one.network]), one.idle_since_s),
        )
        victim.give_up()
        return True
