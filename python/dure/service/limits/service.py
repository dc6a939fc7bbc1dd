"""Limits are kept in the database and held by the core: what is shown is what is enforced."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncSession

from dure.costs import Budget
from dure.db.base import new_id
from dure.db.tables import ApprovalRequestModel, OrgTokenPoolModel, UserTokenLimitModel
from dure.errors import BudgetExceededError, DureError, InvalidArgumentError, NotFoundError
from dure.service.auth.subject import Subject
from dure.service.calling import user_scope
from dure.service.channels.service import Notice, announce
from dure.service.errors import ConflictError, ForbiddenError
from dure.service.kit import audit
from dure.service.kit.clock import microseconds
from dure.service.kit.state import State
from dure.service.usage.repository import SUMS, UsageRepository
from dure.service.usage.service import start_of

from .fleet import WITHOUT, Maximum, SharedLimits
from .repository import EVERYBODY, ApprovalRepository, LimitRepository, MaximumRepository
from .schemas import LABELS, Grant, LimitIn, LimitOut

__all__ = ["Limits", "decide", "put_pool", "put_user", "remove_pool", "remove_user", "shown"]

_WITHOUT = WITHOUT
_YELLOW, _RED = 80, 100
Row = UserTokenLimitModel | OrgTokenPoolModel
_Terms = tuple[int, str, tuple[int, ...], str]


class Limits:
    """Keeps the core's budgets as the rows say. Task-safe within one event loop."""

    def __init__(self, state: State, fleet: SharedLimits | None = None) -> None:
        self._state, self._fleet = state, fleet
        self._applied: dict[str, _Terms] = {}
        self._warnings: dict[str, tuple[int, int]] = {}

    async def admit(self, who: Subject) -> None:
        """Have the budgets of a caller in place before their first call."""
        async with self._state.database.read() as work:
            repository = LimitRepository(work, who.org_id)
            zone, pool = await repository.zone(), await repository.pool()
            own = None if who.user_id is None else await repository.counting(who.user_id)
        await self._apply(pool_scope(who.org_id), pool, zone)
        if who.user_id is not None:
            await self._apply(person_scope(who.org_id, who.user_id), own, zone)

    async def look(self) -> None:
        """Find out who has used up most of a limit, for the warnings of their answers."""
        found = {}
        for budget in await self._state.client.budgets.list():
            whole = int(budget.limit) + int(budget.granted)
            if budget.unit == "tokens" and budget.window == "month" and 0 < whole < _WITHOUT:
                percent = int(budget.used) * 100 // whole
                if percent >= _YELLOW:
                    found[budget.scope] = (percent, whole)
        self._warnings = found

    def warning(self, who: Subject) -> str | None:
        """Return what a caller's answers say of a limit that is nearly used up."""
        scopes = [pool_scope(who.org_id)]
        if who.user_id is not None:
            scopes.insert(0, person_scope(who.org_id, who.user_id))
        told = [
            f"scope={scope};percent={self._warnings[scope][0]};limit={self._warnings[scope][1]}"
            for scope in scopes
            if scope in self._warnings
        ]
        return ", ".join(told) or None

    async def refused(self, error: DureError, who: Subject | None) -> DureError:
        """Open a request for approval where a limit asks for one; return the error with its id."""
        if who is None or not isinstance(error, BudgetExceededError):
            return error
        if error.code == "limit_exceeded" and await self._asks(error.scope, who):
            error.code, error.http_status = "approval_required", 403
        if error.code == "approval_required":
            error.approval_id = await self._opened(error.scope, who)
        return error

    async def keep(self) -> None:
        """Share every maximum with the other hosts, where this process does so for its folder.

        Raises:
            UnavailableError: the store cannot be reached.
        """
        if self._fleet is None:
            return
        async with self._state.database.read() as work:
            repository = MaximumRepository(work)
            pools, people = await repository.pools(), await repository.people()
            granted = await repository.grants(self._state.clock.now())
        wanted = {pool_scope(row.org_id): (row.max_tokens, zone) for row, zone in pools}
        wanted |= {
            person_scope(org, user): (row.max_tokens, zone) for org, user, row, zone in people
        }
        shared = {
            scope: Maximum(tokens + granted.get(scope, 0), zone)
            for scope, (tokens, zone) in wanted.items()
        }
        await asyncio.to_thread(self._fleet.keep, shared)

    async def _asks(self, scope: str, who: Subject) -> bool:
        """Whether a limit that the hosts share asks an administrator instead of blocking."""
        if self._fleet is None:
            return False
        async with self._state.database.read() as work:
            repository = LimitRepository(work, who.org_id)
            if scope == pool_scope(who.org_id):
                row: Row | None = await repository.pool()
            else:
                row = None if who.user_id is None else await repository.counting(who.user_id)
        return row is not None and row.policy == "approval"

    async def _apply(self, scope: str, row: Row | None, zone: str) -> None:
        """Set the budget unless it is as the row says already."""
        terms = (
            (_WITHOUT, "warn", (), zone)
            if row is None
            else (row.max_tokens, self._held(row.policy), tuple(row.alerts), zone)
        )
        if self._applied.get(scope) == terms:
            return
        known = await self._budget(scope)  # made without a limit too: it counts from the first call
        if known is None or terms != (int(known.limit), known.on_limit, known.alerts, known.zone):
            await self._state.client.budgets.set(
                scope,
                limit=terms[0],
                window="month",
                unit="tokens",
                zone=zone,
                on_limit=terms[1],  # type: ignore[arg-type]
                alerts=terms[2],
            )
        self._applied[scope] = terms

    def _held(self, policy: str) -> str:
        """Return how this host's own budget holds: where hosts share a maximum, the shares do."""
        return policy if self._fleet is None else "warn"

    async def budget(self, scope: str) -> Budget | None:
        """Return how far a scope's monthly tokens are used up, on all hosts that share it."""
        found = await self._budget(scope)
        if found is None or self._fleet is None:
            return found
        org, _, user = scope.partition(":")[2].partition("/")
        now = self._state.clock.now()
        async with self._state.database.read() as work:
            zone = await LimitRepository(work, org).zone()
            start, _ = window_of(now, zone)
            sums = await UsageRepository(work, org, user or None).total(start)
            granted = (await MaximumRepository(work).grants(now)).get(scope, 0)
        used = max(int(found.used), int(sums[SUMS.index("tokens")]))
        left = int(found.limit) + granted - used - int(found.held)
        return replace(found, used=used, granted=granted, left=max(0, left))

    async def _budget(self, scope: str) -> Budget | None:
        found = await self._state.client.budgets.list(scope)
        monthly = [one for one in found if one.unit == "tokens" and one.window == "month"]
        return monthly[0] if monthly else None

    async def _opened(self, scope: str, who: Subject) -> str:
        """Return the id of the scope's pending request; at most one is open in a window."""
        now = self._state.clock.now()
        async with self._state.database.write() as work:
            repository = ApprovalRepository(work, who.org_id)
            await repository.lock()
            start, end = window_of(now, await LimitRepository(work, who.org_id).zone())
            last = await repository.newest(scope, start)
            if last is not None and last.state == "pending":
                return last.id
            row = repository.add(
                ApprovalRequestModel(
                    id=new_id("apr"),
                    org_id=who.org_id,
                    user_id=who.user_id or who.key_id or "",
                    scope=scope,
                    window_start_us=start,
                    round=1 if last is None else last.round + 1,
                    state="pending",
                    amount=None,
                    until=None,
                    decided_by=None,
                    decided_at=None,
                    created_at=now,
                    expires_at=end,
                )
            )
            await announce(work, now, _asked_for(row))
            return row.id


