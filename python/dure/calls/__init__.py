"""What a call is made of, for the async client and for its sync twin alike.

`Call` and `Timeout` say how a request may behave, `settings` where it goes, `replies` what comes
back. Nothing here waits for anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from dure.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal

    from dure._core import client as core

__all__ = ["Cache", "Call", "RemoteAnswerCache", "Timeout", "pico_of_dollars"]

PRIORITIES = ("interactive", "batch")
RESENDS = ("all", "proven")
FALLBACKS = ("general", "context_window", "content_policy")
SCOPES = ("org", "team", "user", "service", "execution", "conversation")
FLAGS = (True, False, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeout:
    """How long each stage of a request may last, in seconds; None: no limit of its own.

    Attributes:
        connect: Name look-up, TCP and TLS.
        first_byte: From the last byte sent to the first byte of the answer.
        idle: Between two parts of the answer; comments of a stream count as parts.
        total: From start to end, waits and resends included.
    """

    connect: float | None = 5.0
    first_byte: float | None = None
    idle: float | None = None
    total: float | None = 600.0

    def __post_init__(self) -> None:
        for name in ("connect", "first_byte", "idle", "total"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1e9:
                raise InvalidArgumentError(
                    f"{name} must be seconds above zero, or None", argument="timeout"
                )


class RemoteAnswerCache(Protocol):
    """Answers that are kept beside this host."""

    @property
    def native(self) -> core.RemoteCache:
        """The core's side of it."""
        ...

    def clear(self) -> None:
        """Forget all answers."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """How answers are kept for those who ask exactly the same again.

    The organisation (without one, the provider's key), the provider, the model and every parameter
    are part of the question; only how the answer travels (`stream`) is not.

    Attributes:
        ttl: Seconds for which an answer is given again.
        disk: Kept in the data folder too (SQLite, mode 0600): for its other processes, and for
            later ones.
        remote: Kept elsewhere too, for other hosts: a `dure.integrations.redis.AnswerCache`.
    """

    ttl: float = 86400.0
    disk: bool = False
    remote: RemoteAnswerCache | None = None

    def __post_init__(self) -> None:
        if self.remote is not None and not hasattr(self.remote, "native"):
            raise InvalidArgumentError(
                "remote must be a cache such as dure.integrations.redis.AnswerCache",
                argument="cache",
            )
        if isinstance(self.ttl, bool) or not 0 < self.ttl < 1e9:
            raise InvalidArgumentError("ttl must be seconds above zero", argument="cache")

    @staticmethod
    def of(given: Cache | bool | None) -> Cache | None:
        """Return the settings that a `cache=` means; None: nothing is kept.

        Raises:
            InvalidArgumentError: it is neither a bool nor a `Cache`.
        """
        if given is None or given is False:
            return None
        if given is True:
            return Cache()
        if not isinstance(given, Cache):
            raise InvalidArgumentError("cache must be True, False or a Cache", argument="cache")
        return given


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Who calls and what the call may cost; one budget for all its attempts.

    Attributes:
        org: Organisation that pays; budgets of scope `org:NAME` must pass.
        team: Budgets of scope `team:NAME`.
        user: Budgets of scope `user:NAME`.
        service: Policy of this service decides which models may be used.
        execution: Budgets of scope `execution:ID`: all calls of one run together.
        conversation: Budgets of scope `conversation:ID`.
        tags: Budgets of scope `tag:NAME`.
        deadline: Seconds for the whole call, waits and resends included.
        max_attempts: Requests sent at most.
        max_cost: Dollars that all attempts together may cost at most.
        priority: `interactive`, or `batch`: when the provider takes no more at once, it waits for
            all others, but not for ever.
        fallbacks: Models that take over, in order, when the one asked is down, overloaded or over
            its rate; or a dict of lists: `general`, `context_window` (the prompt was too long) and
            `content_policy` (it was filtered). All share the limits of the call.
        resend: `all`, or `proven`: never after a failure that the provider may have billed.
        hedge: A second copy is sent when the first answer is later than that of 95 in 100 calls:
            whoever answers first is heard, both are paid. Never with tools.
        cache: True: an answer that was given before to exactly the same question is given again,
            and this one is kept; False: not; None: as the client says.
        coalesce: Whether those who ask the same at the same time share one call; None: where the
            answer is meant to be the same (embeddings, temperature 0, a seed) or is kept.
        gather: Seconds, at most 1, that an embeddings call may wait for others of the same payer
            that differ in their inputs only, to go in one request; each pays for its own tokens.
            None: it goes alone at once, as does one with a `max_cost`, `fallbacks` or `hedge`.
        metered: False: no model is looked up, nothing is priced, held or recorded. For a server
            whose models cost nothing, and for what the provider bills later.
        price: Dollars that this one call costs, for what has no price in the book (an image, a
            minute of speech): held before it is sent, settled by how it ends.
        region: The provider's region that bills the call, where prices differ by it; None: the
            dearest is held, and settled is the price of any region.
        stage_of: The id of the call of which this is a stage (`r.dure.call_id`): the ledger joins
            their rows under it and flags this one `stage`. It is held and paid by itself.

    Raises:
        InvalidArgumentError: a value is out of range.
    """

    org: str | None = None
    user: str | None = None
    service: str | None = None
    conversation: str | None = None
    tags: tuple[str, ...] = ()
    deadline: float | None = None
    max_attempts: int = 3
    max_cost: str | int | Decimal | None = None
    priority: str = "interactive"
    fallbacks: Sequence[str] | Mapping[str, Sequence[str]] = ()
    resend: str = "all"
    hedge: bool = False
    cache: Cache | bool | None = None
    coalesce: bool | None = None
    metered: bool = True
    price: str | int | Decimal | None = None
    team: str | None = None
    execution: str | None = None
    region: str | None = None
    gather: float | None = None
    stage_of: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.max_attempts, bool) or not 1 <= self.max_attempts <= 100:
            raise InvalidArgumentError("max_attempts must be 1 to 100", argument="max_attempts")
        if self.deadline is not None and not 0 < self.deadline < 1e9:
            raise InvalidArgumentError("deadline must be seconds above zero", argument="deadline")
        if self.gather is not None and (isinstance(self.gather, bool) or not 0 < self.gather <= 1):
            raise InvalidArgumentError(
                "gather must be seconds above zero, at most 1", argument="gather"
            )
        if self.priority not in PRIORITIES:
            raise InvalidArgumentError(f"priority must be one of {PRIORITIES}", argument="priority")
        if self.resend not in RESENDS:
            raise InvalidArgumentError(f"resend must be one of {RESENDS}", argument="resend")
        if self.max_cost is not None:
            pico_of_dollars(self.max_cost, argument="max_cost")
        if self.price is not None:
            pico_of_dollars(self.price, argument="price")
        if self.fallbacks != ():
            self.fallback_lists()
        if self.cache is not None:
            Cache.of(self.cache)
        if self.hedge not in FLAGS or self.coalesce not in FLAGS:
            name = "coalesce" if self.hedge in FLAGS else "hedge"
            raise InvalidArgumentError(f"{name} must be True or False", argument=name)

    def fallback_lists(self) -> tuple[list[str], list[str], list[str]]:
        """Return the models that take over: in general, for long prompts, for filtered ones.

        Raises:
            InvalidArgumentError: they are no lists of names, or a list is none of the three.
        """
        given = self.fallbacks
        if given == ():
            return [], [], []
        lists = given if isinstance(given, Mapping) else {FALLBACKS[0]: given}
        for name, models in lists.items():
            if name not in FALLBACKS:
                raise InvalidArgumentError(
                    f"fallbacks has no list {name!r}: one of {', '.join(FALLBACKS)}",
                    argument="fallbacks",
                )
            if isinstance(models, str) or not all(isinstance(one, str) for one in models):
                raise InvalidArgumentError(
                    f"the {name} fallbacks must be a list of models", argument="fallbacks"
                )
        general, context_window, content_policy = (list(lists.get(n, ())) for n in FALLBACKS)
        return general, context_window, content_policy

    def scopes(self) -> list[str]:
        """Return the budget scopes that this call names."""
        named = [(kind, getattr(self, kind)) for kind in SCOPES]
        return [f"{kind}:{name}" for kind, name in named if name] + [
            f"tag:{tag}" for tag in self.tags
        ]


def pico_of_dollars(dollars: str | int | Decimal | None, *, argument: str) -> int | None:
    """Return dollars as whole pico-dollars (1e-12 $), exactly; None stays None.

    Raises:
        InvalidArgumentError: a float, no number, negative, or finer than a pico-dollar.
    """
    if dollars is None:
        return None
    from decimal import Decimal, InvalidOperation

    if isinstance(dollars, (bool, float)):
        raise InvalidArgumentError(
            f"{argument} is money: give text, int or Decimal, never float", argument=argument
        )
    try:
        pico = Decimal(dollars).scaleb(12)
    except (InvalidOperation, TypeError, ValueError):
        raise InvalidArgumentError(
            f"{argument} must be dollars, for example '0.02'", argument=argument
        ) from None
    if not pico.is_finite() or pico < 0 or pico != pico.to_integral_value() or pico >= 2**63:
        raise InvalidArgumentError(
            f"{argument} must be dollars from 0 up, no finer than 1e-12", argument=argument
        )
    return int(pico)
