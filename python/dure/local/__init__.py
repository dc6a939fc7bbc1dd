"""The default without a provider: embeddings by hashing, answers by quoting.

Neither is a language model, and the answers say so.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dure.prompts.relevance import rank, split_sentences

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dure._core.index import HashEmbedder as HashEmbedder
    from dure.prompts import Found

__all__ = ["MODEL", "ExtractiveAnswerer", "HashEmbedder", "pieces"]

_PIECES = re.compile(r"\s*\S+|\s+\Z")
MODEL = "dure.local (no language model)"

_WORDS = {
    "ko": (
        "언어 모델 없이 dure.local이 출처에서 그대로 옮긴 문장입니다.",
        "출처에서 이 질문에 답하는 문장을 찾지 못했습니다. (dure.local은 언어 모델이 아닙니다.)",
        "dure.local은 언어 모델이 아니라서 출처의 문장을 옮길 수만 있는데, 이 요청에는 출처가 "
        "없습니다.",
    ),
    "en": (
        "Quoted from the sources by dure.local, which is no language model:",
        "No sentence of the sources answers this. (dure.local is no language model.)",
        "dure.local is no language model: it can only quote sources, and this request has none.",
    ),
}


class ExtractiveAnswerer:
    """Answers with the sentences of the hits that fit the question best, each with its `[n]`.

    Deterministic. Immutable.

    Args:
        max_sentences: The most sentences that an answer quotes.
        max_chars: A longer sentence is cut at a word, with an ellipsis.
    """

    def __init__(self, *, max_sentences: int = 3, max_chars: int = 360) -> None:
        self._max_sentences = max_sentences
        self._max_chars = max_chars

    def answer(self, question: str, hits: Sequence[Found]) -> str:
        """Return quotes from `hits` (numbered from 1 in their order), or say that there are none.

        Korean questions are answered with Korean lead words; quotes stay as they are.
        """
        quoting, nothing, no_sources = _WORDS["ko" if _is_korean(question) else "en"]
        if not hits:
            return no_sources
        quotes = self._best(question, hits)
        if not quotes:
            return nothing
        return "\n".join([quoting, *(f"- {self._short(text)} [{n}]" for n, text in quotes)])

    def _best(self, question: str, hits: Sequence[Found]) -> list[tuple[int, str]]:
        seen: set[str] = set()
        passages: list[tuple[int, str]] = []
        for n, hit in enumerate(hits, 1):
            for text in split_sentences(hit.text):
                if text not in seen:
                    seen.add(text)
                    passages.append((n, text))
        scored = []
        for i, (score, share) in enumerate(rank(question, [text for _, text in passages])):
            if share >= 0.2:
                n = passages[i][0]
                scored.append((score * share * (1 + 1 / (2 + n)), i))  # earlier hits fit better
        scored.sort(key=lambda pair: (-pair[0], pair[1]))
        best = [i for score, i in scored[: self._max_sentences] if score >= scored[0][0] * 0.4]
        return [passages[i] for i in best]

    def _short(self, text: str) -> str:
        if len(text) <= self._max_chars:
            return text
        return text[: self._max_chars].rsplit(" ", 1)[0] + " …"


def pieces(text: str) -> list[str]:
    """Return the text word by word, as a stream sends it; joined they are the text."""
    return _PIECES.findall(text)


def _is_korean(text: str) -> bool:
    letters = [c for c in text if c.isalpha()]
    return sum("\uac00" <= c <= "\ud7a3" for c in letters) * 2 > len(letters)


def __getattr__(name: str) -> object:
    if name == "HashEmbedder":  # on first use: it brings numpy
        from dure._core.index import HashEmbedder

        return HashEmbedder
    raise AttributeError(f"module 'dure.local' has no attribute {name!r}")
