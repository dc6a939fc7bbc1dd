"""The default without a provider: embeddings by hashing, answers by quoting.

Neither is a language model, and the answers say so.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from dure.prompts.relevance import is_code, paragraphs, rank

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dure._core.index import HashEmbedder as HashEmbedder
    from dure.prompts import Found

__all__ = ["MODEL", "ExtractiveAnswerer", "HashEmbedder", "pieces"]

_PIECES = re.compile(r"\s*\S+|\s+\Z")
_POINTS_BACK = re.compile(
    r"(?:이|그|이것|그것|이를|이로써|이렇게|이때|그래서|따라서|이러한)[은는이가을를]?\s"
    r"|(?:This|That|These|Those|It|They|He|She|So|Then)\b"
)
MIN_SHARE = 0.2  # of the question's weight: a sentence with less answers something else
CODE_WORTH = 0.3  # of a line of code, against a sentence that fits as well
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


class _Passage(NamedTuple):
    """A sentence of hit `n`; `quote` has the one before it too if it points back to that."""

    n: int
    text: str
    quote: str


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
        """Return number and text of the best quotes, best first."""
        passages = _passages(hits)
        scored = []
        for i, (score, share) in enumerate(rank(question, [one.text for one in passages])):
            if share >= MIN_SHARE:  # earlier hits fit better, prose better than code
                worth = CODE_WORTH if is_code(passages[i].text) else 1.0
                scored.append((score * share * (1 + 1 / (2 + passages[i].n)) * worth, i))
        scored.sort(key=lambda pair: (-pair[0], pair[1]))
        best = [i for score, i in scored[: self._max_sentences] if score >= scored[0][0] * 0.4]
        prose = [i for i in best if not is_code(passages[i].text)]
        return [(passages[i].n, passages[i].quote) for i in prose or best]

    def _short(self, text: str) -> str:
        if len(text) <= self._max_chars:
            return text
        return text[: self._max_chars].rsplit(" ", 1)[0] + " …"


def _passages(hits: Sequence[Found]) -> list[_Passage]:
    seen: set[str] = set()
    found = []
    for n, hit in enumerate(hits, 1):
        for paragraph in paragraphs(hit.text or ""):
            for before, text in zip(["", *paragraph], paragraph, strict=False):
                if text not in seen:
                    seen.add(text)
                    back = bool(before) and _POINTS_BACK.match(text) is not None
                    found.append(_Passage(n, text, f"{before} {text}" if back else text))
    return found


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
