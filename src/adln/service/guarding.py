"""Checks each request before it reaches the API: host, origin, size and time; sets headers.

Protects against other sites' pages in a local browser (cross-site requests, DNS rebinding),
against endless bodies, and against misuse of this service's own page (clickjacking, injection).
"""

import asyncio
import ipaddress
import socket
import time
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from adln.service.problems import refusal, too_large
from adln.service.settings import ServeSettings, is_loopback

# Paths with these endings take a picture; all others take JSON.
_PICTURE_PATH_ENDS = ("/picture", "/frames/people")
_SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    # Keeps personal data out of caches of browsers and proxies.
    "Cache-Control": "no-store",
}
# Headers that proxies, load balancers and tunnels add, and local programs do not send.
_PROXY_HEADERS = frozenset(
    (
        *("forwarded", "via", "cdn-loop", "client-ip", "true-client-ip", "x-real-ip"),
        *("x-client-ip", "x-cluster-client-ip", "x-host", "x-scheme", "x-url-scheme", "x-port"),
        *("x-request-start", "x-queue-start", "x-varnish", "x-cache", "front-end-https"),
        *("x-remote-ip", "x-remote-addr", "remote-addr", "x-coming-from", "x-bluecoat-via"),
        *("x-cloud-trace-context", "x-sendfile-type", "x-accel-mapping", "max-forwards", "proxy"),
        "x-real-port",
    )
)
_PROXY_HEADER_STARTS = (
    *("x-forwarded", "x-forward-", "x-original-", "x-proxy", "proxy-", "x-envoy-", "x-haproxy-"),
    *("cf-", "x-amzn-", "x-amz-", "x-azure-", "x-arr-", "x-appengine-", "x-vercel-", "x-nf-"),
    *("fastly-", "fly-", "x-akamai-", "akamai-", "x-nginx-", "x-ssl-", "ssl-", "x-client-cert"),
    *("tailscale-", "ngrok-", "x-authentik-", "x-auth-request-", "remote-user", "wl-proxy-"),
    *("x-goog-", "x-sucuri-", "incap-"),
)
# After this grace time, a body must have arrived at this average rate.
_GRACE_S = 10.0
_LEAST_BYTES_PER_S = 4096


class Guard:
    """ASGI middleware that refuses unsafe requests and sets the headers of every response.

    `on_answer` is called with scope, status and seconds of every request.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        settings: ServeSettings,
        on_answer: Callable[[Scope, int, float], None],
    ) -> None:
        self._app = app
        self._settings = settings
        # Addresses are always allowed: a page of another site can only point a *name* of its own at
        # this machine.
        own = socket.gethostname()
        names = ("localhost", own, f"{own}.local", *settings.hosts)
        self._hosts = frozenset(name.lower() for name in names)
        self._headers = dict(_SECURITY_HEADERS)
        if settings.tls_certificate is not None:
            self._headers["Strict-Transport-Security"] = "max-age=31536000"
        self._on_answer = on_answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request, see ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 0

        async def send_guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
                if status in (408, 413):
                    # The rest of the body is not read.
                    headers["Connection"] = "close"
            await send(message)

        is_picture = scope["path"].endswith(_PICTURE_PATH_ENDS)
        settings = self._settings
        limit = settings.max_picture_bytes if is_picture else settings.max_json_bytes
        try:
            headers = Headers(scope=scope)
            refused = self._refused(scope, headers)
            if refused is None and _stated_length(headers) > limit:
                refused = refusal(413, too_large(limit))
            answer = refused or self._app
            await answer(scope, self._limited(receive, limit), send_guarded)
        finally:
            self._on_answer(scope, status, time.perf_counter() - began)

    def _refused(self, scope: Scope, headers: Headers) -> JSONResponse | None:
        host = _host_name(headers.get("host", ""))
        if not (_is_address(host) or host in self._hosts):
            return refusal(
                400,
                "This host name is not allowed. Use the service's address, or add the name to the "
                "setting `hosts`.",
                problem="wrong_host",
            )
        # Through a proxy, everyone would have access.
        if not self._settings.tokens_required and not _is_direct(scope, headers):
            return refusal(
                403,
                "Without tokens, requests must come directly from this machine, to its loopback "
                "address and port; this one seems to have come through a proxy. Set "
                "`require_token`.",
                problem="behind_a_proxy",
            )
        is_own = headers.get("sec-fetch-site", "none") in ("none", "same-origin")
        if (origin := headers.get("origin")) is not None:
            is_own &= origin.partition("://")[2].lower() == headers.get("host", "").lower()
        # Other sites may link to this page, but not send requests to the API.
        is_link = (
            scope["method"] in ("GET", "HEAD", "OPTIONS")
            and headers.get("sec-fetch-mode") == "navigate"
            and not scope["path"].startswith("/api/")
        )
        if not is_own and not is_link:
            message = "Requests from pages of other sites are not allowed."
            return refusal(403, message, problem="foreign_page")
        return None

    def _limited(self, receive: Receive, limit: int) -> Receive:
        taken = 0
        began_s: float | None = None
        whole = False

        async def receive_limited() -> Message:
            nonlocal taken, whole, began_s
            if whole:
                # Waits for the client's disconnect, without a time limit.
                return await receive()
            now_s = time.monotonic()
            # Counts from the first read: waiting in a queue before that is not the client's fault.
            began_s = now_s if began_s is None else began_s
            longest_s = min(self._settings.body_s, _GRACE_S + taken / _LEAST_BYTES_PER_S)
            try:
                message = await asyncio.wait_for(receive(), max(0.0, began_s + longest_s - now_s))
            except TimeoutError as error:
                raise HTTPException(408, "The request took too long to arrive.") from error
            if message["type"] == "http.request":
                taken += len(message.get("body", b""))
                whole = not message.get("more_body", False)
                if taken > limit:
                    raise HTTPException(413, too_large(limit))
            return message

        return receive_limited


def _stated_length(headers: Headers) -> int:
    text = headers.get("content-length", "0")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 2**63


def _host_name(host: str) -> str:
    """The name in a Host header, without the port."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def _is_direct(scope: Scope, headers: Headers) -> bool:
    """Whether a request seems to come from a local program directly, not through a proxy.

    A proxy that adds no header and sends the served host and port cannot be detected.
    """
    if any(name in _PROXY_HEADERS or name.startswith(_PROXY_HEADER_STARTS) for name in headers):
        return False
    host = headers.get("host", "")
    # HTTP/1.0: nginx's default towards its upstream; browsers have not used it since 1999.
    if scope.get("http_version") == "1.0" or not is_loopback(_host_name(host)):
        return False
    port = (host.partition("]")[2] if host.startswith("[") else host).partition(":")[2]
    _, served = scope.get("server") or (None, None)
    usual = "443" if scope.get("scheme") == "https" else "80"
    return served is None or (port or usual) == str(served)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
