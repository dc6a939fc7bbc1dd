"""LangChain: `dure.Chunker` as a `TextSplitter`, with offsets that are counted, never searched.

from dure.integrations.langchain import DureTextSplitter

splitter = DureTextSplitter(chunk_size=512, chunk_overlap=50, add_start_index=True)
pieces = splitter.split_documents(documents)
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from dure.chunks import Chunker, Document
from dure.errors import InvalidArgumentError, MissingExtraError

try:
    from langchain_core.documents import Document as LangChainDocument
    from langchain_text_splitters import TextSplitter
except ImportError as missing:
    raise MissingExtraError.of("langchain-text", "langchain-text-splitters") from missing

if TYPE_CHECKING:
    from collections.abc import Callable

    from dure.chunks import Chunks

__all__ = ["DureTextSplitter"]


class DureTextSplitter(TextSplitter):  # type: ignore[misc, unused-ignore]
    """Cuts LangChain's documents as `dure.Chunker` does.

    Each piece is a span of its document: with `add_start_index=True`, `metadata["start_index"]` is
    exact for repeated text and overlaps, too. Headings above a piece stand in
    `metadata["heading"]`. Thread-safe.
    """

    def __init__(
        self,
        chunk_size: int = 512,
        chunk_overlap: int = 0,
        *,
        chunker: Chunker | None = None,
        add_start_index: bool = False,
        **options: Any,  # noqa: ANN401
    ) -> None:
        """Choose how to cut.

        Args:
            chunk_size: Cap in tokens; with `max_chars` or `max_bytes` among the options, not used.
            chunk_overlap: Repeat at most so much of the text before, in the cap's unit.
            chunker: How to cut, instead of the other arguments.
            add_start_index: Put where a piece begins into its metadata, in code points.
            options: As of `dure.Chunker`: mode, tokenizer, separators, and so on; LangChain's
                `length_function` is its tokenizer, `strip_whitespace` its trim.

        Raises:
            InvalidArgumentError: As `dure.Chunker`; options beside a chunker.
        """
        if "length_function" in options:  # of LangChain's own constructors: what measures a text
            options.setdefault("tokenizer", options.pop("length_function"))
        if "strip_whitespace" in options:
            options.setdefault("trim", options.pop("strip_whitespace"))
        if chunker is not None and options:
            raise InvalidArgumentError(
                f"options {', '.join(sorted(options))} beside a chunker: give one or the other",
                argument="chunker",
            )
        if chunker is None:
            in_tokens = not {"max_chars", "max_bytes"} & options.keys()
            cap = chunk_size if in_tokens else None
            chunker = Chunker(cap, overlap=chunk_overlap, **options)
        self._chunker = chunker
        super().__init__(
            chunk_size=chunker._options["max"],
            chunk_overlap=chunker._options["overlap"],
            length_function=_counter(chunker),
            add_start_index=add_start_index,
        )

    def split_text(self, text: str) -> list[str]:
        """Return the pieces of a text."""
        return list(self._chunker.chunk(text).text)

    def create_documents(
        self, texts: list[str], metadatas: list[dict[Any, Any]] | None = None
    ) -> list[LangChainDocument]:
        """Return the pieces of texts as documents, each with a copy of its text's metadata."""
        found: list[LangChainDocument] = []
        for i, text in enumerate(texts):
            metadata = metadatas[i] if metadatas else {}
            # A "mode" among the metadata, as `dure.files` puts it there, says how to read the text.
            chunks = self._chunker.chunk(Document(text, "", metadata=metadata))
            found.extend(self._documents(chunks, metadata))
        return found

    def _documents(self, chunks: Chunks, metadata: dict[Any, Any]) -> list[LangChainDocument]:
        found = []
        for chunk in chunks:
            own = copy.deepcopy(metadata)
            if chunk.heading_path:
                own["heading"] = " > ".join(chunk.heading_path)
            if self._add_start_index:
                own["start_index"] = chunk.char_start
            found.append(LangChainDocument(page_content=chunk.text, metadata=own))
        return found


def _counter(chunker: Chunker) -> Callable[[str], int]:
    """Return what measures a text in the cap's unit."""
    unit, tokenizer = chunker._options["unit"], chunker._tokenizer
    if unit == "chars":
        return len
    if unit == "bytes":
        return lambda text: len(text.encode())
    if callable(tokenizer):
        return tokenizer
    from dure import tokens

    encoding = tokens.get_encoding(tokenizer)
    return lambda text: len(encoding.encode_ordinary(text))
