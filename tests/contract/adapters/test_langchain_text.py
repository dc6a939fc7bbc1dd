"""`DureTextSplitter` keeps the contract of LangChain's text splitters, on the real library."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import dure
import pytest
from dure.errors import InvalidArgumentError

pytest.importorskip("langchain_text_splitters", reason='pip install "dure[langchain-text]"')

from dure.integrations.langchain import DureTextSplitter
from langchain_core.documents import BaseDocumentTransformer, Document
from langchain_text_splitters import TextSplitter

TEXT = "# 안내\n\n" + "같은 문장이 반복된다. Same again. " * 80 + "\n\n## 끝\n\n마지막 문장."


def test_it_is_a_text_splitter() -> None:
    splitter = DureTextSplitter(chunk_size=40)
    assert isinstance(splitter, TextSplitter)
    assert isinstance(splitter, BaseDocumentTransformer)
    assert splitter.split_text(TEXT) == list(dure.Chunker(40).chunk(TEXT).text)
    assert splitter.split_text("") == []


def test_what_langchain_calls_otherwise() -> None:
    by_words = DureTextSplitter(chunk_size=20, length_function=lambda text: len(text.split()))
    assert max(len(piece.split()) for piece in by_words.split_text(TEXT)) <= 20
    by_tiktoken = DureTextSplitter.from_tiktoken_encoder("cl100k_base", chunk_size=40)
    encoded = dure.Chunker(40, tokenizer="cl100k_base").chunk(TEXT)
    assert by_tiktoken.split_text(TEXT) == list(encoded.text)


@pytest.mark.parametrize("overlap", [0, 10])
@pytest.mark.parametrize("options", [{}, {"max_chars": 120}, {"max_bytes": 300, "mode": "text"}])
def test_start_index_is_exact_where_text_repeats(overlap: int, options: dict[str, Any]) -> None:
    splitter = DureTextSplitter(40, overlap, add_start_index=True, **options)
    pieces = splitter.create_documents([TEXT, "short"], metadatas=[{"a": 1}, {"a": 2}])
    starts = [piece.metadata["start_index"] for piece in pieces if piece.metadata["a"] == 1]
    assert len(starts) > 10
    assert starts == sorted(set(starts))
    for piece in pieces[:-1]:
        start = piece.metadata["start_index"]
        assert TEXT[start : start + len(piece.page_content)] == piece.page_content
        assert splitter._length_function(piece.page_content) <= splitter._chunk_size
    assert pieces[-1] == Document("short", metadata={"a": 2, "start_index": 0})


def test_documents_keep_their_metadata() -> None:
    documents = [Document(TEXT, metadata={"source": "x", "deep": {"k": [1]}, "mode": "markdown"})]
    pieces = DureTextSplitter(40).split_documents(documents)
    assert pieces[-1].metadata == {**documents[0].metadata, "heading": "안내"}
    pieces[0].metadata["deep"]["k"].append(2)
    assert documents[0].metadata["deep"] == {"k": [1]}
    assert pieces[1].metadata["deep"] == {"k": [1]}


def test_transforming_documents_works_both_ways() -> None:
    splitter = DureTextSplitter(40)
    documents = [Document(TEXT), Document("two")]
    expected = splitter.split_documents(documents)
    assert list(splitter.transform_documents(documents)) == expected
    assert list(asyncio.run(splitter.atransform_documents(documents))) == expected


def test_a_chunker_of_one_s_own() -> None:
    splitter = DureTextSplitter(chunker=dure.Chunker(max_chars=90, mode="text"))
    assert splitter._chunk_size == 90
    assert all(len(piece) <= 90 for piece in splitter.split_text(TEXT))
    with pytest.raises(InvalidArgumentError, match="mode beside a chunker"):
        DureTextSplitter(chunker=dure.Chunker(), mode="text")
    with pytest.raises(ValueError, match="overlap"):
        DureTextSplitter(10, 10)


def test_chunkers_are_copied_to_other_processes() -> None:
    chunker = dure.Chunker(max_chars=50, overlap=5, separators=["\n\n", "."])
    copied = pickle.loads(pickle.dumps(chunker))
    assert list(copied.chunk(TEXT).text) == list(chunker.chunk(TEXT).text)
