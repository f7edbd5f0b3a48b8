"""Settings of `adln serve`: TOML file, variables ``ADLN_SERVE_<NAME>``, options; later ones win."""

import ipaddress
import json
from collections.abc import Mapping, Sequence
from dataclasses import field, fields
from math import inf
from pathlib import Path

from adln.embedders.quality import QUALITIES, Quality
from adln.errors import SettingsError
from adln.settings import outside, read_settings, settings

_PREFIX = "ADLN_SERVE_"
_PLAIN_TEXT = (str, str | None, Quality)


@settings
class ServeSettings:
    """Settings of the service, as in docs/serve.md; times in s, sizes in bytes.

    Attributes:
        network: an exported network, as a file or the name of a shipped one; "" for none: then
            pictures cannot be embedded here, and devices push embeddings.
        quality: depth used for pictures: "fast" is Res1, "best" is Res2, "balanced" is Res2 where
            Res1 finds no match. Only for shipped networks; others have one depth.
        depth: depth to embed with; by default the deepest of the file.
        flip: average with the mirrored picture, for twice the work.
        host: address to listen on. Beyond this machine, tokens are always required.
        hosts: further host names by which browsers reach the service, such as "reid.example.org".
        require_token: require a token on this machine, too; needed behind a proxy.
        state: folder of tokens and audit log; by default "service" in the gallery.
        tls_certificate: file of a certificate chain; with `tls_key`, the service uses HTTPS.
        keep_pictures: store a small picture of each sighting, and show the cameras' pictures.
        watch: watch file with the cameras; by default the one that the page writes.
        repeat_recordings: play recordings in the watch file in a loop, as if recorded now.
        retention_every_s: interval between applications of the retention rules; 0 for never.
        camera_names: camera number -> name for display.
        match: lowest cosine of a match, without calibration; so is `candidate` of a candidate.
        max_picture_pixels: most pixels of a picture, checked before decoding.
        max_json_bytes: largest body of requests that send no picture.
        body_s: how long a request may take to arrive; `head_s` for its head.
        max_connections: in total, and `max_connections_of_one` address; idle ones make room.
        requests_per_minute: limit for one client; 0 for none.
        failed_tokens_per_minute: wrong tokens from one address before it has to wait.
        threads: requests processed at a time; others wait.
        embed_at_once: pictures decoded and embedded at a time.
        max_listeners: most event streams at a time.
        stop_s: how long running requests may take when the service stops.
    """

    gallery: str = "gallery"
    network: str = "res2"
    quality: Quality = "best"
    depth: int | None = None
    flip: bool = False
    host: str = "127.0.0.1"
    port: int = 8484
    hosts: tuple[str, ...] = ()
    require_token: bool = False
    state: str | None = None
    tls_certificate: str | None = None
    tls_key: str | None = None
    keep_pictures: bool = False
    watch: str | None = None
    repeat_recordings: bool = False
    retention_every_s: float = 3600.0
    camera_names: dict[int, str] = field(default_factory=dict)
    match: float | None = None
    candidate: float | None = None
    max_picture_bytes: int = 16 * 2**20
    max_picture_pixels: int = 20_000_000
    max_json_bytes: int = 4 * 2**20
    body_s: float = 60.0
    head_s: float = 10.0
    max_connections: int = 2048
    max_connections_of_one: int = 1024
    requests_per_minute: int = 1200
    failed_tokens_per_minute: int = 10
    threads: int = 16
    embed_at_once: int = 2
    max_listeners: int = 32
    stop_s: float = 10.0
    log_format: str = "text"

    def __post_init__(self) -> None:
        sizes = ["max_picture_bytes", "max_picture_pixels", "max_json_bytes"]
        match, candidate, depth = self.match, self.candidate, self.depth
        problems = outside(
            self,
            (0, 65535, ["port"]),
            (0, inf, ["requests_per_minute", "max_listeners"]),
            (1, inf, ["max_connections", "max_connections_of_one"]),
            (1, inf, ["failed_tokens_per_minute", "threads", "embed_at_once"]),
            (1024, inf, sizes),
        )
        if self.log_format not in ("text", "json"):
            problems.append('log_format must be "text" or "json"')
        if (self.tls_certificate is None) != (self.tls_key is None):
            problems.append("tls_certificate and tls_key must be set together")
        if (match is None) != (candidate is None):
            problems.append("match and candidate must be set together")
        elif match is not None and candidate is not None and not -1 <= candidate <= match <= 1:
            problems.append("thresholds must be -1 <= candidate <= match <= 1")
        if depth is not None and not 1 <= depth <= 4:
            problems.append("depth must be 1 to 4")
        if depth is not None and self.quality != "best":
            problems.append(f'depth needs quality = "best", of {", ".join(QUALITIES)}')
        if min(self.body_s, self.head_s, self.stop_s) <= 0:
            problems.append("times must be above 0")
        if self.retention_every_s != 0 and self.retention_every_s < 1:
            problems.append("retention_every_s must be 0 or at least 1")
        if problems:
            raise SettingsError(f"These settings cannot be used: {'; '.join(problems)}.")

    @property
    def tokens_required(self) -> bool:
        """Whether every request needs a token."""
        return self.require_token or not is_loopback(self.host)

    @property
    def state_folder(self) -> Path:
        """Folder of tokens and audit log."""
        return Path(self.gallery) / "service" if self.state is None else Path(self.state)

    @property
    def own_watch(self) -> Path:
        """Watch file that the page writes if `watch` is not set."""
        return self.state_folder / "watch.toml"


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only. Of names, only localhost can."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_serve_settings(
    path: Path | None, environment: Mapping[str, str], overrides: Sequence[str] = ()
) -> ServeSettings:
    """Read the settings of the service.

    Args:
        path: TOML file; None for the defaults.
        environment: such as `os.environ`; `ADLN_SERVE_PORT=9000` sets `port`. Values other than
            text are written as in TOML.
        overrides: "key=value" as in TOML; these win.

    Raises:
        SettingsError: unknown key or variable, or invalid value.
    """
    kinds = {one.name: one.type for one in fields(ServeSettings)}
    given = {
        variable: variable.removeprefix(_PREFIX).lower()
        for variable in sorted(environment)
        if variable.startswith(_PREFIX)
    }
    unknown = [f"{variable} ({name})" for variable, name in given.items() if name not in kinds]
    if unknown:
        raise SettingsError(
            f"there are no settings for {', '.join(unknown)}. Known: {', '.join(kinds)}."
        )
    from_environment = []
    for variable, name in given.items():
        value = environment[variable]
        is_text = kinds[name] in _PLAIN_TEXT
        # JSON string literals are valid TOML.
        from_environment.append(f"{name}={json.dumps(value) if is_text else value}")
    return read_settings(ServeSettings, path, [*from_environment, *overrides])
