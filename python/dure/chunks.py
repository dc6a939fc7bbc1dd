"""Documents into pieces of a proven size, with exact offsets and content hashes.

    chunks = dure.Chunker(max_tokens=512).chunk(text)
    chunks.byte_start, chunks.token_count    # NumPy columns
    chunks.text[0], chunks[0].heading_path   # made when asked for

The cap holds for what is embedded: heading path, repeated table header, overlap and body, counted
as one string. Sentences follow UAX #29 (Unicode 15.0) and the endings of Korean.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, overload

from dure import _core
from dure._check import integer, optional_integer, refuse
from dure._check import text as text_of
from dure.errors import InvalidArgumentError, MissingExtraError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dure._regular import RegularFile

__all__ = ["Chunk", "ChunkDiff", "Chunker", "Chunks", "Document", "sentences", "split_documents"]

_MODES = ("auto", "text", "markdown", "html", "code", "csv", "jsonl", "page", "delimiter")
_SENTENCES = ("auto", "uax29", "ko")
_KEEP = ("table", "fence")
_DEFAULT_ENCODING = "o200k_base"
_COUNTED_ROWS = 4096  # of a file, whose text is read for it
_CAPS = {"max_tokens": "tokens", "max_chars": "chars", "max_bytes": "bytes"}


class Document:
    """A text with its identity, its metadata and, where it has pages, where they begin.

    Attributes:
        id: Given, or the first 16 bytes of the SHA-256 of the text, in hexadecimal.
        text: The whole text.
        metadata: What the caller or the loader knows; copied into each chunk's metadata.
        pages: Offsets in code points at which pages begin; empty for a text without pages.
    """

    __slots__ = ("id", "metadata", "pages", "text")

    def __init__(
        self,
        text: str,
        id: str | None = None,
        *,
        metadata: Mapping[str, Any] | None = None,
        pages: Sequence[int] = (),
    ) -> None:
        """Make a document; without `id` equal texts are the same document.

        Raises:
            TypeError: `text` is no str, a page is no int.
            InvalidArgumentError: The pages do not ascend within the text.
        """
        self.text = text_of(text, "text")
        self.id = id if id is not None else _core.base.sha256(_utf8(text))[:16].hex()
        self.metadata: dict[str, Any] = dict(metadata or {})
        self.pages: tuple[int, ...] = tuple(integer(page, "pages") for page in pages)
        if any(not 0 <= page <= len(text) for page in self.pages) or any(
            a > b for a, b in pairwise(self.pages)
        ):
            raise InvalidArgumentError(
                f"pages have to ascend from 0 to the text's {len(text)} characters",
                argument="pages",
            )

    def to_dict(self) -> dict[str, Any]:
        """Return all attributes as plain values."""
        return {"id": self.id, "text": self.text, "metadata": self.metadata, "pages": self.pages}

    def __repr__(self) -> str:
        return f"Document(id={self.id!r}, {len(self.text)} characters)"


class Chunk(NamedTuple):
    """One piece: a span of the source, and what gets embedded for it.

    Offsets are those of `text` in the source, overlap included. `page` counts from 1; 0 says that
    the source has no pages.
    """

    text: str
    embed_text: str
    heading_path: tuple[str, ...]
    byte_start: int
    byte_end: int
    char_start: int
    char_end: int
    token_count: int
    page: int
    hash64: int
    metadata: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as plain values."""
        return self._asdict()


class ChunkDiff(NamedTuple):
    """What changed against the chunks of an earlier version.

    Attributes:
        kept: Indexes of the chunks whose content was there before.
        added: Indexes of the chunks that are new: only these need embedding.
        removed: Hashes that are gone.
    """

    kept: NDArray[np.int64]
    added: NDArray[np.int64]
    removed: NDArray[np.uint64]


class _Texts(Sequence[str]):
    """Strings made one at a time, each when it is asked for."""

    __slots__ = ("_length", "_make")

    def __init__(self, length: int, make: Callable[[int], str]) -> None:
        self._length = length
        self._make = make

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self._make(i) for i in range(*index.indices(self._length))]
        return self._make(_row(index, self._length))


