"""The courier: alerts become deliveries, deliveries leave, at least once, whatever breaks off."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from datetime import UTC, datetime, timedelta

from dure.db.tables import DeliveryModel, TokenUsageAlertModel
from dure.errors import DureError, InvalidArgumentError, MissingExtraError
from dure.service.kit.state import State

from .repository import CourierRepository
from .senders import Message, Senders
from .service import Notice, announce, opened

__all__ = ["Courier"]

_logger = logging.getLogger("dure.service")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MANY = 50
_LEASE = timedelta(
    seconds=120
)  # longer than any try takes: who died in it, its message comes twice
_PAUSES = (5, 30, 120, 600, 3600, 10_800, 21_600, 43_200)  # seconds before each next try
_LONGEST_ERROR = 300


class Courier:
    """Tells what is to be told. Task-safe; several processes may, each message is one's."""

    def __init__(self, state: State, senders: Senders) -> None:
        self._state, self._senders = state, senders

    async def work(self) -> None:
        """Do what there is to do.

        Raises:
            StorageError: the database cannot be reached.
        """
        async with self._state.database.read() as work:
            if not await CourierRepository(work).has_news(self._state.clock.now()):
                return
        await self._tell_alerts()
        await self._deliver()

    async def _tell_alerts(self) -> None:
        """Announce thresholds that were crossed: of several at once, in one message."""
        now = self._state.clock.now()
        async with self._state.database.write() as work:
            jumps: dict[tuple[str, str, int], list[TokenUsageAlertModel]] = defaultdict(list)
            for row in await CourierRepository(work).untold(_MANY):
                jumps[row.org_id, row.scope, row.window_start_us].append(row)
                row.told_at = now
            for rows in jumps.values():
                highest = max(rows, key=lambda one: one.percent)
                await announce(work, now, _notice(highest))

    async def _deliver(self) -> None:
        now = self._state.clock.now()
        async with self._state.database.write() as work:
            repository = CourierRepository(work)
            rows = list(await repository.due(now, _MANY))
            channels = await repository.channels({row.channel_id for row in rows})
            for row in rows:
                row.attempts += 1
                row.next_at = now + _LEASE
        targets = {}
        for channel_id, channel in channels.items():
            try:
                targets[channel_id] = opened(self._state.envelope, channel)
            except DureError as wrong:  # its key is not at hand: an operator's matter
                _logger.error("a channel cannot be opened", extra={"reason": str(wrong)})
        await asyncio.gather(*(self._try(row, targets.get(row.channel_id)) for row in rows))

    async def _try(self, row: DeliveryModel, target: dict[str, object] | None) -> None:
        wrong: DureError | None = None
        message = Message(
            row.id,
            row.event,
            row.created_at,
            row.title,
            row.body["text"],
            row.body["data"],
            row.body["html"],
        )
        if target is None:
            wrong = InvalidArgumentError("the channel's secrets cannot be opened")
        else:
            try:
                await self._senders.send(target, message)
            except DureError as failed:
                wrong = failed
        async with self._state.database.write() as work:
            await CourierRepository(work).end(row, **self._ended(row, wrong))

    def _ended(self, row: DeliveryModel, wrong: DureError | None) -> dict[str, object]:
        now = self._state.clock.now()
        if wrong is None:
            return {"state": "sent", "sent_at": now, "error": None}
        error = str(wrong)[:_LONGEST_ERROR]
        hopeless = isinstance(wrong, (InvalidArgumentError, MissingExtraError))
        if hopeless or row.attempts > len(_PAUSES):
            return {"state": "failed", "error": error}
        pause = wrong.retry_after or _PAUSES[row.attempts - 1]
        return {"next_at": now + timedelta(seconds=pause), "error": error}


def _notice(row: TokenUsageAlertModel) -> Notice:
    """Return what is told of a threshold."""
    start = _EPOCH + timedelta(microseconds=row.window_start_us)
    return Notice(
        id=row.id,
        org_id=row.org_id,
        event="usage.alert",
        title=f"{row.scope}: {row.percent} % of the limit is used",
        text=(
            f"{row.scope} has used {row.percent} % of its {row.maximum:,} tokens in the window "
            f"that began {start.isoformat()}."
        ),
        data={
            "scope": row.scope,
            "percent": row.percent,
            "maximum": row.maximum,
            "window_start": start.isoformat(),
        },
        percent=row.percent,
    )