def _asked_for(row: ApprovalRequestModel) -> Notice:
    """Return what administrators are told of a request."""
    return Notice(
        id=row.id,
        org_id=row.org_id,
        event="approval.requested",
        title=f"{row.scope} asks for more tokens",
        text=f"{row.scope} has used its limit up; the request {row.id} waits for a decision.",
        data={"approval_id": row.id, "scope": row.scope, "user_id": row.user_id},
    )


def pool_scope(org_id: str) -> str:
    """Return a tenant's scope in budgets."""
    return f"org:{org_id}"


def person_scope(org_id: str, user_id: str) -> str:
    """Return a person's scope in budgets."""
    return f"user:{user_scope(org_id, user_id)}"


def window_of(now: datetime, zone: str) -> tuple[int, datetime]:
    """Return the start of the running local month, and its end."""
    local = ZoneInfo(zone)
    start = start_of(microseconds(now), "month", local)
    middle = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=start, days=40)
    end = start_of(microseconds(middle), "month", local)
    return start, datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=end)


def shown(row: Row, budget: Budget | None) -> LimitOut:
    """Return a limit with what the core has counted against it."""
    user_id = row.user_id if isinstance(row, UserTokenLimitModel) else None
    counted = user_id != EVERYBODY and budget is not None
    percent = None
    if counted and budget is not None:
        whole = int(budget.limit) + int(budget.granted)
        percent = int(budget.used) * 100 // whole if whole else 100
    return LimitOut(
        user_id=user_id,
        max_tokens=row.max_tokens,
        policy=row.policy,
        policy_label=LABELS[row.policy],
        alerts=list(row.alerts),
        used=int(budget.used) if counted and budget else None,
        held=int(budget.held) if counted and budget else None,
        granted=int(budget.granted) if counted and budget else None,
        left=int(budget.left) if counted and budget else None,
        percent=percent,
        colour=None if percent is None else _colour(percent),
        resets_at=budget.resets_at if counted and budget else None,
    )


