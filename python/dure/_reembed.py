"""A new generation of a collection's vectors, made beside the one that answers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from dure import _core
from dure._dollars import to_dollars
from dure.errors import InvalidArgumentError, RequestExceedsLimitError

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from decimal import Decimal

    Texts = list[str]
    Steps = Generator[Texts, Any, "ReembedReport"]

PAGE = 1024  # rows of a commit: what kill -9 may cost is at most their vectors
_PICO = 10**12


class ReembedReport(NamedTuple):
    """What `Collection.reembed` did, or would do (`done` is False).

    `texts` are the distinct contents without a new vector when it began, `embedded` how many it
    made vectors of. `tokens` and `cost` (dollars) are the embedder's quote of `texts`; None if it
    gives none.
    """

    model: str
    rows: int
    texts: int
    embedded: int
    tokens: int | None
    cost: Decimal | None
    seconds: float
    done: bool

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; `cost` as text."""
        return {**self._asdict(), "cost": None if self.cost is None else f"{self.cost:f}"}


class _Quote(NamedTuple):
    texts: int
    tokens: int | None
    cost: Decimal | None


def steps(
    col: _core.index.Collection,
    embedder: Any,  # noqa: ANN401 - an Embedder
    model: tuple[str, str],
    max_cost: Decimal | None,
    dry_run: bool,
) -> Steps:
    """Yield texts to embed, take float32 [n, dim] of each; return the report."""
    begin = time.monotonic()
    rows, _, textless, first = col.reembed_state()
    if textless:
        raise InvalidArgumentError(
            f"{textless} rows of {col.name!r} have no text to embed, for example {first!r}: "
            "delete them, or upsert their new vectors into another collection",
            argument="embedder",
        )
    pending = str(col.info()["next"])
    if col.info()["fingerprint"] == model[1]:  # it is there already; what was begun is unwanted
        if pending and not dry_run:
            col.cancel_reembed()
        return ReembedReport(model[0], rows, 0, 0, 0, to_dollars(0), 0.0, done=not dry_run)
    quote = _quote(col, embedder, anew=pending != model[1])
    _check_cost(col.name, quote, max_cost)
    embedded = 0
    if not dry_run:
        if pending and pending != model[1]:
            col.cancel_reembed()
        embedded = yield from _all(col, embedder, model)
    seconds = time.monotonic() - begin
    return ReembedReport(
        model[0], rows, quote.texts, embedded, quote.tokens, quote.cost, seconds, not dry_run
    )


def _all(
    col: _core.index.Collection,
    embedder: Any,  # noqa: ANN401
    model: tuple[str, str],
) -> Generator[Texts, Any, int]:
    """Embed what has no new vector, until nothing came meanwhile and the new ones answer."""
    embedded = 0
    while True:
        after = 0
        while True:
            page, after = col.reembed_page(after, PAGE, False)
            first: dict[bytes, int] = {}
            texts: list[str] = []
            for _, text, content, known in page:
                if not known and content not in first:
                    first[content] = len(texts)
                    texts.append(text)
            matrix = (yield texts) if texts else None
            if page:
                dim = int(embedder.dim if matrix is None else matrix.shape[1])
                col.begin_reembed(model, dim)
                col.put_reembedded(
                    model,
                    [chunk for chunk, _, _, _ in page],
                    [content for _, _, content, _ in page],
                    [first.get(content, -1) for _, _, content, _ in page],
                    matrix,
                )
                embedded += len(texts)
            if not after:
                break
        if not col.info()["next"]:  # no rows at all
            col.begin_reembed(model, int(embedder.dim))
        if col.finish_reembed(model):
            return embedded


def _quote(
    col: _core.index.Collection,
    embedder: Any,  # noqa: ANN401
    *,
    anew: bool,
) -> _Quote:
    ask = getattr(embedder, "quote", None)
    if ask is None and isinstance(embedder, _core.index.HashEmbedder):
        ask = _free
    seen: set[bytes] = set()
    tokens = 0
    cost: Decimal | None = to_dollars(0)
    after = 0
    while True:
        page, after = col.reembed_page(after, PAGE, anew)
        texts: list[str] = []
        for _, text, content, known in page:
            if not known and content not in seen:
                seen.add(content)
                texts.append(text)
        if ask is not None and texts:
            more, price = ask(texts)
            tokens += more
            cost = None if cost is None or price is None else cost + price
        if not after:
            break
    return _Quote(len(seen), tokens if ask else None, cost if ask else None)


def _free(_texts: Sequence[str]) -> tuple[int, Decimal]:
    return 0, to_dollars(0)


def _check_cost(name: str, quote: _Quote, max_cost: Decimal | None) -> None:
    if max_cost is None:
        return
    if quote.cost is None:
        raise InvalidArgumentError(
            "no price is known for these texts (the embedder's quote(texts) -> (tokens, dollars)): "
            "leave max_cost out",
            argument="max_cost",
        )
    if quote.cost > max_cost:
        raise RequestExceedsLimitError(
            f"re-embedding {name!r} would cost about {quote.cost} dollars for {quote.texts} "
            f"texts, more than max_cost={max_cost}: nothing was sent",
            scope=f"reembed:{name}",
            unit="usd",
            left_units=int(max_cost * _PICO),
        )


def advance(work: Steps, answer: object) -> tuple[Texts | None, ReembedReport | None]:
    """Send `answer` into `work`; return the texts it wants next, or its report."""
    try:
        return work.send(answer), None
    except StopIteration as done:
        return None, cast("ReembedReport", done.value)