class Chunks(Sequence[Chunk]):
    """The pieces of one text as columns.

    `byte_start`, `byte_end`, `char_start`, `char_end`, `token_count` and `page` are int64, `hash64`
    is uint64: read-only NumPy arrays without a copy. The text is shared with the source, never
    copied before it is asked for.
    """

    __slots__ = ("_chunker", "_columns", "_metadata", "_source")

    def __init__(
        self,
        columns: _core.chunk.Columns,
        source: str | bytes | RegularFile,
        chunker: Chunker,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Private: `Chunker.chunk` makes these."""
        self._columns = columns
        self._source = source
        self._chunker = chunker
        self._metadata: Mapping[str, Any] = metadata or {}

    @property
    def byte_start(self) -> NDArray[np.int64]:
        """Where each span begins in the source's UTF-8."""
        return self._columns.byte_start

    @property
    def byte_end(self) -> NDArray[np.int64]:
        """Where each span ends in the source's UTF-8."""
        return self._columns.byte_end

    @property
    def char_start(self) -> NDArray[np.int64]:
        """Where each span begins, in code points: indexes of the source `str`."""
        return self._columns.char_start

    @property
    def char_end(self) -> NDArray[np.int64]:
        """Where each span ends, in code points."""
        return self._columns.char_end

    @property
    def token_count(self) -> NDArray[np.int64]:
        """Exact tokens of each `embed_text`; counted on first use unless the cap is in tokens."""
        if len(self._columns.token_count) != len(self._columns):
            self._count_tokens()
        return self._columns.token_count

    def _count_tokens(self) -> None:
        columns = self._columns
        if isinstance(self._source, str | bytes):
            return columns.count_tokens(self._source, self._chunker._tokenizer)
        firsts = range(0, len(columns), _COUNTED_ROWS)
        parts = [columns.rows(first, min(first + _COUNTED_ROWS, len(columns))) for first in firsts]
        for part in parts:
            part.count_tokens(_span_of(part, self._source), self._chunker._tokenizer)
        return columns.count_by_parts(parts)

    def _text_of_rows(self) -> str | bytes:
        """Return the text that the core's functions read these columns in."""
        if isinstance(self._source, str | bytes):
            return self._source
        return _span_of(self._columns, self._source)

    @property
    def page(self) -> NDArray[np.int64]:
        """Page on which each body begins, from 1; 0 where the source has no pages."""
        return self._columns.page

    @property
    def hash64(self) -> NDArray[np.uint64]:
        """XXH3 of each `embed_text`: answers "changed?"."""
        return self._columns.hash64

    @property
    def text(self) -> Sequence[str]:
        """The spans of the source, overlap included."""
        return _Texts(len(self), self._text)

    @property
    def embed_text(self) -> Sequence[str]:
        """What gets embedded: heading path, repeated table header, span."""
        return _Texts(len(self), lambda i: self._columns.prefix(i) + self._text(i))

    def _text(self, i: int) -> str:
        columns = self._columns
        if isinstance(self._source, str):
            return self._source[int(columns.char_start[i]) : int(columns.char_end[i])]
        start, end = int(columns.byte_start[i]), int(columns.byte_end[i])
        if isinstance(self._source, bytes):
            return self._source[start:end].decode()
        return self._source.read(start, end - start).decode()

    def __len__(self) -> int:
        return len(self._columns)

    @overload
    def __getitem__(self, index: int) -> Chunk: ...
    @overload
    def __getitem__(self, index: slice) -> list[Chunk]: ...
    def __getitem__(self, index: int | slice) -> Chunk | list[Chunk]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        i = _row(index, len(self))
        columns = self._columns
        text = self._text(i)
        return Chunk(
            text=text,
            embed_text=columns.prefix(i) + text,
            heading_path=columns.heading_path(i),
            byte_start=int(columns.byte_start[i]),
            byte_end=int(columns.byte_end[i]),
            char_start=int(columns.char_start[i]),
            char_end=int(columns.char_end[i]),
            token_count=int(self.token_count[i]),
            page=int(columns.page[i]),
            hash64=int(columns.hash64[i]),
            metadata=dict(self._metadata),
        )

    def __repr__(self) -> str:
        return f"Chunks({len(self)} of {len(self._source)} {_unit_of(self._source)})"

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return all columns by name, for example for `pandas.DataFrame`."""
        return {
            "byte_start": self.byte_start,
            "byte_end": self.byte_end,
            "char_start": self.char_start,
            "char_end": self.char_end,
            "token_count": self.token_count,
            "page": self.page,
            "hash64": self.hash64,
        }

    def to_dict(self) -> dict[str, list[Any]]:
        """Return all columns and the texts as plain lists."""
        plain: dict[str, list[Any]] = {k: v.tolist() for k, v in self.columns().items()}
        return {**plain, "text": list(self.text), "embed_text": list(self.embed_text)}

    def to_arrow(self) -> Any:  # noqa: ANN401
        """Return a `pyarrow.Table` of all columns, the texts and the heading paths.

        Raises:
            MissingExtraError: pyarrow is not installed.
        """
        try:
            import pyarrow as pa  # type: ignore[import-not-found, import-untyped, unused-ignore]
        except ImportError as missing:
            raise MissingExtraError.of("arrow", "pyarrow") from missing
        paths = [self._columns.heading_path(i) for i in range(len(self))]
        return pa.table(
            {
                **self.columns(),
                "text": pa.array(list(self.text), pa.string()),
                "embed_text": pa.array(list(self.embed_text), pa.string()),
                "heading_path": pa.array(paths, pa.list_(pa.string())),
            }
        )

    def ids(self, document: str) -> list[str]:
        """Return the ids under which a store keeps these chunks of document `document`."""
        return self._columns.ids(self._text_of_rows(), document)

    def verify(self, text: str | bytes) -> list[str]:
        """Check every rule that chunks keep, counting anew what is embedded.

        Args:
            text: The text that was cut.

        Returns:
            One sentence for each broken rule; an empty list says that all is sound.
        """
        return self._chunker._native.verify(self._columns, text)

    def diff(self, old_hashes: Iterable[int] | NDArray[np.uint64]) -> ChunkDiff:
        """Compare with the `hash64` of an earlier version, whatever the order.

        Raises:
            InvalidArgumentError: What is given are no hashes.
        """
        import numpy as np

        try:
            old = np.fromiter(old_hashes, dtype=np.uint64)
        except (OverflowError, TypeError, ValueError) as bad:
            raise InvalidArgumentError(
                f"old_hashes have to be integers of 64 bits without a sign: {bad}",
                argument="old_hashes",
            ) from bad
        kept = np.isin(self.hash64, old)
        return ChunkDiff(
            kept=np.flatnonzero(kept),
            added=np.flatnonzero(~kept),
            removed=np.setdiff1d(old, self.hash64),
        )

    def dedup(self, *, minhash: float | None = None) -> Chunks:
        """Return these chunks without duplicates; the first of each group stays.

        Args:
            minhash: None drops equal content only; a number in (0, 1] also drops chunks whose
                text has at least this Jaccard index with one that stays.

        Raises:
            InvalidArgumentError: `minhash` is out of range.
        """
        if minhash is not None and not 0 < minhash <= 1:
            raise InvalidArgumentError(
                f"minhash={minhash} has to be above 0 and at most 1", argument="minhash"
            )
        unique = self._columns.unique(self._text_of_rows(), minhash)
        return Chunks(unique, self._source, self._chunker, self._metadata)


class Chunker:
    """Cuts texts under a cap, the same way on every machine and for any number of threads."""

    def __init__(
        self,
        max_tokens: int | None = None,
        *,
        max_chars: int | None = None,
        max_bytes: int | None = None,
        overlap: int = 0,
        mode: str = "auto",
        tokenizer: object = _DEFAULT_ENCODING,
        sentence: str = "auto",
        heading_path: bool = True,
        separators: Sequence[str] | None = None,
        delimiters: str | Sequence[str] | None = None,
        keep: Sequence[str] = _KEEP,
        stable: bool = True,
        trim: bool = True,
    ) -> None:
        """Choose one cap and the rules.

        Args:
            max_tokens: Cap in tokens of `tokenizer`; 512 if no cap is given.
            max_chars: Cap in code points instead.
            max_bytes: Cap in bytes of UTF-8 instead.
            overlap: Repeat at most so much of the text before each chunk, in the cap's unit and
                inside the cap, from a whole sentence or word on.
            mode: How to read the text; "auto" follows a Document's metadata, else looks at it.
            tokenizer: Name of an encoding, an Encoding, a `tokenizers.Tokenizer`, or a callable
                `str -> int`.
            sentence: "uax29" is the standard alone; "ko" and "auto" add the endings of Korean.
            heading_path: Embed the headings above a chunk with it.
            separators: Literal strings to cut after, highest first, instead of all structure
                below headings.
            delimiters: For mode "delimiter": a string of characters, or a list of strings.
            keep: What is not cut when it fits: "table", "fence".
            stable: Choose among equal boundaries by the text before them, so that an edit moves
                few chunks; False takes the last.
            trim: Leave out the space at both ends of chunks; False: without overlap the chunks
                join to the text.

        Raises:
            InvalidArgumentError: Two caps, a cap below 1, an overlap that is not below the cap,
                an unknown mode, sentence rule, tokenizer or thing to keep.
        """
        unit, cap = _cap({"max_tokens": max_tokens, "max_chars": max_chars, "max_bytes": max_bytes})
        overlap = integer(overlap, "overlap")
        if overlap < 0 or overlap >= cap:
            raise InvalidArgumentError(
                f"overlap={overlap} has to be at least 0 and below the cap of {cap}",
                argument="overlap",
            )
        _known("mode", mode, _MODES)
        _known("sentence", sentence, _SENTENCES)
        if isinstance(separators, str):
            refuse(separators, "separators", "a list of str")
        for what in keep:
            _known("keep", what, _KEEP)
        self._made_of: dict[str, Any] = {
            **{"max_tokens": max_tokens, "max_chars": max_chars, "max_bytes": max_bytes},
            **{"overlap": overlap, "mode": mode, "tokenizer": tokenizer, "sentence": sentence},
            **{"heading_path": heading_path, "separators": separators, "delimiters": delimiters},
            **{"keep": keep, "stable": stable, "trim": trim},
        }
        self._tokenizer = _tokenizer(tokenizer)
        self._mode = mode
        self._options: dict[str, Any] = {
            "unit": unit,
            "max": cap,
            "overlap": overlap,
            "korean": sentence != "uax29",
            "heading_path": heading_path,
            "separators": [one for one in separators or () if one],
            "delimiters": list(delimiters or ()),
            "keep_tables": "table" in keep,
            "keep_fences": "fence" in keep,
            "stable": stable,
            "trim": trim,
            "tokenizer": self._tokenizer,
        }
        self._native = self._for(mode)

    def __reduce__(self) -> tuple[Callable[[dict[str, Any]], Chunker], tuple[dict[str, Any]]]:
        """Copy by what it was made of, for other processes; a tokenizer has to allow it, too."""
        return _remade, (self._made_of,)

    def _for(self, mode: str) -> _core.chunk.Chunker:
        return _core.chunk.Chunker(mode=None if mode == "auto" else mode, **self._options)

    def chunk(self, text: str | bytes | Document) -> Chunks:
        """Cut one text.

        Args:
            text: A string, UTF-8 bytes, or a Document, whose pages and metadata are kept.

        Returns:
            Its chunks, in order; none for a text of nothing but space (unless `trim=False`).

        Raises:
            InvalidArgumentError: The text has no UTF-8 form, or one of its characters alone is
                larger than the cap (`.position` says which).
        """
        if not isinstance(text, Document):
            return Chunks(self._native.chunk(text, ()), text, self)
        native = self._native
        hint = text.metadata.get("mode")
        mode = hint if self._mode == "auto" and hint in _MODES else self._mode
        if mode != self._mode:
            native = self._for(mode)
        cuts: list[tuple[int, int]] = []
        if mode == "code":
            from dure._grammars import cuts as cuts_of

            cuts = cuts_of(text.text, str(text.metadata.get("source", "")))
        return Chunks(native.chunk(text.text, text.pages, cuts), text.text, self, text.metadata)

    def chunk_file(
        self, path: str | os.PathLike[str], *, batch_chunks: int = 65536
    ) -> Iterator[Chunks]:
        """Cut a UTF-8 file as `chunk` cuts its text, without holding it in memory.

        The file is read in windows of 8 MB, of 2 MB in the modes that know a structure; a window
        grows where one chunk does not fit into it. Code is cut as a Document is whose source has
        this name. The tables read the texts that they are asked for from the open file.

        Args:
            path: The file; offsets are those of the whole file, a byte order mark included.
            batch_chunks: Each table has so many rows, the last may have fewer.

        Raises:
            FileRefusedError: The file cannot be read, or became shorter meanwhile.
            InvalidArgumentError: As `chunk`.
        """
        from dure._regular import RegularFile

        batch = integer(batch_chunks, "batch_chunks")
        if batch < 1:
            raise InvalidArgumentError(
                f"batch_chunks={batch} has to be at least 1", argument="batch_chunks"
            )
        source = RegularFile(os.fspath(path))
        return self._batches(source, batch, self._cuts_of_file(source, os.fspath(path)))

    def _cuts_of_file(self, source: RegularFile, path: str) -> list[tuple[int, int]]:
        """Return what the syntax tree says; empty where a file has none or is too long for it."""
        from dure import _grammars

        if self._mode != "code" or len(source) > _grammars.LONGEST:
            return []
        try:
            return _grammars.cuts(source.read(0, len(source)).decode(), path)
        except UnicodeDecodeError:  # the core says where
            return []

    def _batches(
        self, source: RegularFile, batch: int, cuts: list[tuple[int, int]]
    ) -> Iterator[Chunks]:
        if cuts:  # of a text that is not too long to be seen whole
            columns = self._native.chunk(source.read(0, len(source)), (), cuts)
            for first in range(0, len(columns), batch):
                rows = columns.rows(first, min(first + batch, len(columns)))
                yield Chunks(rows, source, self)
            return
        reader = _core.chunk.Reader(self._native, source.read, len(source), batch)
        while len(columns := reader.next()):
            yield Chunks(columns, source, self)

    def chunk_many(
        self, texts: Sequence[str | bytes], *, threads: int | None = None
    ) -> list[Chunks]:
        """Cut many texts on `threads` threads (None: one for each core), without the GIL.

        Raises:
            InvalidArgumentError: As `chunk`, for the first text that fails.
        """
        if isinstance(texts, str | bytes):
            refuse(texts, "texts", "a list of texts")
        made = self._native.chunk_many(texts, _threads(threads))
        return [Chunks(one, text, self) for one, text in zip(made, texts, strict=True)]

    async def achunk_many(
        self, texts: Sequence[str | bytes], *, threads: int | None = None
    ) -> list[Chunks]:
        """`chunk_many` in a thread, for use in a running loop."""
        import asyncio

        return await asyncio.to_thread(self.chunk_many, texts, threads=threads)


def _remade(options: dict[str, Any]) -> Chunker:
    return Chunker(**options)


def _span_of(columns: _core.chunk.Columns, source: RegularFile) -> bytes:
    """Read what lies between the first and the last byte of some rows."""
    if not len(columns):
        return b""
    return source.read(columns.origin, int(columns.byte_end[-1]) - columns.origin)


def _cap(given: dict[str, int | None]) -> tuple[str, int]:
    caps = {name: value for name, value in given.items() if value is not None}
    if not caps:
        return "tokens", 512
    if len(caps) > 1:
        names = " and ".join(f"{name}={value}" for name, value in caps.items())
        raise InvalidArgumentError(f"{names}: give one cap", argument=next(iter(caps)))
    ((name, value),) = caps.items()
    value = integer(value, name)
    if value < 1:
        raise InvalidArgumentError(f"{name}={value} has to be at least 1", argument=name)
    return _CAPS[name], value


def _known(argument: str, value: str, names: Sequence[str]) -> None:
    if value not in names:
        raise InvalidArgumentError(
            f"{argument}={value!r} is unknown: use one of {', '.join(names)}", argument=argument
        )


def _threads(threads: int | None) -> int:
    threads = optional_integer(threads, "threads")
    if threads is not None and threads < 1:
        raise InvalidArgumentError(f"threads={threads} has to be at least 1", argument="threads")
    return threads or 0


def _tokenizer(tokenizer: object) -> str | Callable[[str], int]:
    """Return an encoding's name, or a function that counts."""
    if isinstance(tokenizer, str):
        return tokenizer
    if hasattr(tokenizer, "encode_ordinary"):  # an Encoding: ours or tiktoken's
        encode_ordinary: Callable[[str], Sequence[int]] = tokenizer.encode_ordinary
        name = getattr(tokenizer, "name", "")
        if name in _core.chunk.encoding_names():
            return str(name)
        return lambda text: len(encode_ordinary(text))
    if hasattr(tokenizer, "encode_batch"):  # tokenizers.Tokenizer
        whole = tokenizer
        if getattr(tokenizer, "truncation", None) or getattr(tokenizer, "padding", None):
            whole = type(tokenizer).from_str(tokenizer.to_str())  # type: ignore[attr-defined]
            whole.no_truncation()  # a count of what was cut off says nothing of the text
            whole.no_padding()
        encode: Callable[..., Any] = whole.encode  # type: ignore[attr-defined]
        return lambda text: len(encode(text, add_special_tokens=False).ids)
    if callable(tokenizer):
        return tokenizer
    raise InvalidArgumentError(
        f"tokenizer={tokenizer!r} is no name, Encoding, tokenizers.Tokenizer or callable",
        argument="tokenizer",
    )


def _row(index: int, length: int) -> int:
    if not -length <= index < length:
        raise IndexError(f"chunk {index} of {length}")
    return index % length


def _unit_of(source: object) -> str:
    return "characters" if isinstance(source, str) else "bytes"


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as bad:
        raise InvalidArgumentError(
            f"the text holds a lone surrogate at offset {bad.start}, which has no UTF-8 form",
            argument="text",
        ) from bad


def sentences(text: str | bytes, *, rules: str = "auto") -> NDArray[np.int64]:
    """Find the sentences of a text.

    Args:
        text: A string or UTF-8 bytes.
        rules: "uax29" is the standard alone; "ko" and "auto" add the endings of Korean.

    Returns:
        int64 `[n, 2]`: start and end of each sentence in code points; together they cover the
        text. Space belongs to the sentence before it.

    Raises:
        InvalidArgumentError: The text has no UTF-8 form, or `rules` is unknown.
    """
    _known("rules", rules, _SENTENCES)
    return _core.chunk.sentences(text, rules != "uax29")


def split_documents(
    docs: Iterable[str | Document], *, chunker: Chunker | None = None
) -> list[Chunk]:
    """Cut documents and copy the metadata of each into its chunks.

    Args:
        docs: Texts or Documents.
        chunker: How to cut; None: 512 tokens.

    Raises:
        InvalidArgumentError: As `Chunker.chunk`.
    """
    if isinstance(docs, str | bytes):
        refuse(docs, "docs", "a list of texts or Documents")
    cutter = chunker or Chunker()
    found: list[Chunk] = []
    for doc in docs:
        found.extend(cutter.chunk(doc))
    return found