def _colour(percent: int) -> Literal["green", "yellow", "red"]:
    if percent < _YELLOW:
        return "green"
    return "yellow" if percent < _RED else "red"


async def put_user(
    work: AsyncSession, state: State, who: Subject, user_id: str, asked: LimitIn, *, new: bool
) -> UserTokenLimitModel:
    """Set a person's limit, or everybody's default (`*`).

    Raises:
        NotFoundError: there is no such person in the tenant.
        ConflictError: they have a limit, and a new one was meant.
    """
    repository = LimitRepository(work, who.org_id)
    if user_id != EVERYBODY and not await repository.is_member(user_id):
        raise NotFoundError("no such user")
    row = await repository.of(user_id)
    if row is not None and new:
        raise ConflictError("this user has a limit already: change it with PUT")
    if row is None:
        row = repository.add(
            UserTokenLimitModel(org_id=who.org_id, user_id=user_id, **_values(state, who, asked))
        )
    else:
        _change(row, state, who, asked)
    await audit.tell(work, state, who, "limit.set", user_id, **asked.model_dump())
    return row


async def put_pool(
    work: AsyncSession, state: State, who: Subject, asked: LimitIn
) -> OrgTokenPoolModel:
    """Set the tenant's pool."""
    row = await LimitRepository(work, who.org_id).pool()
    if row is None:
        row = OrgTokenPoolModel(org_id=who.org_id, **_values(state, who, asked))
        work.add(row)
    else:
        _change(row, state, who, asked)
    await audit.tell(work, state, who, "pool.set", who.org_id, **asked.model_dump())
    return row


async def remove_user(work: AsyncSession, state: State, who: Subject, user_id: str) -> None:
    """Take a person's own limit away: the default counts for them again.

    Raises:
        NotFoundError: there is none.
    """
    row = await LimitRepository(work, who.org_id).of(user_id)
    if row is None:
        raise NotFoundError("no such limit")
    await work.delete(row)
    await audit.tell(work, state, who, "limit.remove", user_id)


async def remove_pool(work: AsyncSession, state: State, who: Subject) -> None:
    """Take the tenant's pool away.

    Raises:
        NotFoundError: there is none.
    """
    row = await LimitRepository(work, who.org_id).pool()
    if row is None:
        raise NotFoundError("no such pool")
    await work.delete(row)
    await audit.tell(work, state, who, "pool.remove", who.org_id)


async def decide(
    work: AsyncSession, state: State, who: Subject, approval_id: str, grant: Grant | None
) -> ApprovalRequestModel:
    """Grant a request, or refuse it; each is decided once.

    Raises:
        NotFoundError: there is no such request in the tenant.
        ForbiddenError: it is the caller's own.
        ConflictError: it was decided, or its month is over.
        InvalidArgumentError: `until` is past, or beyond the month.
    """
    row = await ApprovalRepository(work, who.org_id).one(approval_id, lock=True)
    if row is None:
        raise NotFoundError("no such request")
    if row.user_id in (who.user_id, who.key_id):
        raise ForbiddenError("Nobody decides their own request.", code="own_request")
    now = state.clock.now()
    if row.state == "pending" and row.expires_at <= now:
        row.state = "expired"
    if row.state != "pending":
        raise ConflictError(f"this request is {row.state}", code="already_decided")
    row.state, row.decided_by, row.decided_at = "refused", who.actor, now
    if grant is not None:
        until = grant.until or row.expires_at
        if until.tzinfo is None or not now < until <= row.expires_at:
            raise InvalidArgumentError(
                f"until lies ahead and within the month, which ends {row.expires_at.isoformat()}",
                argument="until",
            )
        row.state, row.amount, row.until = "granted", grant.amount, until
        await state.client.budgets.grant(row.scope, amount=grant.amount, until=until, unit="tokens")
    detail = {} if grant is None else {"amount": grant.amount}
    await audit.tell(work, state, who, f"approval.{row.state}", row.id, **detail)
    return row


def _values(state: State, who: Subject, asked: LimitIn) -> dict[str, object]:
    return {
        "max_tokens": asked.max_tokens,
        "policy": asked.policy,
        "alerts": asked.alerts,
        "updated_by": who.actor,
        "updated_at": state.clock.now(),
    }


def _change(row: Row, state: State, who: Subject, asked: LimitIn) -> None:
    for name, value in _values(state, who, asked).items():
        setattr(row, name, value)
