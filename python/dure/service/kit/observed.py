"""What is seen of requests: one line each in the access log, and figures for Prometheus.

Nothing here waits: lines go through a bounded queue to a thread of their own, and what does not
fit is counted and dropped.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import Scope

from dure.errors import StorageError

__all__ = ["AccessLog", "Metrics", "Observer"]

_MOST_LINES = 10_000
_PAUSE = 0.2  # seconds between two writes
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class _Caller(Protocol):
    """What a line says of who asked."""

    org_id: str
    user_id: str | None
    key_id: str | None


class AccessLog:
    """JSON lines to a file or stderr. Thread-safe; `write` never blocks.

    Args:
        target: A path, `-` for stderr, or `off`.

    Raises:
        StorageError: the file cannot be opened.
    """

    def __init__(self, target: str) -> None:
        self.dropped = 0
        self._lines: deque[str] = deque()
        self._handle = self._opened(target)
        self._owned = target not in {"-", "off"}
        self._wake, self._stop = threading.Event(), False
        self._writer: threading.Thread | None = None

    @staticmethod
    def _opened(target: str) -> int | None:
        if target == "off":
            return None
        if target == "-":
            return sys.__stderr__.fileno() if sys.__stderr__ is not None else None
        try:
            return os.open(target, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as failed:
            raise StorageError(
                f"the access log {target} cannot be opened: {failed.strerror}"
            ) from None

    @property
    def is_open(self) -> bool:
        """Whether lines are written anywhere."""
        return self._handle is not None

    def write(self, line: str) -> None:
        """Queue a line of JSON, or count it as dropped."""
        if self._handle is None:
            return
        if len(self._lines) >= _MOST_LINES:
            self.dropped += 1
            return
        self._lines.append(line)
        if self._writer is None:
            self._writer = threading.Thread(target=self._run, name="dure-access", daemon=True)
            self._writer.start()

    def _run(self) -> None:
        while not self._stop:
            self._wake.wait(_PAUSE)
            self._flush()

    def _flush(self) -> None:
        lines: list[str] = []
        with contextlib.suppress(IndexError):
            while len(lines) < 1000:
                lines.append(self._lines.popleft())
        if not lines or self._handle is None:
            return
        lines.append("")
        try:
            os.write(self._handle, "\n".join(lines).encode("utf-8", "replace"))
        except OSError:  # a full disk or a closed pipe must not stop the service
            self.dropped += len(lines) - 1

    def close(self) -> None:
        """Write what is queued and end. Idempotent."""
        self._stop = True
        self._wake.set()
        if self._writer is not None:
            self._writer.join(2.0)
            self._writer = None
            while self._lines:
                self._flush()
        if self._owned and self._handle is not None:
            os.close(self._handle)
        self._handle = None


class Metrics:
    """Figures of this process; of all workers where `PROMETHEUS_MULTIPROC_DIR` is set."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "dure_requests_total", "Requests", ("method", "route", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "dure_request_seconds", "Seconds to the end of the answer", ("route",),
            buckets=_BUCKETS, registry=self.registry,
        )  # fmt: skip
        self.under_way = Gauge(
            "dure_requests_under_way",
            "Requests under way",
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self.dropped = Gauge(
            "dure_access_log_dropped",
            "Lines of the access log that were dropped",
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self._calls: dict[str, Gauge] = {}

    def of_client(self, counters: dict[str, int]) -> None:
        """Take over the native client's sums."""
        for name, value in counters.items():
            if name not in self._calls:
                self._calls[name] = Gauge(
                    f"dure_client_{name}",
                    f"Native client: {name}",
                    registry=self.registry,
                    multiprocess_mode="livesum",
                )
            self._calls[name].set(value)

    def text(self) -> bytes:
        """Return the figures as Prometheus reads them."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self.registry)
        from prometheus_client.multiprocess import MultiProcessCollector

        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)


class Observer:
    """Sees each request begin and end."""

    def __init__(self, log: AccessLog, metrics: Metrics, now: Callable[[], str]) -> None:
        self._log, self._metrics, self._now = log, metrics, now
        self._cells: dict[tuple[str, str, int], tuple[Any, Any]] = {}

    def began(self) -> None:
        """Count one more under way."""
        self._metrics.under_way.inc()

    def ended(self, scope: Scope, status: int, seconds: float) -> None:
        """Count it by route, never by path, and write its line."""
        self._metrics.under_way.dec()
        route = getattr(scope.get("route"), "path", "none")
        method = scope.get("method", "GET")
        if method not in _METHODS:
            method = "OTHER"
        cell = self._cells.get((method, route, status))
        if cell is None:
            cell = (
                self._metrics.requests.labels(method, route, str(status)),
                self._metrics.seconds.labels(route),
            )
            self._cells[method, route, status] = cell
        cell[0].inc()
        cell[1].observe(seconds)
        if self._log.is_open:
            self._log.write(self._line(scope, method, status, seconds))

    def _line(self, scope: Scope, method: str, status: int, seconds: float) -> str:
        """Return the line; its path is without the query, which may hold what nobody should read.

        Written by hand, as it is written for every request.
        """
        state = scope["state"]
        caller: _Caller | None = state.get("subject")
        who = "" if caller is None else self._named(caller)
        return (
            f'{{"time": "{self._now()}", "event": "request", '
            f'"request_id": "{state["request_id"]}", "method": "{method}", '
            f'"path": {_quoted(state["asked"])}, "status": {status}, "ms": {seconds * 1000:.3f}, '
            f'"address": {_quoted(state["address"])}{who}}}'
        )

    @staticmethod
    def _named(caller: _Caller) -> str:
        facts = {"org": caller.org_id, "user": caller.user_id, "key": caller.key_id}
        return f", {json.dumps(facts, ensure_ascii=False)[1:-1]}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
