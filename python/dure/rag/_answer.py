"""What `ask` gives back: the answer whole, or piece by piece and then whole."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from decimal import Decimal

    from dure.retrieval import Hit

__all__ = ["Answer", "AnswerStream", "AsyncAnswerStream", "Draft", "Usage"]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one answer."""

    prompt_tokens: int
    completion_tokens: int

    @property
    def total_tokens(self) -> int:
        """Both together."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with its sources and its bill.

    Attributes:
        text: The answer; `[n]` in it is `sources[n - 1]`.
        sources: What was in the prompt, in its order.
        usage: Tokens as the provider counted them; for `dure.local` as dure counts them.
        cost: Dollars, exact; zero for `dure.local`.
        model: What answered.
        attempts: How often the provider was asked for this answer.
    """

    text: str
    sources: list[Hit]
    usage: Usage
    cost: Decimal
    model: str
    attempts: int = 1

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; the cost as a string of dollars."""
        sources = [
            {"n": n, "id": hit.id, "score": hit.score, "text": hit.text, "metadata": hit.metadata}
            for n, hit in enumerate(self.sources, 1)
        ]
        return {
            "text": self.text,
            "sources": sources,
            "usage": asdict(self.usage) | {"total_tokens": self.usage.total_tokens},
            "cost_usd": f"{self.cost:f}",
            "model": self.model,
            "attempts": self.attempts,
        }


@dataclass(slots=True)
class Draft:
    """An answer in the making: what is known before its text, and how it is finished."""

    sources: list[Hit]
    finish: Callable[[str], Answer]


class AnswerStream:
    """Iterate for pieces of text; then `.answer` is the whole. One thread at a time."""

    def __init__(self, pieces: Iterator[str], draft: Draft) -> None:
        self._pieces, self._draft = pieces, draft
        self._text: list[str] = []
        self._answer: Answer | None = None

    @property
    def sources(self) -> list[Hit]:
        """What is in the prompt; known before the first piece."""
        return self._draft.sources

    @property
    def answer(self) -> Answer:
        """The whole answer; reads what is left of the stream first."""
        for _ in self:
            pass
        assert self._answer is not None
        return self._answer

    def __iter__(self) -> Iterator[str]:
        for piece in self._pieces:
            self._text.append(piece)
            yield piece
        if self._answer is None:
            self._answer = self._draft.finish("".join(self._text))


class AsyncAnswerStream:
    """Iterate with `async for`; then `.answer` is the whole. Owner task only: one at a time."""

    def __init__(self, pieces: AsyncIterator[str], draft: Draft) -> None:
        self._pieces, self._draft = pieces, draft
        self._text: list[str] = []
        self._answer: Answer | None = None

    @property
    def sources(self) -> list[Hit]:
        """What is in the prompt; known before the first piece."""
        return self._draft.sources

    @property
    def answer(self) -> Answer:
        """The whole answer, once the stream was read to its end."""
        if self._answer is None:
            raise RuntimeError("read the stream first: async for piece in stream: ...")
        return self._answer

    async def __aiter__(self) -> AsyncIterator[str]:
        async for piece in self._pieces:
            self._text.append(piece)
            yield piece
        if self._answer is None:
            self._answer = self._draft.finish("".join(self._text))
