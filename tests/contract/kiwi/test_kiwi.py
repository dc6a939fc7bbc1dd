"""The real kiwipiepy. Run by `scripts/stores kiwi`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dure
import pytest
from dure import retrieval
from dure.integrations.kiwipiepy import KiwiTokenizer

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow
pytest.importorskip("kiwipiepy", reason="scripts/stores kiwi brings it")

TEXTS = ["농부들이 밭을 갈았다.", "아버지가 회사에 가신다.", "Rust와 Python을 배웠습니다."]


def test_inflected_words_are_found(tmp_path: Path) -> None:
    tokenizer = KiwiTokenizer()
    assert isinstance(tokenizer, retrieval.Tokenizer)
    assert "밭" in tokenizer("밭을 갈았다")
    assert "을" not in tokenizer("밭을 갈았다")
    with dure.Store.open(tmp_path / "kb") as store:
        col = store.collection("docs", dim=2, tokenizer=tokenizer)
        plain = store.collection("plain", dim=2)
        for one in (col, plain):
            one.upsert(ids=["a", "b", "c"], texts=TEXTS, embeddings=[[1, 0]] * 3)
        assert [hit.id for hit in col.query("갈고 있는 농부", mode="bm25")] == ["a"]
        assert [hit.id for hit in col.query("갔다", mode="bm25")] == ["b"]
        assert plain.query("갔다", mode="bm25") == []
        assert [hit.id for hit in col.query("python", mode="bm25")] == ["c"]
    with dure.Store.open(tmp_path / "kb") as store:
        again = store.collection("docs", tokenizer=KiwiTokenizer())
        assert [hit.id for hit in again.query("갈고 있는 농부", mode="bm25")] == ["a"]
