"""Chunking, beside LangChain, semchunk, text-splitter and chonkie: token, character and Markdown.

Peers cut at other places, so answers are not equal; what is checked is that every contender's
pieces cover the text's letters and that ours hold their cap and offsets (`Chunks.verify`).
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.corpora import corpus, fresh
from benchmarks.harness import Contender, Table, named, side_by_side
from benchmarks.peers.tokenize_area import fill_cache

if TYPE_CHECKING:
    from collections.abc import Callable

TOKENS, CHARS = 512, 1000


def covers(text: str) -> Callable[[Any], bool]:
    """Whether the pieces hold at least the letters of the text, overlap aside."""
    letters = sum(not c.isspace() for c in text)

    def check(pieces: Any) -> bool:  # noqa: ANN401
        return sum(not c.isspace() for piece in pieces for c in piece) >= letters * 0.99

    return check


def ours(text: str, **options: Any) -> Contender:  # noqa: ANN401
    import dure

    chunker = dure.Chunker(**options)
    check = covers(text)

    def answer(chunks: Any) -> bool:  # noqa: ANN401
        assert chunks.verify(text) == []
        return check(list(chunks.text))

    return Contender("dure", chunker.chunk, answer)


def token_rows(text: str) -> list[Contender]:
    import chonkie
    import semchunk
    import tiktoken
    from dure import tokens
    from langchain_text_splitters import RecursiveCharacterTextSplitter
    from semantic_text_splitter import TextSplitter

    encoding, own = tiktoken.get_encoding("o200k_base"), tokens.get_encoding("o200k_base")
    langchain = RecursiveCharacterTextSplitter.from_tiktoken_encoder(
        encoding_name="o200k_base", chunk_size=TOKENS, chunk_overlap=0
    )
    sem = semchunk.chunkerify(lambda piece: len(encoding.encode_ordinary(piece)), TOKENS)
    rust = TextSplitter.from_tiktoken_model("gpt-4o", TOKENS)
    recursive = chonkie.RecursiveChunker(tokenizer=encoding, chunk_size=TOKENS)
    check = covers(text)
    return [
        ours(text, max_tokens=TOKENS),
        Contender("one pass of our encoder", own.count, None),
        Contender(named("langchain-text-splitters"), langchain.split_text, check),
        Contender(named("semchunk"), sem, check),
        Contender(named("semantic-text-splitter"), rust.chunks, check),
        Contender(
            named("chonkie", "recursive"), recursive.chunk, lambda cs: check([c.text for c in cs])
        ),
    ]


def char_rows(text: str) -> list[Contender]:
    import chonkie
    import semchunk
    from langchain_text_splitters import RecursiveCharacterTextSplitter
    from semantic_text_splitter import TextSplitter

    langchain = RecursiveCharacterTextSplitter(
        chunk_size=CHARS, chunk_overlap=0, add_start_index=True
    )
    sem = semchunk.chunkerify(len, CHARS, memoize=False)
    rust = TextSplitter(CHARS)
    recursive = chonkie.RecursiveChunker(tokenizer="character", chunk_size=CHARS)
    check = covers(text)
    return [
        ours(text, max_chars=CHARS),
        Contender(
            named("langchain-text-splitters", "start_index"),
            lambda given: langchain.create_documents([given]),
            lambda docs: check([doc.page_content for doc in docs]),
        ),
        Contender(named("semchunk"), sem, check),
        Contender(
            named("semantic-text-splitter"),
            rust.chunk_indices,
            lambda pairs: check([piece for _, piece in pairs]),
        ),
        Contender(
            named("chonkie", "recursive"), recursive.chunk, lambda cs: check([c.text for c in cs])
        ),
    ]


def run() -> list[Table]:
    tables = []
    with tempfile.TemporaryDirectory() as name:
        os.environ["TIKTOKEN_CACHE_DIR"] = name
        fill_cache(Path(name))
        for title, rows in (
            (f"{TOKENS} tokens (o200k)", token_rows),
            (f"{CHARS} characters", char_rows),
        ):
            for language, megabytes in (("english", 2.0), ("korean", 1.6), ("code", 2.0)):
                text = corpus(language, megabytes)
                size = len(text.encode()) / 1e6
                tables.append(
                    side_by_side(
                        f"{title}, {language}",
                        rows(text),
                        fresh=lambda text=text: fresh(text),  # type: ignore[misc]
                        work=size,
                        unit="MB/s",
                        note=f"{size:.1f} MB, one thread, new str each round; answers: all covered",
                    )
                )
    return tables
