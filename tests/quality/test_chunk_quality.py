"""How good the pieces are: counted again by tiktoken, scored against marked references."""

from __future__ import annotations

import random
import statistics
from typing import TYPE_CHECKING, Any

import pytest
from dure.chunks import Chunker, sentences

from tests.quality import fuzz_texts, tiktoken_oracle
from tests.quality.chunk_scores import (
    Span,
    changed_by_insertion,
    folder,
    korean_score,
    quality,
    questions,
)

if TYPE_CHECKING:
    from pathlib import Path

    import tiktoken

FLOORS = {"chatlogs": (50, 89.8), "pubmed": (41, 77), "state_of_the_union": (35, 89.1)}
MARKUP = ["# A title?\n\n", "## Über /etc\n", "```\n", "| a | b |\n|--|--|\n", "| 1 | 2 |\n"]
STRUCTURE = ["- item ", "> ", "\r\n", "\n\n", "안녕하세요. ", "각", "/usr/lib ", "    indented\n"]


def data(name: str) -> Path:
    found = folder(name)
    if found is None:
        pytest.skip(f"the folder shared/data/{name} is not beside the checkout")
    return found


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tiktoken.Encoding]:
    return tiktoken_oracle.load(tmp_path_factory.mktemp("tiktoken"))


def capped(**options: Any) -> Chunker:  # noqa: ANN401
    return Chunker(**options)


@pytest.mark.parametrize("name", ["gpt2", "cl100k_base", "o200k_base"])
def test_tiktoken_counts_the_same(name: str, oracle: dict[str, tiktoken.Encoding]) -> None:
    """Every chunk of 7,000 documents: the cap holds for what is embedded, counted by tiktoken."""
    chance = random.Random(name)
    alphabet = [*fuzz_texts.ALPHABET, *MARKUP * 6, *STRUCTURE * 6]
    texts: list[str] = []
    for _ in range(7000):
        text = "".join(chance.choices(alphabet, k=chance.randrange(1, 150)))
        cap = chance.choice([24, 40, 64, 120])
        chunks = capped(
            max_tokens=cap,
            tokenizer=name,
            overlap=chance.choice([0, 0, 0, 6]),
            mode=chance.choice(["auto", "markdown", "text", "code", "html"]),
            trim=chance.random() < 0.6,
        ).chunk(text)
        embedded = list(chunks.embed_text)
        counts = [len(oracle[name].encode_ordinary(one)) for one in embedded]
        assert counts == chunks.token_count.tolist(), repr(text)
        assert max(counts, default=0) <= cap
        texts += embedded
    assert len(texts) > 15_000


def test_precision_and_recall_at_800_characters() -> None:
    """In each corpus alone; floors against decay stand where a goal is not reached."""
    place = data("chunk_eval")
    lengths: list[int] = []
    for corpus, asked in questions(place).items():
        text = (place / f"{corpus}.md").read_text(encoding="utf-8")
        chunks = Chunker(max_chars=800).chunk(text)
        spans = list(zip(chunks.char_start.tolist(), chunks.char_end.tolist(), strict=True))
        found = quality(text, asked, spans)
        print(corpus, found)  # noqa: T201
        lengths += [b - a for a, b in spans]
        assert found.omega >= FLOORS[corpus][0], corpus
        assert found.recall >= FLOORS[corpus][1], corpus
    assert statistics.mean(lengths) >= 540


def test_an_inserted_sentence_changes_two_chunks() -> None:
    """2,000 insertions, a third into each corpus."""
    place = data("chunk_eval")
    for name in ("state_of_the_union", "pubmed", "chatlogs"):
        text = (place / f"{name}.md").read_text(encoding="utf-8")[:200_000]
        changed = changed_by_insertion(text, 666)
        assert statistics.mean(changed) <= 2.0, name
        assert changed[int(0.99 * len(changed))] <= 6, name
        assert changed[-1] <= 8, name


def test_korean_sentences_are_found() -> None:
    def ours(text: str, rules: str) -> list[Span]:
        return [(a, b) for a, b in sentences(text, rules=rules).tolist()]

    files = sorted(data("ko_sentences").glob("*.txt"))
    scores = {f.stem: korean_score(f, lambda t: ours(t, "auto")) for f in files}
    standard = {f.stem: korean_score(f, lambda t: ours(t, "uax29")) for f in files}
    print(scores, standard)  # noqa: T201
    assert min(scores.values()) >= 0.76
    assert statistics.mean(scores.values()) >= statistics.mean(standard.values()) + 0.13
    assert scores["wikipedia"] >= 0.93
