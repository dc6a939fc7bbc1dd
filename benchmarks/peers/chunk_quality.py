"""How good the pieces are, beside the peers: marked references, edits, Korean sentences."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from tests.quality import chunk_scores

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.goals import Goals
    from tests.quality.chunk_scores import Span

CHARS = 800
data = chunk_scores.folder


def ours(text: str) -> list[Span]:
    import dure

    chunks = dure.Chunker(max_chars=CHARS).chunk(text)
    return list(zip(chunks.char_start.tolist(), chunks.char_end.tolist(), strict=True))


def langchain(text: str) -> list[Span]:
    from langchain_text_splitters import RecursiveCharacterTextSplitter

    splitter = RecursiveCharacterTextSplitter(
        chunk_size=CHARS, chunk_overlap=0, add_start_index=True
    )
    found = splitter.create_documents([text])
    starts = [document.metadata["start_index"] for document in found]
    return [(a, a + len(d.page_content)) for a, d in zip(starts, found, strict=True)]


def semchunk(text: str) -> list[Span]:
    import semchunk

    _, offsets = semchunk.chunkerify(len, CHARS, memoize=False)(text, offsets=True)
    return list(offsets)


def chonkie(text: str) -> list[Span]:
    import chonkie

    found = chonkie.RecursiveChunker(tokenizer="character", chunk_size=CHARS).chunk(text)
    return [(chunk.start_index, chunk.end_index) for chunk in found]


def text_splitter(text: str) -> list[Span]:
    from semantic_text_splitter import TextSplitter

    return [(a, a + len(piece)) for a, piece in TextSplitter(CHARS).chunk_indices(text)]


PEERS: dict[str, Callable[[str], list[Span]]] = {
    "langchain": langchain,
    "semchunk": semchunk,
    "chonkie": chonkie,
    "text-splitter": text_splitter,
}


def boundaries(goals: Goals, folder: Path) -> None:
    """Precision-Omega and BM25 recall at 800 characters, each corpus alone."""
    print(f"\n{CHARS} characters: Precision-Omega, BM25 recall of the top 5, mean length")
    lengths: list[int] = []
    for corpus, asked in chunk_scores.questions(folder).items():
        text = (folder / f"{corpus}.md").read_text(encoding="utf-8")
        lengths += [b - a for a, b in ours(text)]
        found = {
            name: chunk_scores.quality(text, asked, cut(text))
            for name, cut in {"dure": ours, **PEERS}.items()
        }
        for name, q in found.items():
            print(f"  {corpus:20} {name:14} {q.omega:6.1f} {q.recall:6.1f} {q.length:6.0f}")
        own = found.pop("dure")
        best_omega = max(q.omega for q in found.values())
        best_recall = max(q.recall for q in found.values())
        goals.at_least(f"{corpus}: Precision-Omega", own.omega, 35.0)
        goals.at_least(f"{corpus}: Omega above the best peer", own.omega - best_omega, 1.5)
        goals.at_least(f"{corpus}: recall above the best peer", own.recall - best_recall, -1.5)
    goals.at_least("mean length of all chunks", statistics.mean(lengths), 540)


def edits(goals: Goals, folder: Path, *, insertions: int) -> None:
    """Chunks changed by one inserted sentence."""
    names = sorted(path.stem for path in folder.glob("*.md"))
    for name in names:
        text = (folder / f"{name}.md").read_text(encoding="utf-8")[:200_000]
        changed = chunk_scores.changed_by_insertion(text, insertions // len(names))
        goals.at_most(f"{name}: changed by a sentence, mean", statistics.mean(changed), 2.0)
        goals.at_most(f"{name}: ... 99th in 100", changed[int(0.99 * len(changed))], 6)
        goals.at_most(f"{name}: ... most", changed[-1], 8)


def korean(goals: Goals, folder: Path) -> None:
    """NF1 of Korean sentences; ICU finds what the standard's rules find (sentence rows)."""
    from dure.chunks import sentences

    def spans(rules: str) -> Callable[[str], list[Span]]:
        return lambda text: [(a, b) for a, b in sentences(text, rules=rules).tolist()]

    files = sorted(folder.glob("*.txt"))
    own = {file.stem: chunk_scores.korean_score(file, spans("auto")) for file in files}
    icu = {file.stem: chunk_scores.korean_score(file, spans("uax29")) for file in files}
    for name, score in own.items():
        goals.at_least(f"Korean NF1, {name}", score, 0.93 if name == "wikipedia" else 0.76)
    mean = statistics.mean(own.values())
    goals.at_least("Korean NF1, mean", mean, 0.76)
    goals.at_least("Korean NF1, mean above ICU", mean - statistics.mean(icu.values()), 0.13)
