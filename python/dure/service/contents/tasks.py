"""Keeps what the capturing layer hands over: sealed, in batches, for some days."""

from __future__ import annotations

import collections
import json
from datetime import timedelta

from dure.db.base import new_id
from dure.db.tables import ContentLogModel
from dure.service.kit.capture import Captured
from dure.service.kit.envelope import Place
from dure.service.kit.state import State

from .repository import levels, prune

__all__ = ["Contents", "place_of"]

_MOST_WAITING = 2000
_BATCH = 200


class Contents:
    """Knows what is kept of whom, and keeps it. Task-safe within one event loop."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._levels: dict[str, str] = {}
        self._waiting: collections.deque[Captured] = collections.deque()
        self.dropped = 0

    def level(self, org_id: str) -> str:
        """Return `off`, `metadata` or `full`."""
        return self._levels.get(org_id, "off")

    def keep(self, one: Captured) -> None:
        """Queue a request that ended; what is too much is dropped and counted."""
        if len(self._waiting) >= _MOST_WAITING:
            self.dropped += 1
            return
        self._waiting.append(one)

    async def look(self) -> None:
        """Find out what is kept of whom.

        Raises:
            StorageError: the database cannot be reached.
        """
        async with self._state.database.read() as work:
            self._levels = await levels(work)

    async def write(self) -> None:
        """Write what waits.

        Raises:
            StorageError: the database cannot be reached; what was taken is dropped and counted.
        """
        while self._waiting:
            some = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
            self.dropped += len(some)
            async with self._state.database.write() as work:
                work.add_all([self._row(one) for one in some])
            self.dropped -= len(some)

    async def prune(self) -> None:
        """Remove what is kept longer than it may be.

        Raises:
            StorageError: the database cannot be reached.
        """
        keep = timedelta(days=self._state.settings.content_log_days)
        async with self._state.database.write() as work:
            await prune(work, self._state.clock.now() - keep)

    def _row(self, one: Captured) -> ContentLogModel:
        row = ContentLogModel(
            id=new_id("cnt"),
            org_id=one.org_id,
            user_id=one.user_id,
            api_key_id=one.api_key_id,
            at=one.at,
            request_id=one.request_id,
            path=one.path[:255],
            model=(one.model or _model_of(one.input))[:255],
            status=one.status,
            milliseconds=round(one.seconds * 1000),
            input_bytes=one.input_bytes,
            output_bytes=one.output_bytes,
            input=None,
            output=None,
        )
        if one.full:
            for name in ("input", "output"):
                text = getattr(one, name).decode("utf-8", "replace")
                setattr(row, name, self._state.envelope.seal(text, place_of(row, name)))
        return row


def place_of(row: ContentLogModel, column: str) -> Place:
    """Return where a text is sealed."""
    return Place("content_logs", column, row.org_id, row.id)


def _model_of(body: bytes) -> str:
    """Return the model that a body names; empty: it is cut, or names none."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    model = found.get("model") if isinstance(found, dict) else None
    return model if isinstance(model, str) else ""
