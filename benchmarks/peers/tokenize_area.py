"""Encode and count, beside tiktoken, quicktok and gigatoken: same text, same ids."""

from __future__ import annotations

import base64
import hashlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.corpora import corpus, fresh
from benchmarks.harness import Contender, Table, named, side_by_side

if TYPE_CHECKING:
    from collections.abc import Callable

ENCODINGS = ("o200k_base", "cl100k_base")
LANGUAGES = ("english", "korean", "code")
MEGABYTES = 4.0


def fill_cache(folder: Path) -> None:
    """Write our embedded vocabularies where tiktoken looks for its downloads."""
    import tiktoken_ext.openai_public as public
    from dure import tokens

    source = Path(public.__file__).read_text()
    for name in ENCODINGS:
        start = source.index(f"/{name}.tiktoken")
        url = source[source.rindex('"', 0, start) + 1 : source.index('"', start)]
        ranks: dict[bytes, int] = tokens.get_encoding(name)._mergeable_ranks
        lines = (base64.b64encode(token) + b" %d\n" % rank for token, rank in ranks.items())
        (folder / hashlib.sha1(url.encode()).hexdigest()).write_bytes(b"".join(lines))


def numpy_ids(result: Any) -> list[int]:  # noqa: ANN401
    return [int(token) for token in result]


def contenders(name: str, folder: Path) -> dict[str, list[Contender]]:
    import gigatoken
    import quicktok
    import tiktoken
    from dure import tokens

    ours, theirs, quick = (
        tokens.get_encoding(name),
        tiktoken.get_encoding(name),
        quicktok.get_encoding(name),
    )
    vocabulary = folder / f"{name}.tiktoken"
    ranks = ours._mergeable_ranks
    vocabulary.write_bytes(
        b"".join(base64.b64encode(token) + b" %d\n" % rank for token, rank in ranks.items())
    )
    giga = gigatoken.Tokenizer.from_tiktoken(vocabulary).as_tiktoken()

    def encoder(label: str, encode: Callable[[Any], Any]) -> Contender:
        return Contender(label, encode, numpy_ids)

    def counter(label: str, count: Callable[[Any], Any]) -> Contender:
        return Contender(label, count)

    lists = [
        encoder("dure", ours.encode_ordinary),
        encoder(named("tiktoken"), theirs.encode_ordinary),
        encoder(named("quicktok-v1"), quick.encode_ordinary),
        encoder(named("gigatoken", "as_tiktoken"), giga.encode_ordinary),
    ]
    counts = [
        counter("dure", ours.count),
        counter(
            named("tiktoken", "len(encode_ordinary)"), lambda t: len(theirs.encode_ordinary(t))
        ),
        counter(named("quicktok-v1"), quick.count),
    ]
    return {"encode to list": lists, "count": counts}


def run() -> list[Table]:
    tables = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["TIKTOKEN_CACHE_DIR"] = name
        fill_cache(folder)
        for encoding in ENCODINGS:
            for what, rows in contenders(encoding, folder).items():
                for language in LANGUAGES:
                    text = corpus(language, MEGABYTES)
                    size = len(text.encode()) / 1e6
                    tables.append(
                        side_by_side(
                            f"{what}, {encoding}, {language}",
                            rows,
                            fresh=lambda text=text: fresh(text),  # type: ignore[misc]
                            work=size,
                            unit="MB/s",
                            note=f"{size:.1f} MB, one thread, new str each round",
                        )
                    )
    return tables
