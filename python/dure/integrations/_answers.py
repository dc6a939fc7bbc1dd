"""Answers in Redis, looked up and kept by one thread a process: no call waits for a connection."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from typing import Any

import redis

from dure._core import client as core
from dure.errors import InvalidArgumentError, UnavailableError

__all__ = ["AnswerCache"]

_log = logging.getLogger("dure")
_REST = 5.0  # seconds for which a server that gave no answer is not asked
_ALL: weakref.WeakSet[AnswerCache] = weakref.WeakSet()


class AnswerCache:
    """Answers for all hosts on one Redis: `dure.aio.Cache(remote=AnswerCache("redis://..."))`.

    A server that is slow or down holds no call up for more than a quarter of a second, and is left
    alone for some seconds then: calls go on without it. What is kept is readable to whoever may
    read the server, so it is as private as the server is; damaged values are not given out.

    Thread-safe. The child of a fork has a thread and connections of its own.
    """

    def __init__(self, url: str, *, prefix: str = "dure:answers", timeout: float = 0.2) -> None:
        """Name the server; nothing connects before the first answer is looked up.

        Args:
            url: `redis://`, `rediss://` or `unix://`.
            prefix: What the names of all answers begin with.
            timeout: Seconds after which a command is given up.

        Raises:
            InvalidArgumentError: The URL is none, or `timeout` is out of range.
        """
        if isinstance(timeout, bool) or not 0 < timeout <= 10:
            raise InvalidArgumentError("timeout must be above 0, at most 10 s", argument="timeout")
        try:
            self._redis = redis.Redis.from_url(
                url, socket_timeout=timeout, socket_connect_timeout=timeout
            )
        except (ValueError, AttributeError):  # the URL may hold a password: it is not shown
            raise InvalidArgumentError(
                "url must be redis://, rediss:// or unix://", argument="url"
            ) from None
        self._prefix = prefix
        self.native = core.RemoteAnswers()
        self._finalizer = weakref.finalize(self, core.RemoteAnswers.close, self.native)
        self._start()
        _ALL.add(self)

    def clear(self) -> None:
        """Forget all answers of this prefix.

        Raises:
            UnavailableError: The server gave no answer.
        """
        try:
            names = list(self._redis.scan_iter(match=f"{self._prefix}:*", count=1000))
            for start in range(0, len(names), 1000):
                self._redis.unlink(*names[start : start + 1000])
        except redis.RedisError as error:
            raise UnavailableError(
                f"Redis gave no answer ({type(error).__name__}): answers may be left"
            ) from error

    def close(self) -> None:
        """Look nothing up any more; calls go on. Idempotent."""
        self._finalizer()
        self._redis.close()

    def _start(self) -> None:
        worker = _Worker(self.native, self._redis, self._prefix)
        threading.Thread(target=worker.run, name="dure-answers", daemon=True).start()

    def _after_fork(self) -> None:
        self.native.reopen()
        self._redis.connection_pool.reset()
        self._start()


class _Worker:
    """Takes the core's jobs until it is closed; holds no `AnswerCache`."""

    def __init__(self, native: core.RemoteAnswers, server: Any, prefix: str) -> None:  # noqa: ANN401
        self._native, self._redis, self._prefix = native, server, prefix
        self._asks_from = 0.0

    def run(self) -> None:
        """Work until the queue is closed."""
        descriptor = self._native.descriptor()
        while True:
            os.read(descriptor, 8)
            jobs = self._native.take()
            if jobs is None:
                return
            looks = [(number, key) for number, key, value, _ in jobs if value is None]
            found = self._ask(looks, [job for job in jobs if job[2] is not None])
            for (number, _), value in zip(looks, found, strict=True):
                self._native.finish(number, value)

    def _ask(self, looks: list[tuple[int, bytes]], keeps: list[Any]) -> list[bytes | None]:
        """Look up and keep in one round trip; a server that fails has nothing."""
        nothing: list[bytes | None] = [None] * len(looks)
        if not (looks or keeps) or time.monotonic() < self._asks_from:
            return nothing
        pipe = self._redis.pipeline(transaction=False)
        for _, key in looks:
            pipe.get(self._name(key))
        for _, key, value, seconds in keeps:
            pipe.set(self._name(key), value, px=max(1, round(seconds * 1000)))
        try:
            replies = pipe.execute(raise_on_error=False)
        except (redis.RedisError, OSError) as error:
            self._asks_from = time.monotonic() + _REST
            _log.warning("Redis gave no answer (%s): calls go on without it", type(error).__name__)
            return nothing
        return [one if isinstance(one, bytes) else None for one in replies[: len(looks)]]

    def _name(self, key: bytes) -> str:
        return f"{self._prefix}:{key.hex()}"


def _after_fork_in_child() -> None:
    for cache in list(_ALL):
        cache._after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
