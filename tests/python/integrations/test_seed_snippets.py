"""What an AI server is made of, written as for the libraries it replaces: only imports differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dure
import dure.aio as llm
import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

QUESTION = "Who keeps the account?"
DOCUMENTS: list[str | dure.Document] = [
    "Dure is a village custom: many hands work one field. One of them keeps the account.",
    dure.Document("The harvest is shared by the account.", id="harvest"),
]


async def test_generate_takes_messages_or_text(environment: Path) -> None:
    messages = [{"role": "user", "content": QUESTION}]
    answer = await llm.agenerate(messages, model="gpt-4o-mini")
    assert answer
    assert answer == dure.generate(QUESTION, model="gpt-4o-mini")
    assert dure.verify_ledger(environment).spent_pico > 0


async def test_stream_gives_the_same_text_in_pieces(environment: Path) -> None:
    pieces = list(dure.stream(QUESTION, model="gpt-4o-mini"))
    assert len(pieces) > 1
    again = [piece async for piece in llm.astream(QUESTION, model="gpt-4o-mini")]
    assert "".join(pieces) == "".join(again) == dure.generate(QUESTION, model="gpt-4o-mini")
    assert dure.verify_ledger(environment).open_holds == 0


def test_split_encode_upsert_query(tmp_path: Path) -> None:
    chunks = dure.split_documents(DOCUMENTS)
    texts = [chunk.text for chunk in chunks]
    embeddings = dure.encode(texts)
    assert embeddings.shape[0] == len(chunks)
    assert embeddings.dtype == np.float32
    with dure.Store.open(tmp_path / "store") as folder:
        store = folder.collection("docs")
        store.upsert(chunks, embeddings)
        hits = store.query(embeddings[0], top_k=5)
    assert hits[0].text == texts[0]
    assert len(hits) == min(5, len(chunks))
