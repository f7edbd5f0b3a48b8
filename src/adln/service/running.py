"""Runs the service until it is told to stop."""

import asyncio
import errno
import ipaddress
import logging
import resource
import signal
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from adln.errors import ServiceError
from adln.service.connections import ConnectionLimits, guarded_protocol
from adln.service.live import Events
from adln.service.settings import ServeSettings

_FEWEST = 64
_KEEP_ALIVE_S = 5
_HANDSHAKE_S = 10.0
# Connections that the system holds until they are looked at.
_WAITING = 2048
# A name may stand for an address of a kind that this machine does not have.
_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
# Besides connections: the gallery, its codes, the log; and connections that are just ending.
_FILES_BESIDES = 512


_log = logging.getLogger(__name__)


class _Server(uvicorn.Server):
    """Ends live events as soon as it is told to stop: they would never end by themselves."""

    def __init__(self, config: uvicorn.Config, events: Events) -> None:
        super().__init__(config)
        self._events = events

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self.config.ssl is not None:
            # Until a handshake is done nobody else sees the connection; a minute is asyncio's.
            loop = asyncio.get_running_loop()
            listen = partial(loop.create_server, ssl_handshake_timeout=_HANDSHAKE_S)
            loop.create_server = listen  # type: ignore[method-assign]
        await super().startup(sockets=sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._events.close()
        super().handle_exit(sig, frame)


@contextmanager
def listening(settings: ServeSettings) -> Iterator[list[socket.socket]]:
    """Take the address, before anything is made that would be in vain without it.

    Who connects meanwhile waits until it is served.

    Yields:
        A socket for each address that the host has.

    Raises:
        ServiceError: the address cannot be listened to, or the certificate cannot be used.
    """
    if settings.tls_certificate is not None:
        try:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(settings.tls_certificate, settings.tls_key)
        except OSError as error:
            raise _certificate_error(error) from error
    with ExitStack() as opened:
        sockets: list[socket.socket] = []
        failed: OSError | UnicodeError | None = None
        try:
            for family, place in _places(settings):
                # Where any port will do, it is the same one for all addresses.
                port = sockets[0].getsockname()[1] if sockets else place[1]
                try:
                    found = _listener(family, (place[0], port, *place[2:]))
                except OSError as error:
                    if error.errno not in _NOT_HERE:
                        raise
                    failed = error
                else:
                    sockets.append(opened.enter_context(found))
        except (OSError, UnicodeError) as error:
            failed, sockets = error, []
        if not sockets:
            why = getattr(failed, "strerror", None) or failed
            raise ServiceError(
                f"{settings.host}:{settings.port} cannot be listened to ({why}). Choose another "
                "port or address, or stop who uses it."
            ) from failed
        yield sockets


def _places(settings: ServeSettings) -> list[tuple[int, Any]]:
    """Family and address of each place that the host's name stands for."""
    found = socket.getaddrinfo(
        settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    return list(dict.fromkeys((family, place) for family, _, _, _, place in found))


def _certificate_error(error: OSError) -> ServiceError:
    return ServiceError(f"The certificate cannot be used ({error}).")


def _listener(family: int, place: Any) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # Else it would take IPv4's place, too, which has a socket of its own.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(place)
        # Two that are only bound may have the same address.
        listener.listen(_WAITING)
    except BaseException:
        listener.close()
        raise
    return listener


def run(
    app: FastAPI, settings: ServeSettings, events: Events, sockets: list[socket.socket]
) -> None:
    """Serve until SIGINT or SIGTERM; requests that are running then are finished.

    Args:
        app: of `adln.service.app.make_app`.
        settings: as read.
        events: those of the app.
        sockets: of `listening`; closed at the end.

    Raises:
        ServiceError: the certificate cannot be read, or something cannot be started.
    """
    files = _allow_files(settings.max_connections + _FILES_BESIDES)
    most = max(_FEWEST, min(settings.max_connections, files - _FILES_BESIDES))
    if most < settings.max_connections:
        _log.warning("%d connections at most: this process may have %d files", most, files)
    try:
        config = server_config(app, replace(settings, max_connections=most))
        server = _Server(config, events)
        config.load()
    except OSError as error:
        raise _certificate_error(error) from error
    # Uvicorn raises the signal again when it has ended; then it is this program's turn to end, in
    # order: the gallery is closed so that the next start is quick.
    before = {one: signal.signal(one, _ended_already) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        server.run(sockets=sockets)
    except SystemExit as error:
        raise ServiceError("The service could not start; the log says why.") from error
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def server_config(app: FastAPI, settings: ServeSettings) -> uvicorn.Config:
    """How uvicorn serves the app.

    Raises:
        OSError: the certificate cannot be read.
    """
    limits = ConnectionLimits(
        most=settings.max_connections,
        most_of_one=settings.max_connections_of_one,
        head_s=settings.head_s,
    )
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=guarded_protocol(limits),
        # There are none, and where their library is installed they would pass by the guard.
        ws="none",
        log_config=None,
        # The guard logs requests, without what clients have put into paths.
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(settings.stop_s)),
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
        lifespan="on",
    )


def _allow_files(count: int) -> int:
    """Let this process have so many files and connections; how many it may have then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return count if soft == resource.RLIM_INFINITY else soft


def _ended_already(number: int, frame: FrameType | None) -> None:
    pass


def address(settings: ServeSettings) -> str:
    """Where to point a browser."""
    host = settings.host
    try:
        parsed = ipaddress.ip_address(host)
    except ValueError:
        shown = host
    else:
        # "Everywhere" is no place to go to.
        shown = (
            "localhost" if parsed.is_unspecified else f"[{host}]" if parsed.version == 6 else host
        )
    kind = "http" if settings.tls_certificate is None else "https"
    return f"{kind}://{shown}:{settings.port}/"
