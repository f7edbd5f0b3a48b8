"""Runs the service until it is stopped."""

import asyncio
import errno
import ipaddress
import logging
import resource
import signal
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from adln.errors import ServiceError
from adln.service.connections import guarded_protocol
from adln.service.live import Events
from adln.service.settings import ServeSettings

_FEWEST = 64
_KEEP_ALIVE_S = 5
_HANDSHAKE_S = 10.0
# Connections that the system queues until they are accepted.
_WAITING = 2048
# A name may resolve to an address family that this machine does not support.
_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
# Files besides connections: gallery, codes, log, and connections that are closing.
_FILES_BESIDES = 512

_log = logging.getLogger(__name__)


class _Server(uvicorn.Server):
    """Ends event streams on shutdown: they would never end by themselves."""

    def __init__(self, config: uvicorn.Config, events: Events) -> None:
        super().__init__(config)
        self._events = events

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self.config.ssl is not None:
            # Only asyncio sees a connection before its TLS handshake; its default is a minute.
            loop = asyncio.get_running_loop()
            listen = partial(loop.create_server, ssl_handshake_timeout=_HANDSHAKE_S)
            loop.create_server = listen  # type: ignore[method-assign]
        await super().startup(sockets=sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._events.close()
        super().handle_exit(sig, frame)


@contextmanager
def listening(settings: ServeSettings) -> Iterator[list[socket.socket]]:
    """Listen first, on a socket for each address of the host: nothing else is of use without.

    Clients that connect early wait until the service is ready.

    Raises:
        ServiceError: cannot listen on the address, or the certificate cannot be used.
    """
    if settings.tls_certificate is not None:
        try:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(settings.tls_certificate, settings.tls_key)
        except OSError as error:
            raise _certificate_error(settings, error) from error
    with ExitStack() as opened:
        sockets: list[socket.socket] = []
        failed: OSError | UnicodeError | None = None
        try:
            found = socket.getaddrinfo(
                settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            for family, place in dict.fromkeys((one[0], one[4]) for one in found):
                # Port 0 (any): the same port for all addresses.
                port = sockets[0].getsockname()[1] if sockets else place[1]
                try:
                    one = _listener(family, (place[0], port, *place[2:]))
                except OSError as error:
                    if error.errno not in _NOT_HERE:
                        raise
                    failed = error
                else:
                    sockets.append(opened.enter_context(one))
        except (OSError, UnicodeError) as error:
            failed, sockets = error, []
        if not sockets:
            why = getattr(failed, "strerror", None) or failed
            raise ServiceError(
                f"Cannot listen on {settings.host}:{settings.port} ({why}). Choose another port or "
                "address, or stop the program that uses it."
            ) from failed
        yield sockets


def _certificate_error(settings: ServeSettings, error: OSError) -> ServiceError:
    return ServiceError(
        f"The certificate cannot be used ({error.strerror or error}). Expected files in PEM: "
        f"tls_certificate {settings.tls_certificate}, tls_key {settings.tls_key}."
    )


def _listener(family: int, place: Any) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # Otherwise it would occupy the IPv4 address, too, which has its own socket.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(place)
        # Sockets that are bound but not listening can share an address.
        listener.listen(_WAITING)
    except BaseException:
        listener.close()
        raise
    return listener


def run(
    app: FastAPI, settings: ServeSettings, events: Events, sockets: list[socket.socket]
) -> None:
    """Serve on the sockets of `listening` until SIGINT or SIGTERM; then finish running requests.

    Raises:
        ServiceError: the certificate cannot be read, or the service cannot start.
    """
    files = _allow_files(settings.max_connections + _FILES_BESIDES)
    most = max(_FEWEST, min(settings.max_connections, files - _FILES_BESIDES))
    if most < settings.max_connections:
        _log.warning("limited to %d connections: this process may open %d files", most, files)
    try:
        config = server_config(app, replace(settings, max_connections=most))
        server = _Server(config, events)
        config.load()
    except OSError as error:
        raise _certificate_error(settings, error) from error
    # Uvicorn re-raises the signal when it has ended; handled here, so that this program then closes
    # the gallery, which makes the next start quick.
    before = {one: signal.signal(one, lambda *_: None) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        server.run(sockets=sockets)
    except SystemExit as error:
        raise ServiceError("The service could not start; the log says why.") from error
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def server_config(app: FastAPI, settings: ServeSettings) -> uvicorn.Config:
    """Uvicorn's configuration.

    Raises:
        OSError: the certificate cannot be read.
    """
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=guarded_protocol(settings),
        # The app has no WebSockets, and with their library installed they would bypass the guard.
        ws="none",
        log_config=None,
        # The guard logs requests, without client-supplied paths.
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
    """Raise this process's limit of open files to `count` if possible; returns the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return count if soft == resource.RLIM_INFINITY else soft


def address(settings: ServeSettings) -> str:
    """Address for a browser."""
    host = settings.host
    shown = f"[{host}]" if ":" in host else host
    with suppress(ValueError):
        if ipaddress.ip_address(host).is_unspecified:
            # A browser cannot open the wildcard address.
            shown = "localhost"
    kind = "http" if settings.tls_certificate is None else "https"
    return f"{kind}://{shown}:{settings.port}/"
