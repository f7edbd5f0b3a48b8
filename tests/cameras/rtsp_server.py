"""A camera that speaks RTSP (RFC 2326) and sends JPEG pictures along with it (RFC 2435)."""

import base64
import contextlib
import io
import select
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MakeImage = Callable[[int], NDArray[np.uint8]]

_FRAGMENT_BYTES = 1400
_CLOCK_HZ = 90_000
_JPEG = 26  # RTP's number for it
_SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n"
    f"m=video 0 RTP/AVP {_JPEG}\r\na=control:track1\r\n"
)


class RtspCamera:
    """Serves pictures on a port of this machine while its context lasts.

    Args:
        image: number of the picture -> (H, W, 3) uint8 RGB, H and W multiples of 16.
        port: 0 for any that is free.
        fps: pictures a second.
        account: "user:password" that it asks for; "" for none.
        stop_after: goes silent after so many pictures, without hanging up.
    """

    def __init__(
        self,
        image: MakeImage,
        *,
        port: int = 0,
        fps: float = 25.0,
        account: str = "",
        stop_after: int | None = None,
    ) -> None:
        self._image, self._fps, self._account = image, fps, account
        self._stop_after = stop_after
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self._stopped = threading.Event()
        self._links: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> "RtspCamera":
        self._threads[0].start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped.set()
        for link in (self._listener, *self._links):
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
            link.close()
        for thread in self._threads:
            thread.join()

    def url(self, account: str = "") -> str:
        """Its address, with an account if it needs one."""
        return f"rtsp://{account + '@' if account else ''}127.0.0.1:{self.port}/stream"

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                link, _ = self._listener.accept()
            except OSError:
                return
            self._links.append(link)
            thread = threading.Thread(target=self._serve, args=(link,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, link: socket.socket) -> None:
        try:
            playing = False
            number = sent = 0
            while not self._stopped.is_set():
                ready, _, _ = select.select([link], [], [], 1 / self._fps if playing else 1.0)
                if ready:
                    answer = self._answer(link)
                    if answer is None:
                        return
                    playing = playing or answer
                elif playing and number != self._stop_after:
                    for packet in packets(self._image(number), sent, number / self._fps):
                        link.sendall(b"$\0" + struct.pack(">H", len(packet)) + packet)
                        sent += 1
                    number += 1
        except (OSError, ValueError):
            return  # either side has hung up

    def _answer(self, link: socket.socket) -> bool | None:
        """Answer a request; True if it asks for pictures, None if the other side is gone."""
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            byte = link.recv(1)
            if not byte:
                return None
            request += byte
            if request[:1] == b"$" and len(request) == 4:
                # A report on how the pictures arrive; the camera does not care.
                link.recv(struct.unpack(">H", request[2:])[0], socket.MSG_WAITALL)
                return False
        first, *lines = request.decode("ascii").split("\r\n")
        method = first.split()[0]
        fields = dict(line.split(": ", 1) for line in lines if ": " in line)
        head = [f"CSeq: {fields['CSeq']}", "Session: 1"]
        body, status = "", "200 OK"
        expected = "Basic " + base64.b64encode(self._account.encode()).decode()
        if self._account and fields.get("Authorization") != expected:
            status = "401 Unauthorized"
            head.append('WWW-Authenticate: Basic realm="camera"')
        elif method == "OPTIONS":
            head.append("Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN")
        elif method == "DESCRIBE":
            body = _SDP
            head += ["Content-Type: application/sdp", f"Content-Length: {len(body)}"]
        elif method == "SETUP":
            head.append("Transport: RTP/AVP/TCP;unicast;interleaved=0-1")
        link.sendall("\r\n".join([f"RTSP/1.0 {status}", *head, "", body]).encode("ascii"))
        return method == "PLAY" and status == "200 OK"


def packets(image: NDArray[np.uint8], sent: int, time_s: float) -> list[bytes]:
    """RTP packets of a picture, after so many others."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=90, subsampling=2)
    tables, scan = _parts(file.getvalue())
    timestamp = round(time_s * _CLOCK_HZ) % 2**32
    made = []
    for start in range(0, len(scan), _FRAGMENT_BYTES):
        fragment = scan[start : start + _FRAGMENT_BYTES]
        is_last = start + len(fragment) == len(scan)
        # Type 1 is 4:2:0; quality 255 says that the tables come with the picture.
        header = struct.pack(">I", start) + bytes(
            [1, 255, image.shape[1] // 8, image.shape[0] // 8]
        )
        if start == 0:
            header += struct.pack(">BBH", 0, 0, len(tables)) + tables
        rtp = struct.pack(
            ">BBHII", 0x80, is_last << 7 | _JPEG, (sent + len(made)) % 2**16, timestamp, 7
        )
        made.append(rtp + header + fragment)
    return made


def _parts(jpeg: bytes) -> tuple[bytes, bytes]:
    """Quantisation tables and entropy-coded picture of a JPEG file."""
    tables, at = b"", 2
    while True:
        marker, length = struct.unpack(">HH", jpeg[at : at + 4])
        segment = jpeg[at + 4 : at + 2 + length]
        if marker == 0xFFDB:
            # Each table stands behind a byte with its number.
            tables += b"".join(segment[i + 1 : i + 65] for i in range(0, len(segment), 65))
        at += 2 + length
        if marker == 0xFFDA:
            return tables, jpeg[at:-2]
