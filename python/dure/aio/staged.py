"""Answers in stages: the economical model first, the next one only if its answer does not pass."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dure._dollars import to_dollars
from dure.aio.structured import what_is_left
from dure.calls import Call
from dure.calls.checks import Check, reason_of
from dure.calls.replies import LazyReply
from dure.errors import InvalidArgumentError, UpstreamError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dure._core import client as core
    from dure.aio.client import AsyncCompletions
    from dure.calls.replies import Facts, WireObject

__all__ = ["StagedCompletion", "StagedFacts", "staged"]


class StagedFacts:
    """What all stages came to; everything else is the last one's.

    Attributes:
        cost_pico: Settled cost of all stages.
        attempts: Requests sent by all stages.
        latency: Seconds of all stages.
        stage: Which stage's answer this is, from 0.
        failed: Why the answers before it did not pass.
    """

    def __init__(self, facts: list[Facts], failed: list[str]) -> None:
        self._last = facts[-1]
        self.cost_pico = sum(one.cost_pico for one in facts)
        self.attempts = sum(one.attempts for one in facts)
        self.latency = sum(one.latency for one in facts)
        self.stage, self.failed = len(facts) - 1, failed

    @property
    def cost_usd(self) -> Any:  # noqa: ANN401 - Decimal, loaded on use
        """Settled cost of all stages in dollars."""
        return to_dollars(self.cost_pico)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - of the last one
        return getattr(self._last, name)


class StagedCompletion(LazyReply):
    """The answer that passed; `.dure` tells the cost of all stages and why the others failed."""

    __slots__ = ("_facts",)

    def __init__(self, reply: core.Reply, facts: StagedFacts) -> None:
        super().__init__(reply)
        self._facts = facts

    @property
    def dure(self) -> Any:  # noqa: ANN401 - StagedFacts, as Facts
        """What all stages came to."""
        return self._facts


async def staged(
    completions: AsyncCompletions,
    stages: Sequence[Mapping[str, Any]],
    check: Check,
    options: dict[str, Any],
) -> StagedCompletion:
    """Ask stage after stage until an answer passes, within the limits of one call.

    Raises:
        InvalidArgumentError: there is no stage.
        UpstreamError: no answer passed; `.code` is check_failed, `.body` the last answer.
    """
    if not stages:
        raise InvalidArgumentError("stages must name at least one", argument="stages")
    retries = completions._view.max_retries
    call = options.pop("dure", None) or Call(max_attempts=len(stages) + retries)
    messages = list(options.pop("messages"))
    facts: list[Facts] = []
    failed: list[str] = []
    answer: Any = None
    for number, stage in enumerate(stages):
        asked = {**options, **stage}
        tell = asked.pop("tell", False)
        answer = await completions.create(
            messages=[*messages, *told(answer, failed)] if tell and failed else messages,
            dure=call,
            **asked,
        )
        facts.append(answer.dure)
        wrong = reason_of(check, answer)
        if wrong is None:
            return StagedCompletion(answer._reply, StagedFacts(facts, failed))
        failed.append(wrong)
        left = what_is_left(call, answer.dure)
        if left is None or number + 1 == len(stages):
            break
        call = replace(left, stage_of=left.stage_of or facts[0].call_id)
    raise UpstreamError(
        f"no answer passed the check: {'; '.join(failed)}",
        code="check_failed",
        body=answer.model_dump_json(),
    )


def told(answer: WireObject, failed: list[str]) -> list[dict[str, Any]]:
    """Return the answer that failed and what is wrong with it, as messages."""
    return [
        {"role": "assistant", "content": answer.choices[0].message.content or ""},
        {"role": "user", "content": f"That will not do: {failed[-1]}. Answer again."},
    ]
