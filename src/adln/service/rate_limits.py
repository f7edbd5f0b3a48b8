"""Rate limits per client (token bucket)."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

# Most clients remembered; beyond that, the least recent is dropped (its bucket is full).
_MOST_CLIENTS = 10_000


class RateLimit:
    """Limits the requests per minute of each client; 0 for no limit.

    The largest burst (`at_once`) is by default half of that; `clock` is monotonic, in s.
    """

    def __init__(
        self,
        per_minute: int,
        *,
        at_once: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._per_s = per_minute / 60
        self._most = max(1.0, per_minute / 2 if at_once is None else at_once)
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, client: str, *, take: bool = True) -> float:
        """How long a client has to wait, in s; 0 if it need not, which `take` then counts."""
        if self._per_s == 0:
            return 0.0
        now = self._clock()
        with self._lock:
            filled, at = self._buckets.get(client, (self._most, now))
            filled = min(self._most, filled + (now - at) * self._per_s)
            allowed = filled >= 1
            self._buckets[client] = (filled - (1 if allowed and take else 0), now)
            self._buckets.move_to_end(client)
            if len(self._buckets) > _MOST_CLIENTS:
                self._buckets.popitem(last=False)
        return 0.0 if allowed else (1 - filled) / self._per_s
