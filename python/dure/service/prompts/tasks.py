"""Evaluations: versions x items x scorers, under a cap of money that the core itself holds."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from dure._dollars import to_dollars
from dure.calls import Call
from dure.db.base import new_id
from dure.db.tables import PromptEvaluationModel, PromptScoreModel, PromptVersionModel
from dure.errors import BudgetExceededError, DureError, NotFoundError
from dure.service.auth.subject import Subject
from dure.service.errors import ConflictError
from dure.service.kit import audit
from dure.service.kit.state import State

from . import service
from .repository import DatasetRepository, VersionRepository
from .sandbox import Sandbox
from .schemas import (
    EvaluationCreate,
    EvaluationOut,
    Judge,
    Regex,
    Schema,
    Scorer,
    VersionScores,
)
from .scoring import check_shape, judged, names_of, plain_score, question_of

__all__ = ["Evaluations", "evaluation_out"]

_AT_ONCE = 8  # calls of one evaluation
_MOST_RUNNING = 8  # evaluations of this process
_LEASE = timedelta(minutes=2)
_RENEW = 30.0
_PICO = Decimal(10**12)


@dataclass(slots=True)
class _Job:
    """One evaluation under way."""

    row: PromptEvaluationModel
    asked: EvaluationCreate
    call: Call
    texts: dict[int, PromptVersionModel]
    items: list[dict[str, Any]]
    capped: bool = False
    sums: dict[int, list[_Answer]] = field(default_factory=dict)


@dataclass(slots=True)
class _Answer:
    scores: dict[str, float | None]
    cost_pico: int = 0
    seconds: float = 0.0
    output: str = ""
    error: str | None = None


class Evaluations:
    """Runs evaluations beside the requests. Task-safe within one event loop.

    A row says until when its process vouches for it; one whose process died is shown as
    interrupted. What was scored until then is kept.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self.sandbox = Sandbox()
        self._running: dict[str, asyncio.Task[None]] = {}

    async def begin(
        self, who: Subject, template_id: str, asked: EvaluationCreate, call: Call
    ) -> PromptEvaluationModel:
        """Start an evaluation; return its row.

        Raises:
            NotFoundError: there is no such template, version, language or data set.
            InvalidArgumentError: a schema has words that are not looked at.
            ConflictError: as many run as may at once.
        """
        if len(self._running) >= _MOST_RUNNING:
            raise ConflictError("too many evaluations are running: wait for one", code="too_many")
        for scorer in asked.scorers:
            if isinstance(scorer, Schema):
                check_shape(scorer.shape)
        async with self._state.database.write() as work:
            job = await self._prepared(work, who, template_id, asked, call)
        await self._state.client.budgets.set(
            f"tag:{_tag(job.row)}", limit=asked.max_cost_usd, window="lifetime", alerts=()
        )
        job.call = replace(call, tags=(*call.tags, _tag(job.row)))
        task = asyncio.create_task(self._run(job))
        self._running[job.row.id] = task
        task.add_done_callback(lambda _: self._running.pop(job.row.id, None))
        return job.row

    async def _prepared(
        self,
        work: AsyncSession,
        who: Subject,
        template_id: str,
        asked: EvaluationCreate,
        call: Call,
    ) -> _Job:
        await service.needed(work, who, template_id)
        dataset = await DatasetRepository(work, who.org_id).one(asked.dataset_id)
        if dataset is None:
            raise NotFoundError("no such data set")
        texts = {}
        for version in sorted(set(asked.versions)):
            rows = await VersionRepository(work, who.org_id).of(template_id, version)
            if not rows:
                raise NotFoundError(f"no version {version}")
            texts[version] = service.in_locale(rows, asked.locale)
        now = self._state.clock.now()
        row = PromptEvaluationModel(
            id=new_id("evl"),
            org_id=who.org_id,
            owner_id=who.user_id or who.actor,
            template_id=template_id,
            dataset_id=dataset.id,
            model=asked.model,
            locale=asked.locale,
            versions=list(texts),
            scorers=[one.model_dump(by_alias=True) for one in asked.scorers],
            max_cost_pico=int(Decimal(asked.max_cost_usd) * _PICO),
            state="running",
            reason=None,
            done=0,
            total=len(texts) * len(dataset.items),
            cost_pico=0,
            summary=[],
            created_at=now,
            ended_at=None,
            lease_until=now + _LEASE,
        )
        work.add(row)
        await audit.tell(work, self._state, who, "evaluation.start", row.id, template=template_id)
        return _Job(row, asked, call, texts, dataset.items)

    async def close(self) -> None:
        """End what runs; its rows say so."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, job: _Job) -> None:
        state, reason = "completed", None
        renewing = asyncio.create_task(self._renew(job))
        try:
            slots = asyncio.Semaphore(_AT_ONCE)
            cases = [(v, i) for v in job.texts for i in range(len(job.items))]
            async with asyncio.TaskGroup() as group:
                for version, item in cases:
                    group.create_task(self._case(job, slots, version, item))
            if job.capped:
                state, reason = "capped", "its money was used up"
        except asyncio.CancelledError:
            state, reason = "interrupted", "the service was stopped"
        except ExceptionGroup as failed:
            state, reason = "failed", str(failed.exceptions[0])[:500]
        finally:
            renewing.cancel()
            with contextlib.suppress(DureError):
                await self._write(job, state=state, reason=reason, ended_at=self._state.clock.now())

    async def _renew(self, job: _Job) -> None:
        while True:
            await asyncio.sleep(_RENEW)
            with contextlib.suppress(DureError):
                await self._write(job, lease_until=self._state.clock.now() + _LEASE)

    async def _case(self, job: _Job, slots: asyncio.Semaphore, version: int, item: int) -> None:
        async with slots:
            answer = await self._answered(job, version, job.items[item])
            job.sums.setdefault(version, []).append(answer)
            async with self._state.database.write() as work:
                work.add(
                    PromptScoreModel(
                        evaluation_id=job.row.id,
                        version=version,
                        item=item,
                        org_id=job.row.org_id,
                        output=answer.output,
                        scores=answer.scores,
                        error=answer.error,
                        cost_pico=answer.cost_pico,
                        milliseconds=round(answer.seconds * 1000),
                    )
                )
                await self._put(work, job, done=sum(map(len, job.sums.values())))

    async def _answered(self, job: _Job, version: int, item: dict[str, Any]) -> _Answer:
        """Ask the model and the scorers; what fails is said in its place."""
        names = names_of(job.asked.scorers)
        answer = _Answer(dict.fromkeys(names))
        if job.capped:
            answer.error = "not asked: the evaluation's money was used up"
            return answer
        try:
            prompt = await service.text_of(self.sandbox, job.texts[version], item["variables"])
            answer.output = await self._ask(
                job, job.asked.model, [{"role": "user", "content": prompt}], answer
            )
            for name, scorer in zip(names, job.asked.scorers, strict=True):
                answer.scores[name] = await self._score(job, scorer, prompt, item, answer)
        except BudgetExceededError as refused:
            job.capped = job.capped or refused.scope == f"tag:{_tag(job.row)}"
            answer.error = str(refused)
        except DureError as failed:
            answer.error = str(failed)
        return answer

    async def _ask(self, job: _Job, model: str, messages: list[Any], answer: _Answer) -> str:
        made = await self._state.client.chat.completions.create(
            model=model, messages=messages, max_tokens=job.asked.max_tokens, dure=job.call
        )
        answer.cost_pico += made.dure.cost_pico
        answer.seconds += made.dure.latency
        return str(made.choices[0].message.content or "")

    async def _score(
        self,
        job: _Job,
        scorer: Scorer,
        prompt: str,
        item: dict[str, Any],
        answer: _Answer,
    ) -> float | None:
        if isinstance(scorer, Regex):
            return float((await self.sandbox.search(scorer.pattern, [answer.output]))[0])
        if isinstance(scorer, Judge):
            asked = question_of(scorer, prompt, answer.output, item["expected"])
            seconds = answer.seconds
            grade = judged(await self._ask(job, scorer.model, asked, answer))
            answer.seconds = seconds  # the judge's time is not the version's
            return grade
        return plain_score(scorer, answer.output, item["expected"])

    async def _write(self, job: _Job, **values: object) -> None:
        async with self._state.database.write() as work:
            await self._put(work, job, **values)

    async def _put(self, work: AsyncSession, job: _Job, **values: object) -> None:
        table = PromptEvaluationModel
        cost = sum(one.cost_pico for answers in job.sums.values() for one in answers)
        changed = {"cost_pico": cost, "summary": _summary(job), **values}
        mine = (table.org_id == job.row.org_id, table.id == job.row.id)
        await work.execute(update(table).where(*mine).values(**changed))


def _tag(row: PromptEvaluationModel) -> str:
    return f"{row.org_id}/{row.id}"


def _summary(job: _Job) -> list[dict[str, Any]]:
    names = names_of(job.asked.scorers)
    found = []
    for version in job.texts:
        answers = job.sums.get(version, [])
        asked = [one for one in answers if one.error is None]
        seconds = [one.seconds for one in asked]
        found.append(
            {
                "version": version,
                "items": len(answers),
                "errors": len(answers) - len(asked),
                "scores": {name: _mean([one.scores[name] for one in asked]) for name in names},
                "cost_pico": sum(one.cost_pico for one in answers),
                "mean_seconds": _mean([*seconds]),
            }
        )
    return found


def _mean(values: list[float | None]) -> float | None:
    known = [one for one in values if one is not None]
    return round(sum(known) / len(known), 6) if known else None


def evaluation_out(row: PromptEvaluationModel, state: State) -> EvaluationOut:
    """Return what is shown of an evaluation; nobody vouching for it, it was interrupted."""
    shown, reason = row.state, row.reason
    if shown == "running" and row.lease_until <= state.clock.now():
        shown, reason = "interrupted", "the process that ran it has ended"
    return EvaluationOut(
        id=row.id,
        template_id=row.template_id,
        dataset_id=row.dataset_id,
        model=row.model,
        locale=row.locale,
        state=shown,
        reason=reason,
        done=row.done,
        total=row.total,
        max_cost_usd=f"{to_dollars(row.max_cost_pico):f}",
        cost_pico=row.cost_pico,
        cost_usd=f"{to_dollars(row.cost_pico):f}",
        versions=[
            VersionScores(**one, cost_usd=f"{to_dollars(one['cost_pico']):f}")
            for one in row.summary
        ],
        created_at=row.created_at,
        ended_at=row.ended_at,
    )
