"""How good the pieces are: counted again by tiktoken, scored against marked references."""

from __future__ import annotations

import collections
import csv
import json
import math
import random
import re
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from dure.chunks import Chunker, sentences

from tests.quality import fuzz_texts, tiktoken_oracle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import tiktoken

Span = tuple[int, int]
ROOT = Path(__file__).parents[2]
MARKUP = ["# A title?\n\n", "## Über /etc\n", "```\n", "| a | b |\n|--|--|\n", "| 1 | 2 |\n"]
STRUCTURE = ["- item ", "> ", "\r\n", "\n\n", "안녕하세요. ", "각", "/usr/lib ", "    indented\n"]


def data(name: str) -> Path:
    for up in ROOT.parents:
        if (up / "shared/data" / name).is_dir():
            return up / "shared/data" / name
    pytest.skip(f"the folder shared/data/{name} is not beside the checkout")


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


def union(spans: list[Span]) -> int:
    total = reach = 0
    for start, end in sorted(spans):
        total += max(0, end - max(start, reach))
        reach = max(reach, end)
    return total


def shared(chunks: list[Span], references: list[Span]) -> list[Span]:
    pairs = ((max(c[0], r[0]), min(c[1], r[1])) for c in chunks for r in references)
    return [(a, b) for a, b in pairs if a < b]


def omega(chunks: list[Span], references: list[Span]) -> float:
    """Precision if every chunk that touches a reference, and only these, were retrieved."""
    touching = [c for c in chunks if shared([c], references)]
    covered = union(shared(touching, references))
    return covered / (union(touching) + union(references) - covered)


class Bm25:
    """k1 1.2, b 0.75, words in lower case."""

    def __init__(self, texts: list[str]) -> None:
        self.counts = [collections.Counter(re.findall(r"\w+", t.lower())) for t in texts]
        self.frequency = collections.Counter(w for c in self.counts for w in c)
        self.lengths = [c.total() for c in self.counts]
        self.mean = statistics.mean(self.lengths)

    def top(self, query: str, k: int = 5) -> list[int]:
        n = len(self.counts)
        scores = [0.0] * n
        for word in re.findall(r"\w+", query.lower()):
            df = self.frequency[word]
            idf = math.log(1 + (n - df + 0.5) / (df + 0.5))
            for i, counts in enumerate(self.counts):
                tf = counts[word]
                norm = 1.2 * (0.25 + 0.75 * self.lengths[i] / self.mean)
                scores[i] += idf * tf * 2.2 / (tf + norm) if tf else 0.0
        return sorted(range(n), key=lambda i: (-scores[i], i))[:k]


def questions(folder: Path) -> dict[str, list[tuple[str, list[Span]]]]:
    found: dict[str, list[tuple[str, list[Span]]]] = collections.defaultdict(list)
    with (folder / "questions.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            spans = [(r["start_index"], r["end_index"]) for r in json.loads(row["references"])]
            found[row["corpus_id"]].append((row["question"], spans))
    return found


def test_precision_and_recall_at_800_characters() -> None:
    folder = data("chunk_eval")
    precision, recall, lengths = [], [], []
    for corpus, asked in questions(folder).items():
        text = (folder / f"{corpus}.md").read_text(encoding="utf-8")
        chunks = Chunker(max_chars=800).chunk(text)
        spans = list(zip(chunks.char_start.tolist(), chunks.char_end.tolist(), strict=True))
        index = Bm25(list(chunks.text))
        lengths += [b - a for a, b in spans]
        for question, references in asked:
            precision.append(omega(spans, references))
            got = [spans[i] for i in index.top(question)]
            recall.append(union(shared(got, references)) / union(references))
    print(  # noqa: T201
        f"omega {100 * statistics.mean(precision):.1f} recall {100 * statistics.mean(recall):.1f}"
        f" mean length {statistics.mean(lengths):.0f}"
    )
    assert statistics.mean(lengths) >= 540
    assert statistics.mean(precision) >= 0.35
    assert statistics.mean(recall) >= 0.82  # a floor against decay; the goal is 0.846


def changed_by_insertion(text: str, number: int) -> list[int]:
    chance = random.Random(number)
    chunker = Chunker(max_chars=800)
    ends = sentences(text)[:, 1].tolist()
    before = set(chunker.chunk(text).hash64.tolist())
    changed = []
    for _ in range(number):
        at = chance.choice(ends)
        edited = text[:at] + "This sentence was inserted here. " + text[at:]
        changed.append(len(set(chunker.chunk(edited).hash64.tolist()) - before))
    return sorted(changed)


def test_an_inserted_sentence_changes_two_chunks() -> None:
    folder = data("chunk_eval")
    for name in ("state_of_the_union", "pubmed"):
        text = (folder / f"{name}.md").read_text(encoding="utf-8")[:200_000]
        changed = changed_by_insertion(text, 200)
        assert statistics.mean(changed) <= 2.0
        assert changed[-1] <= 10


def groups(path: Path) -> Iterator[list[str]]:
    for block in path.read_text(encoding="utf-8").split("\n\n"):
        lines = [line.strip() for line in block.splitlines() if line.strip()]
        if lines:
            yield lines


def without_space(text: str, spans: list[Span]) -> list[Span]:
    index = [0]
    for character in text:
        index.append(index[-1] + (not character.isspace()))
    return [(index[a], index[b]) for a, b in spans if index[a] < index[b]]


def nf1(gold: list[Span], predicted: list[Span]) -> float:
    """F1 of the best one-to-one matches, lowered where there are too many predictions."""
    pairs = []
    for i, g in enumerate(gold):
        for j, p in enumerate(predicted):
            overlap = min(g[1], p[1]) - max(g[0], p[0])
            if overlap > 0:
                pairs.append((2 * overlap / (g[1] - g[0] + p[1] - p[0]), i, j))
    best: dict[int, float] = {}
    used: set[int] = set()
    for score, i, j in sorted(pairs, reverse=True):
        if i not in best and j not in used:
            best[i] = score
            used.add(j)
    return sum(best.values()) / len(gold) * min(1.0, len(gold) / len(predicted))


def korean_score(path: Path, split: Callable[[str], list[Span]]) -> float:
    total = 0.0
    weight = 0
    for lines in groups(path):
        text = " ".join(lines)
        gold: list[Span] = []
        for line in lines:
            start = gold[-1][1] + 1 if gold else 0
            gold.append((start, start + len(line)))
        score = nf1(without_space(text, gold), without_space(text, split(text)))
        total += score * len(lines)
        weight += len(lines)
    return total / weight


def test_korean_sentences_are_found() -> None:
    def ours(text: str, rules: str) -> list[Span]:
        return [(a, b) for a, b in sentences(text, rules=rules).tolist()]

    files = sorted(data("ko_sentences").glob("*.txt"))
    scores = {f.stem: korean_score(f, lambda t: ours(t, "auto")) for f in files}
    standard = {f.stem: korean_score(f, lambda t: ours(t, "uax29")) for f in files}
    print(scores, standard)  # noqa: T201
    assert statistics.mean(scores.values()) >= 0.76
    assert statistics.mean(scores.values()) >= statistics.mean(standard.values()) + 0.13
    assert scores["wikipedia"] >= 0.93
