"""What `adln serve` can be told, by file (TOML), by environment, and by options.

Later ones win: the file, then variables ``ADLN_SERVE_<NAME>``, then options of the command.
"""

import ipaddress
import json
from collections.abc import Mapping, Sequence
from dataclasses import field, fields
from pathlib import Path

from adln.embedders.quality import QUALITIES, Quality
from adln.errors import SettingsError
from adln.settings import read_settings, settings

ENVIRONMENT_PREFIX = "ADLN_SERVE_"
_PLAIN_TEXT = (str, str | None, Quality)


@settings
class ServeSettings:
    """Settings of the service.

    Attributes:
        gallery: folder of the gallery; it is made if there is none.
        network: an exported network, as a file or by the name of a shipped one; "" for none, then
            pictures cannot be embedded here and boxes push embeddings.
        quality: how deep pictures are looked at: "fast" by Res1, "best" by Res2, "balanced" by Res2
            where Res1 finds no match. Other networks than the shipped ones are of one depth.
        depth: stages to embed with; the deepest of the file if left out.
        flip: average with the mirrored picture, for twice the work.
        host: address to listen on. Beyond this machine tokens are always required.
        port: port to listen on.
        hosts: further names by which browsers reach this machine, such as "reid.example.org".
        require_token: ask for a token on this machine as well; needed behind a proxy.
        state: folder of tokens and of the audit log; "service" in the gallery if left out.
        tls_certificate: file of a certificate chain; together with `tls_key` the service speaks
            HTTPS.
        tls_key: file of its private key.
        keep_pictures: keep a small picture of each sighting where one is given, and show what
            the cameras see.
        watch: settings of the cameras, a file as of `adln watch`; if left out, those that were
            added on the page.
        repeat_recordings: play recordings named there again and again, as if taken now.
        retention_every_s: how often the gallery's rules on what is kept are applied; 0 for never.
        camera_names: camera number -> what people call it.
        match: cosine from which on it is the same person, where there is no calibration.
        candidate: cosine from which on it may be.
        max_picture_bytes: largest picture taken.
        max_picture_pixels: most pixels of a picture, before it is decoded.
        max_json_bytes: largest body of any other request.
        body_s: how long a request may take to arrive, in s.
        head_s: how long its first lines may take, in s.
        max_connections: in all; where there are more, idle ones make room.
        max_connections_of_one: of one address.
        requests_per_minute: of one client; 0 for no limit.
        failed_tokens_per_minute: wrong tokens from one address before it has to wait.
        threads: requests that are worked on at a time; the others wait.
        embed_at_once: pictures decoded and embedded at a time.
        max_listeners: pages that follow live events at a time.
        stop_s: how long running requests may take at the end, in s.
        log_format: "text" for people, "json" for machines, one object a line.
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
        thresholds = (self.match, self.candidate)
        checks = (
            (0 <= self.port < 65536, "port must be 0 to 65535"),
            (self.log_format in ("text", "json"), 'log_format must be "text" or "json"'),
            (
                (self.tls_certificate is None) == (self.tls_key is None),
                "tls_certificate and tls_key go together",
            ),
            (thresholds.count(None) != 1, "match and candidate go together"),
            (
                None in thresholds or -1 <= (self.candidate or 0) <= (self.match or 0) <= 1,
                "thresholds must be -1 <= candidate <= match <= 1",
            ),
            (self.depth is None or 1 <= self.depth <= 4, "depth must be 1 to 4"),
            (
                self.depth is None or self.quality == "best",
                f'depth goes with quality = "best" only, one of {", ".join(QUALITIES)}',
            ),
            (
                min(self.max_picture_bytes, self.max_picture_pixels, self.max_json_bytes) >= 1024,
                "limits of size must be at least 1024",
            ),
            (min(self.body_s, self.head_s, self.stop_s) > 0, "times must be above 0"),
            (
                min(self.max_connections, self.max_connections_of_one) >= 1,
                "max_connections and max_connections_of_one must be at least 1",
            ),
            (
                self.retention_every_s == 0 or self.retention_every_s >= 1,
                "retention_every_s must be 0 or at least 1",
            ),
            (
                min(self.requests_per_minute, self.max_listeners) >= 0,
                "requests_per_minute and max_listeners must not be negative",
            ),
            (
                min(self.failed_tokens_per_minute, self.threads, self.embed_at_once) >= 1,
                "failed_tokens_per_minute, threads and embed_at_once must be at least 1",
            ),
        )
        problems = [text for is_fine, text in checks if not is_fine]
        if problems:
            raise SettingsError(f"These settings cannot be used: {'; '.join(problems)}.")

    @property
    def tokens_required(self) -> bool:
        """Whether every request needs a token."""
        return self.require_token or not is_loopback(self.host)

    @property
    def state_folder(self) -> Path:
        """Where tokens and the audit log are."""
        return Path(self.gallery) / "service" if self.state is None else Path(self.state)

    @property
    def own_watch(self) -> Path:
        """File of cameras that were added on the page, where `watch` names none."""
        return self.state_folder / "watch.toml"


def is_loopback(host: str) -> bool:
    """Whether an address can only be reached from this machine. Names other than localhost: no."""
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
        path: TOML file; all defaults if left out.
        environment: such as `os.environ`; `ADLN_SERVE_PORT=9000` sets `port`. Values other than
            plain text are written as in TOML.
        overrides: "key=value" as in TOML; these win.

    Raises:
        SettingsError: an unknown key or variable, or a value that cannot be used.
    """
    kinds = {one.name: one.type for one in fields(ServeSettings)}
    from_environment = []
    for variable in sorted(environment):
        if not variable.startswith(ENVIRONMENT_PREFIX):
            continue
        name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
        if name not in kinds:
            raise SettingsError(
                f"{variable} sets nothing: there is no setting {name!r}. Known: {', '.join(kinds)}."
            )
        value = environment[variable]
        is_text = kinds[name] in _PLAIN_TEXT
        # JSON's text literals are TOML's as well.
        from_environment.append(f"{name}={json.dumps(value) if is_text else value}")
    return read_settings(ServeSettings, path, [*from_environment, *overrides])
