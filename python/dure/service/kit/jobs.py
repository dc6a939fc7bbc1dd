"""Work that outlives its request, as rows: claimed by one process, taken over when that dies.

A claim is one compare-and-set that sets holder, token and expiry. Whoever holds a job extends its
claim while it works; who finds it lost, stops. A claim of a process of this machine that is no
more is void at once, any other after its expiry. A job may run again: what it does must be such
that a second time goes on where the first one stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import or_, select, update
from sqlalchemy.engine import CursorResult
from sqlalchemy.ext.asyncio import AsyncSession

from dure.db.base import new_id
from dure.db.engine import Database
from dure.db.tables import JobModel
from dure.errors import DureError
from dure.service.kit.clock import Clock

__all__ = ["Handler", "Job", "Jobs", "add"]

_LEASE = timedelta(seconds=30)
_BEAT = 10.0  # seconds between two extensions
_LOOK = 1.0  # seconds between two looks at an empty queue
_PAUSE = timedelta(seconds=5)  # before a failed attempt is repeated, times the attempts
_MOST_ATTEMPTS = 4
_AT_ONCE = 2
_logger = logging.getLogger("dure.service")


@dataclass(frozen=True, slots=True)
class Job:
    """A claimed job: what to do, and for whom."""

    id: str
    org_id: str
    owner_id: str
    key_id: str | None
    kind: str
    target: str
    attempts: int
    token: int


Handler = Callable[[Job], Awaitable[None]]


def add(
    work: AsyncSession,
    clock: Clock,
    kind: str,
    target: str,
    *,
    org_id: str,
    owner_id: str,
    key_id: str | None,
) -> JobModel:
    """Queue a job in the unit of work of what asks for it: both are kept, or neither."""
    now = clock.now()
    row = JobModel(
        id=new_id("job"),
        org_id=org_id,
        owner_id=owner_id,
        key_id=key_id,
        kind=kind,
        target=target,
        state="queued",
        attempts=0,
        due_at=now,
        holder=None,
        token=0,
        held_until=None,
        error=None,
        created_at=now,
        ended_at=None,
    )
    work.add(row)
    return row


class Jobs:
    """Runs what is queued, a few at a time. Owner task only; `run` until it is cancelled.

    Args:
        database: Where the rows are.
        clock: Tells when they are due.
        host: Whose processes can be looked at: equal on one machine and data folder.
        handlers: What does each kind. A `DureError` of status 4xx fails the job for good, any
            other is tried again a few times.
        failed: Told about a job that is given up, with why.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        host: str,
        handlers: Mapping[str, Handler],
        failed: Callable[[Job, str], Awaitable[None]],
    ) -> None:
        self._database, self._clock = database, clock
        self._host, self._handlers, self._failed = host, handlers, failed
        self._me = f"{host}:{os.getpid()}:{_born(os.getpid())}"
        self._wake = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()

    def look(self) -> None:
        """Look at the queue now: something was added."""
        self._wake.set()

    async def run(self) -> None:
        """Claim and do, until cancelled; what is under way is left to whoever claims it next."""
        try:
            while True:
                self._wake.clear()
                with contextlib.suppress(DureError):
                    while len(self._running) < _AT_ONCE and (job := await self.claim()):
                        task = asyncio.create_task(self._do(job))
                        self._running.add(task)
                        task.add_done_callback(self._ended)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), _LOOK)
        finally:
            for task in list(self._running):
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._wake.set()

    async def claim(self) -> Job | None:
        """Take one job that is due and nobody's, or whose holder is gone; None: there is none."""
        now = self._clock.now()
        due = or_(JobModel.state == "queued", JobModel.state == "running")
        async with self._database.read() as work:
            query = (
                select(JobModel)
                .where(due, JobModel.due_at <= now, JobModel.kind.in_(self._handlers))
                .order_by(JobModel.due_at, JobModel.id)
                .limit(50)
            )
            rows = (await work.scalars(query)).all()
        for row in rows:
            if row.state == "running" and not self._is_free(row):
                continue
            if (job := await self._taken(row)) is not None:
                return job
        return None

    def _is_free(self, row: JobModel) -> bool:
        if row.held_until is None or row.held_until < self._clock.now():
            return True
        host, _, rest = (row.holder or "").rpartition(":")[0].rpartition(":")
        if host != self._host or row.holder == self._me:
            return False
        return f"{host}:{rest}:{_born(int(rest))}" != row.holder

    async def _taken(self, row: JobModel) -> Job | None:
        values = {
            "state": "running",
            "holder": self._me,
            "token": row.token + 1,
            "held_until": self._clock.now() + _LEASE,
            "attempts": row.attempts + 1,
        }
        if not await self._set(row.id, row.token, values):
            return None
        return Job(
            row.id, row.org_id, row.owner_id, row.key_id, row.kind, row.target,
            row.attempts + 1, row.token + 1,
        )  # fmt: skip

    async def _set(self, job_id: str, token: int, values: dict[str, Any]) -> bool:
        """Change a job that is still held by `token`; whether it was."""
        async with self._database.write() as work:
            done = await work.execute(
                update(JobModel)
                .where(JobModel.id == job_id, JobModel.token == token)
                .values(**values)
                .execution_options(synchronize_session=False)
            )
            assert isinstance(done, CursorResult)
            return done.rowcount == 1

    async def _do(self, job: Job) -> None:
        beat = asyncio.create_task(self._beat(job, asyncio.current_task()))
        try:
            await self._handlers[job.kind](job)
        except asyncio.CancelledError:
            beat.cancel()
            given_back = {"state": "queued", "holder": None, "attempts": job.attempts - 1}
            with contextlib.suppress(DureError):  # else it is taken over when its claim expires
                await asyncio.shield(self._set(job.id, job.token, given_back))
            raise
        except Exception as error:  # noqa: BLE001 - a job's mistake ends that job alone
            await self._went_wrong(job, error)
        else:
            done = {"state": "done", "holder": None, "ended_at": self._clock.now()}
            with contextlib.suppress(DureError):  # it runs again, and finds everything done
                await self._set(job.id, job.token, done)
        finally:
            beat.cancel()

    async def _went_wrong(self, job: Job, error: Exception) -> None:
        final, told = False, "internal error; the log has it"
        shown: Exception | None = error
        if isinstance(error, DureError):
            final = error.http_status < 500 and error.http_status != 429
            told, shown = str(error), None
        _logger.warning("job failed", exc_info=shown, extra={"job": job.id})
        now = self._clock.now()
        values: dict[str, Any] = {"holder": None, "error": told[:2000]}
        with contextlib.suppress(DureError):
            if final or job.attempts >= _MOST_ATTEMPTS:
                await self._failed(job, told)
                values |= {"state": "failed", "ended_at": now}
            else:
                values |= {"state": "queued", "due_at": now + _PAUSE * job.attempts}
            await self._set(job.id, job.token, values)

    async def _beat(self, job: Job, worker: asyncio.Task[None] | None) -> None:
        """Extend the claim; stop the work once it is another's."""
        while True:
            await asyncio.sleep(_BEAT)
            with contextlib.suppress(DureError):
                until = {"held_until": self._clock.now() + _LEASE}
                if not await self._set(job.id, job.token, until) and worker is not None:
                    worker.cancel()
                    return


def _born(pid: int) -> str:
    """Return when a process of this machine began, in its own units; empty: it is no more."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return "" if not _lives(pid) else "?"
    fields = text.rpartition(")")[2].split()
    return "" if fields[0] == "Z" else fields[19]


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
