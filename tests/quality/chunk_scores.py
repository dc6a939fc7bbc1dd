"""Scores of chunks and sentences: Precision-Omega, BM25 recall, edits, Korean NF1."""

from __future__ import annotations

import collections
import csv
import json
import math
import random
import re
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dure.chunks import Chunker, sentences

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Span = tuple[int, int]
ROOT = Path(__file__).parents[2]


def folder(name: str) -> Path | None:
    """Return the folder of the data, which stands beside the checkout, if it is there."""
    for up in ROOT.parents:
        if (up / "shared/data" / name).is_dir():
            return up / "shared/data" / name
    return None


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
        counts = [collections.Counter(re.findall(r"\w+", t.lower())) for t in texts]
        lengths = [c.total() for c in counts]
        mean = statistics.mean(lengths)
        self.size = len(texts)
        self.weights: dict[str, list[tuple[int, float]]] = collections.defaultdict(list)
        for i, words in enumerate(counts):
            norm = 1.2 * (0.25 + 0.75 * lengths[i] / mean)
            for word, tf in words.items():
                self.weights[word].append((i, tf * 2.2 / (tf + norm)))

    def top(self, query: str, k: int = 5) -> list[int]:
        scores = [0.0] * self.size
        for word in re.findall(r"\w+", query.lower()):
            found = self.weights.get(word, [])
            idf = math.log(1 + (self.size - len(found) + 0.5) / (len(found) + 0.5))
            for i, weight in found:
                scores[i] += idf * weight
        return sorted(range(self.size), key=lambda i: (-scores[i], i))[:k]


def questions(folder: Path) -> dict[str, list[tuple[str, list[Span]]]]:
    found: dict[str, list[tuple[str, list[Span]]]] = collections.defaultdict(list)
    with (folder / "questions.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            spans = [(r["start_index"], r["end_index"]) for r in json.loads(row["references"])]
            found[row["corpus_id"]].append((row["question"], spans))
    return found


class Quality(NamedTuple):
    """Of one corpus, in percent; and the mean length of its chunks."""

    omega: float
    recall: float
    length: float


def quality(text: str, asked: list[tuple[str, list[Span]]], spans: list[Span]) -> Quality:
    index = Bm25([text[a:b] for a, b in spans])
    precision, recall = [], []
    for question, references in asked:
        precision.append(omega(spans, references))
        got = [spans[i] for i in index.top(question)]
        recall.append(union(shared(got, references)) / union(references))
    length = statistics.mean(b - a for a, b in spans)
    return Quality(100 * statistics.mean(precision), 100 * statistics.mean(recall), length)


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
