"""How often each client may ask: a bucket that fills evenly and is emptied by requests."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

# Clients remembered; of more, the one not heard of for longest is forgotten (its bucket is full).
_MOST_CLIENTS = 10_000


class RateLimit:
    """Allows so many requests a minute to each client.

    Args:
        per_minute: how many; 0 for no limit.
        at_once: how many of them may come together; half of them if left out.
        clock: seconds that never go back.
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
        """How long a client has to wait, in s; 0 if the request is allowed.

        Args:
            client: who asks.
            take: count this request, if it is allowed; else only look.
        """
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
