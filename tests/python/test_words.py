"""A tokenizer of one's own cuts the words of a collection; `verify` finds damage."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import dure
import numpy as np
import pytest
from dure import retrieval
from dure._core import index as core
from dure.errors import InvalidArgumentError, StoreCorruptError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


class Stems:
    """Cuts words to their first four letters; counts what it was asked."""

    name = "stems-4"

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, text: str) -> Iterable[str]:
        self.asked += 1
        return [word[:4] for word in re.findall(r"\w+", text.lower())]


TEXTS = ["Farmers work together.", "The farm is empty.", "두레는 농촌의 모임이다."]


def test_words_are_cut_as_the_collection_was_made(tmp_path: Path) -> None:
    seal = {"part_rows": 512, "seal_rows": 1024, "m": 8, "ef_construction": 40, "background": 0}

    def opened() -> retrieval.Store:
        return retrieval.Store(core.Store.open(str(tmp_path / "kb"), "normal", False, seal))

    with opened() as store:
        col = store.collection("docs", dim=4, tokenizer=Stems())
        plain = store.collection("plain", dim=4)
        for one in (col, plain):
            one.upsert(ids=["a", "b", "c"], texts=TEXTS, embeddings=np.eye(4)[:3])
        assert isinstance(Stems(), retrieval.Tokenizer)
        assert {hit.id for hit in col.query("farming", mode="bm25")} == {"a", "b"}
        assert plain.query("farming", mode="bm25") == []
        assert col.query("farming", vector=[1, 0, 0, 0], top_k=1)[0].id == "a"
        assert col.query([1, 0, 0, 0], top_k=1)[0].id == "a"
        col.update(ids=["b"], metadata=[{"n": 1}])  # keeps its words
        rows = [f"z{i}" for i in range(1500)]
        col.upsert(ids=rows, texts=["nothing"] * 1500, embeddings=np.tile(np.eye(4)[3], (1500, 1)))
        col.optimize()
    with opened() as store:
        col = store.collection("docs", tokenizer=Stems())
        assert {hit.id for hit in col.query("farming", mode="bm25")} == {"a", "b"}
        col.export(tmp_path / "out.jsonl")
        copy = store.collection("copy", dim=4, tokenizer=Stems())
        copy.load(tmp_path / "out.jsonl")
        assert {hit.id for hit in copy.query("farming", mode="bm25")} == {"a", "b"}
        assert store.verify().ok


def test_another_tokenizer_is_refused(tmp_path: Path) -> None:
    class Other(Stems):
        name = "other"

    with dure.Store.open(tmp_path / "kb") as store:
        store.collection("docs", dim=4, tokenizer=Stems())
        store.collection("plain", dim=4)
        with pytest.raises(InvalidArgumentError, match=r"'stems-4'.*not by 'other'"):
            store.collection("docs", tokenizer=Other())
        with pytest.raises(InvalidArgumentError, match="by itself, not by 'stems-4'"):
            store.collection("plain", tokenizer=Stems())
        bare = store.collection("docs")
        with pytest.raises(InvalidArgumentError, match="open it with that tokenizer"):
            bare.upsert(ids=["a"], texts=["one"], embeddings=np.eye(4)[:1])
        with pytest.raises(InvalidArgumentError, match="open it with that tokenizer"):
            bare.query("one", mode="bm25")
        assert bare.count() == 0
        bare.upsert(ids=["a"], embeddings=np.eye(4)[:1])  # no words to cut
        assert [hit.id for hit in bare.query([1, 0, 0, 0])] == ["a"]


def flip(path: Path, text: bytes) -> None:
    data = bytearray(path.read_bytes())
    at = data.rindex(text)
    data[at + len(text) // 2] ^= 1
    path.write_bytes(data)


async def test_verify_finds_what_is_damaged(tmp_path: Path) -> None:
    folder = tmp_path / "kb"
    seal = {"part_rows": 512, "seal_rows": 1024, "m": 8, "ef_construction": 40, "background": 0}
    rng = np.random.default_rng(5)
    vectors = rng.normal(size=(1400, 8)).astype(np.float32)
    with retrieval.Store(core.Store.open(str(folder), "full", False, seal)) as store:
        col = store.collection("docs", dim=8, tenant="t", tokenizer=Stems())
        texts = [f"text number {i:05d}" for i in range(1400)]
        col.upsert(ids=[f"r{i:05d}" for i in range(1400)], texts=texts, embeddings=vectors)
        col.optimize()
        report = await store.averify()
        assert (report.ok, report.rows, report.damaged) == (True, 1400, [])
        store.backup(tmp_path / "sound.db")
    sound = (tmp_path / "sound.db").read_bytes()
    for part, what in (
        (b"text number 00700", "row"),
        (vectors[31].tobytes(), "vector"),
        (b"text\x1fnumb\x1f0090", "row"),
    ):
        for old in folder.glob("store.db*"):
            old.unlink()
        (folder / "store.db").write_bytes(sound)
        flip(folder / "store.db", part)
        with dure.Store.open(folder, read_only=True) as store:
            report = store.verify()
            assert not report.ok
            assert [(one.tenant, one.collection, one.what) for one in report.damaged] == [
                ("t", "docs", what)
            ]
            assert report.to_dict()["damaged"][0]["row"].startswith("r")
            if what == "vector":
                col = store.collection("docs", tenant="t", tokenizer=Stems())
                with pytest.raises(StoreCorruptError):
                    col.get([report.damaged[0].row], include=["vector"])
    (folder / "store.db").write_bytes(sound)
    segment = next(folder.glob("seg-*.dure"))
    flip(segment, segment.read_bytes()[-64:-32])
    with dure.Store.open(folder, read_only=True) as store:
        assert [one.what for one in store.verify().damaged] == ["segment"]
        assert store.collection("docs", tenant="t").query(vectors[3], top_k=1)[0].id == "r00003"
