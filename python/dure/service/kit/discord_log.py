"""Errors, told to a webhook of Discord's: never waited for, never more than a few a minute."""

from __future__ import annotations

import collections
import json
import logging
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable

__all__ = ["DiscordHandler"]

_MOST = 1900  # characters of a message, which may have 2,000
_MOST_WAITING = 100
_A_MINUTE = 20  # Discord takes 30
_SECONDS = 10.0

Send = Callable[[bytes], float]


class DiscordHandler(logging.Handler):
    """Hands records to a thread of its own; what is too much is dropped and counted. Thread-safe.

    Args:
        url: The webhook; it shows up in no message and no repr.
        redact: Takes secrets out of a text.
        send: In the place of the webhook, for tests: takes a body, returns a pause in seconds.
        clock: Seconds that only rise.
    """

    def __init__(
        self,
        url: str,
        *,
        redact: Callable[[str], str] = str,
        level: int = logging.ERROR,
        send: Send | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(level)
        self._redact, self._clock = redact, clock
        self._send = send or (lambda body: _posted(url, body))
        self._lines: collections.deque[str] = collections.deque()
        self._sent: collections.deque[float] = collections.deque(maxlen=_A_MINUTE)
        self._wake = threading.Event()
        self._stop = False
        self._thread: threading.Thread | None = None
        self.dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record, or count it as dropped; nothing is waited for."""
        if self._stop or len(self._lines) >= _MOST_WAITING:
            self.dropped += 1
            return
        try:
            text = self._redact(self.format(record))
        except Exception:  # noqa: BLE001 - a record that cannot be shown must not stop its caller
            self.handleError(record)
            return
        self._lines.append(text)
        self._wake.set()
        if self._thread is None:
            with self.lock or threading.RLock():
                if self._thread is None:
                    self._thread = threading.Thread(
                        target=self._run, name="dure-discord", daemon=True
                    )
                    self._thread.start()

    def _run(self) -> None:
        while not self._stop:
            self._wake.wait(1.0)
            self._wake.clear()
            while self._lines and not self._stop:
                pause = self._next()
                if pause > 0:
                    time.sleep(min(pause, 1.0))

    def _next(self) -> float:
        """Send what waits as one message; return the seconds until the next one may leave."""
        now = self._clock()
        if len(self._sent) == _A_MINUTE and now - self._sent[0] < 60:
            return 60 - (now - self._sent[0])
        body = json.dumps({"content": self._taken(), "allowed_mentions": {"parse": []}})
        self._sent.append(now)
        try:
            return self._send(body.encode())
        except OSError:
            self.dropped += 1  # logging it would come back here
            return 0.0

    def _taken(self) -> str:
        """Take as many lines as one message holds, and say how many were dropped."""
        dropped, self.dropped = self.dropped, 0
        parts = [f"({dropped} dropped)"] if dropped else []
        left = _MOST - sum(map(len, parts))
        while self._lines and (left > len(self._lines[0]) or not parts):
            line = self._lines.popleft()[:left]
            parts.append(line)
            left -= len(line) + 1
        return "\n".join(parts)

    def close(self) -> None:
        """Stop; what still waits is dropped. Idempotent."""
        self._stop = True
        self._wake.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(2.0)
        super().close()

    def __repr__(self) -> str:
        return f"DiscordHandler(level={logging.getLevelName(self.level)})"


def _posted(url: str, body: bytes) -> float:
    """Send a message; return the pause that Discord asks for."""
    request = urllib.request.Request(
        url, body, {"content-type": "application/json", "user-agent": "dure"}
    )
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS):
            return 0.0
    except urllib.error.HTTPError as refused:
        with refused:
            return _pause(refused.headers.get("retry-after"))


def _pause(given: str | None) -> float:
    try:
        return min(max(float(given or 1), 0.5), 300.0)
    except ValueError:
        return 5.0
