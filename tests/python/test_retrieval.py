"""The face of the store: arguments, results, errors, twins, round trips."""

from __future__ import annotations

import hashlib
import json
import math
import random
import sqlite3
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dure
import numpy as np
import pytest
from dure import errors, retrieval
from dure._core import index as core
from dure.errors import FilterError, InvalidArgumentError
from dure.retrieval import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray


@pytest.fixture
def store(tmp_path: Path) -> Iterator[dure.Store]:
    with dure.Store.open(tmp_path / "kb") as opened:
        yield opened


TEXTS = [
    "두레는 농촌에서 함께 일하는 모임이다.",
    "A dure is a group of farmers who work together.",
    "The price of a token is an integer.",
]


class CountingEmbedder:
    """Unit vectors by hash; remembers what it was asked for."""

    model_id = "counting"
    dim = 32

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._inner = core.HashEmbedder(self.dim)

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.asked += texts
        return self._inner.embed_documents(texts)

    def embed_query(self, text: str) -> NDArray[np.float32]:
        return self._inner.embed_query(text)


class AsyncEmbedder(CountingEmbedder):
    async def aembed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self.embed_documents(texts)

    async def aembed_query(self, text: str) -> NDArray[np.float32]:
        return self.embed_query(text)


def test_texts_are_found_by_words_by_vector_and_by_both(store: dure.Store) -> None:
    col = store.collection("docs")
    col.upsert(ids=["ko", "en", "money"], texts=TEXTS, metadata=[{"n": 1}, {"n": 2}, {"n": 3}])
    for mode in ("vector", "bm25", "hybrid", None):
        hits = col.query("두레란?", top_k=1, mode=mode)
        assert [hit.id for hit in hits] == ["ko"], mode
        assert hits[0].text == TEXTS[0]
        assert hits[0].metadata == {"n": 1}
    assert col.query("farmers", mode="bm25")[0].id == "en"
    assert col.query("no such words anywhere", mode="bm25") == []
    assert [hit.id for hit in col.query("farmers", where={"n": {"$gte": 3}})] == ["money"]
    assert [hit.id for hit in col.query("farmers", where="n >= 3")] == ["money"]
    must = {"must": [{"key": "n", "range": {"gte": 3}}]}
    assert [hit.id for hit in col.query("farmers", where=must)] == ["money"]


def test_explain_says_why(tmp_path: Path) -> None:
    seal = {"part_rows": 512, "seal_rows": 1024, "brute_rows": 20, "m": 8, "ef_construction": 40}
    with Store(core.Store.open(str(tmp_path / "kb"), "normal", False, seal)) as store:
        col = store.collection("a", dim=8)
        vectors = np.random.default_rng(1).normal(size=(4096, 8)).astype(np.float32)
        meta = [{"n": i % 100} for i in range(4096)]
        col.upsert(ids=[str(i) for i in range(4096)], embeddings=vectors, metadata=meta)
        col.optimize()
        plans = {}
        asked = {"none": None, "few": "n = 3", "part": "n < 20", "most": "n < 90"}
        for name, where in asked.items():
            hits = col.query(vector=vectors[0], top_k=10, where=where, explain=True)
            assert len(hits) == 10
            plans[name] = (hits.plan["vector"], hits.plan["reason"])  # type: ignore[attr-defined]
        ways = {name: way for name, (way, _) in plans.items()}
        assert ways == {
            "none": "graph",
            "few": "filter+flat",
            "part": "filter+acorn",
            "most": "filter+graph",
        }
        assert len({reason for _, reason in plans.values()}) == 4


def test_explain_says_how(store: dure.Store) -> None:
    col = store.collection("docs")
    col.upsert(ids=["ko", "en", "money"], texts=TEXTS)
    hits = col.query("farmers", explain=True)
    assert isinstance(hits, retrieval.Hits)
    assert hits.plan is not None
    assert (hits.plan["vector"], hits.plan["words"], hits.plan["flat_rows"]) == ("flat", True, 3)


def test_chunk_ids_follow_the_formula(store: dure.Store) -> None:
    def digest(data: bytes) -> bytes:
        return hashlib.sha256(data).digest()

    def expected(document: str, text: str, n: int) -> str:
        doc = document.encode()
        head = struct.pack("<Q", len(doc)) + doc + digest(text.encode())
        return digest(head + struct.pack("<Q", n))[:16].hex()

    col = store.collection("docs")
    ids = col.upsert(["one", "two", "two"], document="가/path")
    assert ids == [expected("가/path", "one", 0), expected("가/path", "two", 0), ids[2]]
    assert ids[2] == expected("가/path", "two", 1)
    assert ids[0] == retrieval.chunk_id("가/path", retrieval.content_hash("one"))
    own = digest(b"alone")[:16].hex()
    assert col.upsert(["alone"]) == [expected(own, "alone", 0)]


def test_unchanged_content_is_never_embedded_again(store: dure.Store) -> None:
    embedder = CountingEmbedder()
    col = store.collection("docs", embedder=embedder)
    first = col.upsert(["one", "two", "two"], document="d")
    assert embedder.asked == ["one", "two"]
    second = col.upsert(["two", "three", "one"], document="d")
    assert embedder.asked == ["one", "two", "three"]
    assert (second[0], second[2]) == (first[1], first[0])
    col.upsert(["one"], document="another")
    assert embedder.asked == ["one", "two", "three"]
    assert col.count() == 4
    wanted = [retrieval.content_hash(text) for text in ("one", "four")]
    assert col.has_vectors(wanted) == [True, False]


def test_documents_are_kept_and_dropped(store: dure.Store) -> None:
    col = store.collection("docs")
    given = retrieval.StoredDocument("d1", "/a/b.txt", 12, b"\x00hash", {"lang": "ko"})
    col.upsert(["one", "two"], document=given)
    col.upsert([], document="empty")
    assert col.document("d1") == given._replace(chunks=2)
    assert [(d.id, d.chunks) for d in col.documents()] == [("d1", 2), ("empty", 0)]
    assert col.query("one", top_k=1)[0].document == "d1"
    assert col.delete_documents(["d1", "unknown"]) == 1
    assert col.document("d1") is None
    assert col.count() == 0


def test_embeddings_may_name_stored_vectors(store: dure.Store) -> None:
    col = store.collection("docs", dim=2)
    col.upsert(["one"], [[1.0, 0.0]], document="a")
    ids = col.upsert(["one", "two"], [None, np.array([0.0, 1.0])], document="b")
    row = col.get(ids, include=["vector"])[0]
    assert row.vector is not None
    assert row.vector.tolist() == [1.0, 0.0]
    with pytest.raises(errors.InvalidArgumentError, match="has_vectors"):
        col.upsert(["three"], [None], document="c")


def test_scores_min_score_group_and_rerank(store: dure.Store) -> None:
    col = store.collection("v", dim=2)
    angles = [0.0, 0.1, 0.2, 0.3, 1.2]
    col.upsert(
        ids=list("abcde"),
        embeddings=[[math.cos(a), math.sin(a)] for a in angles],
        texts=[f"text {name}" for name in "abcde"],
        metadata=[{"g": "x"}, {"g": "x"}, {"g": "y"}, {"g": "y"}, {}],
    )
    hits = col.query([2.0, 0.0])
    assert [hit.id for hit in hits] == list("abcde")
    assert [hit.score for hit in hits] == pytest.approx([math.cos(a) for a in angles], abs=1e-6)
    assert [hit.id for hit in col.query([1.0, 0.0], min_score=0.97)] == ["a", "b", "c"]
    assert [hit.id for hit in col.query([1.0, 0.0], group_by="g")] == ["a", "c", "e"]
    back = col.query("text", vector=[1.0, 0.0], mode="vector", top_k=3, rerank=backwards)
    assert [hit.id for hit in back] == ["c", "b", "a"]
    batch = col.query_batch([[1.0, 0.0], [0.0, 1.0]], top_k=1)
    assert [[hit.id for hit in found] for found in batch] == [["a"], ["e"]]


def backwards(text: str, hits: list[retrieval.Hit]) -> list[float]:
    assert text == "text"
    return [float(i) for i in range(len(hits))]


@pytest.mark.parametrize(("metric", "score"), [("cosine", 1.0), ("ip", 4.0), ("l2", 0.0)])
def test_metrics(store: dure.Store, metric: str, score: float) -> None:
    col = store.collection(metric, dim=2, metric=metric)
    col.upsert(ids=["a", "b"], embeddings=[[2.0, 0.0], [0.0, 1.0]])
    hit = col.query([2.0, 0.0], top_k=1)[0]
    assert hit.id == "a"
    assert hit.score == pytest.approx(score, abs=1e-6)
    with pytest.raises(errors.InvalidArgumentError, match=metric):
        store.collection(metric, metric="l2" if metric != "l2" else "ip")


def test_rankings_are_joined_as_asked(store: dure.Store) -> None:
    col = store.collection("docs", dim=2)
    col.upsert(
        ids=["near", "words", "both"],
        embeddings=[[1.0, 0.0], [0.0, 1.0], [0.8, 0.6]],
        texts=["nothing", "tea tea tea", "tea"],
    )
    ask: dict[str, Any] = {"vector": [1, 0], "text": "tea", "top_k": 3}
    assert col.query(**ask)[0].id == "words"  # third and first: above second and second
    assert col.query(**ask, weights=(1, 0))[0].id == "near"
    assert col.query(**ask, weights=(0, 1))[0].id == "words"
    hits = col.query(**ask, fusion="weighted")
    scores = {hit.id: hit.score for hit in hits}
    assert scores["near"] == pytest.approx(1.0)  # 1 of vectors, nothing of words
    assert scores["words"] == pytest.approx(1.0)
    assert scores["both"] == pytest.approx(0.8)
    heavy = {h.id: h.score for h in col.query(**ask, fusion="weighted", weights=(0.25, 3))}
    assert heavy["words"] == pytest.approx(3.0)
    wrongs: list[dict[str, Any]] = [
        {"fusion": "sum"},
        {"weights": (1, -1)},
        {"weights": (1, math.nan)},
        {"weights": (1,)},
        {"mmr": 1.5},
        {"mmr": math.nan},
    ]
    for wrong in wrongs:
        with pytest.raises(InvalidArgumentError) as error:
            col.query(**ask, **wrong)
        assert error.value.argument == next(iter(wrong))


def test_nothing_included(store: dure.Store) -> None:
    col = store.collection("docs", dim=2)
    col.upsert(
        ids=["a", "b"],
        embeddings=[[1.0, 0.0], [0.0, 1.0]],
        texts=["one", "two"],
        metadata=[{"n": 1}, {"n": 1}],
    )
    hits = col.query([1, 0], include=[])
    assert [(hit.id, hit.text, hit.metadata) for hit in hits] == [("a", None, {}), ("b", None, {})]
    assert [hit.score for hit in hits] == [hit.score for hit in col.query([1, 0])]
    grouped = col.query([1, 0], include=[], group_by="n")  # needs what it groups by
    assert [(hit.id, hit.text) for hit in grouped] == [("a", "one")]
    assert col.query([1, 0], include=[], mmr=0.5)[0].vector is None


async def test_unlike_rows(store: dure.Store) -> None:
    col = store.collection("docs", dim=3)
    rng = np.random.default_rng(8)
    vectors = np.eye(3)[[0] * 20 + [1] * 20 + [2] * 20] + rng.normal(scale=0.01, size=(60, 3))
    vectors[:, 0] += 0.5
    col.upsert(ids=[f"r{i:02}" for i in range(60)], embeddings=vectors)
    plain = col.query([1, 0.2, 0.1], top_k=3)
    assert {int(hit.id[1:]) // 20 for hit in plain} == {0}
    spread = col.query([1, 0.2, 0.1], top_k=3, mmr=0.3)
    assert len({int(hit.id[1:]) // 20 for hit in spread}) > 1
    assert spread[0].id == plain[0].id
    assert spread[0].vector is None
    again = await col.aquery([1, 0.2, 0.1], top_k=3, mmr=0.3, include=["vector"])
    assert [hit.id for hit in again] == [hit.id for hit in spread]
    assert again[0].vector is not None
    only = col.query([1, 0.2, 0.1], top_k=3, mmr=1.0)
    assert [hit.id for hit in only] == [hit.id for hit in plain]


def test_a_dropped_name_begins_anew(store: dure.Store) -> None:
    col = store.collection("docs", dim=2)
    col.upsert(ids=["a", "b"], embeddings=[[1.0, 0.0], [0.0, 1.0]], texts=["one", "two"])
    assert len(col.query([1, 0])) == 2
    store.drop("docs")
    with pytest.raises(errors.NotFoundError):
        col.query([1, 0])
    again = store.collection("docs", dim=3)
    assert again.query([1, 0, 0]) == []
    again.upsert(ids=["c"], embeddings=[[1.0, 0.0, 0.0]], texts=["three"])
    assert [hit.id for hit in again.query([1, 0, 0])] == ["c"]
    assert again.count() == 1
    assert [hit.id for hit in again.query("two", vector=[0, 1, 0], mode="bm25")] == []


def test_update_delete_scroll(store: dure.Store) -> None:
    col = store.collection("docs", dim=1)
    ids = [f"{i:03d}" for i in range(25)]
    col.upsert(ids=ids, embeddings=[[1.0]] * 25, metadata=[{"n": i} for i in range(25)])
    assert col.update(ids=["003"], metadata=[{"n": None, "새": [1, {"a": 2.5}]}]) == 1
    assert col.get(["003"])[0].metadata == {"새": [1, {"a": 2.5}]}
    with pytest.raises(errors.NotFoundError, match="nope"):
        col.update(ids=["004", "nope"], metadata=[{"n": 0}, {}])
    assert col.get(["004"])[0].metadata == {"n": 4}
    assert col.delete(ids=["000", "unknown", "000"]) == 1
    assert col.delete(where="n >= 20") == 5
    seen: list[str] = []
    after = None
    while True:
        page = col.scroll(after=after, limit=4)
        seen += [row.id for row in page.rows]
        after = page.next
        if after is None:
            break
    assert seen == ids[1:20]
    assert [row.id for row in col.scroll(where={"n": {"$lt": 3}}).rows] == ["001", "002"]
    assert col.count(where={"n": {"$lt": 3}}) == 2


def test_bad_input_is_typed(store: dure.Store) -> None:
    col = store.collection("docs", dim=2)
    col.upsert(ids=["a"], embeddings=[[1.0, 0.0]], metadata={"s": "text"})
    with pytest.raises(errors.DimensionMismatchError) as wrong:
        col.upsert(ids=["b"], embeddings=[[1.0, 0.0, 0.0]])
    assert (wrong.value.collection, wrong.value.stored, wrong.value.given) == ("docs", 2, 3)
    with pytest.raises(errors.DimensionMismatchError):
        col.query([1.0, 0.0, 0.0])
    with pytest.raises(errors.DimensionMismatchError):
        store.collection("docs", dim=3)
    with pytest.raises(errors.InvalidVectorError) as bad:
        col.upsert(ids=["b", "c"], embeddings=[[1.0, 0.0], [0.0, math.nan]])
    assert bad.value.row == 1
    with pytest.raises(errors.InvalidVectorError):
        col.upsert(ids=["b"], embeddings=[[0.0, 0.0]])
    with pytest.raises(errors.InvalidArgumentError, match="twice"):
        col.upsert(ids=["b", "b"], embeddings=[[1.0, 0.0]] * 2)
    with pytest.raises(errors.InvalidArgumentError, match="surrogate"):
        col.upsert(ids=["b"], texts=["\ud800"], embeddings=[[1.0, 0.0]])
    with pytest.raises(errors.InvalidArgumentError, match="row 0"):
        col.upsert(ids=["b"], embeddings=[[1.0, 0.0]], metadata=[{"x": object()}])
    with pytest.raises(errors.InvalidArgumentError, match="differ in length"):
        col.upsert(ids=["b"], embeddings=[[1.0, 0.0]] * 2)
    with pytest.raises(errors.InvalidArgumentError):
        col.upsert()
    with pytest.raises(errors.InvalidArgumentError, match="top_k"):
        col.query([1.0, 0.0], top_k=0)
    with pytest.raises(errors.InvalidArgumentError, match="mode"):
        col.query([1.0, 0.0], mode="magic")
    with pytest.raises(errors.InvalidArgumentError):
        col.query()
    for where in ({"s": {"$wat": 1}}, "s =", "s > 3", {"s": {"$gt": 3}}):
        with pytest.raises(errors.FilterError) as clash:
            col.query([1.0, 0.0], where=where)
        assert isinstance(clash.value.position, int)
        assert clash.value.reason
    with pytest.raises(errors.NotFoundError):
        col.get(["b"])
    assert col.count() == 1
    assert len(col.query([1.0, 0.0], top_k=100)) == 1
    assert store.collection("empty", dim=2).query([1.0, 0.0]) == []


def test_another_model_is_refused(store: dure.Store) -> None:
    class Other(CountingEmbedder):
        model_id = "other"

    class Longer(CountingEmbedder):
        dim = 64

    store.collection("docs", embedder=CountingEmbedder()).upsert(["one"])
    col = store.collection("docs", embedder=Other())
    for call in (lambda: col.upsert(["two"]), lambda: col.query("two")):
        with pytest.raises(errors.ModelMismatchError) as wrong:
            call()
        assert (wrong.value.stored, wrong.value.given) == ("counting", "other")
    with pytest.raises(errors.DimensionMismatchError):
        store.collection("docs", embedder=Longer())
    assert [hit.text for hit in col.query("one", mode="bm25")] == ["one"]


async def test_twins(tmp_path: Path) -> None:
    async with await dure.Store.aopen(tmp_path / "kb") as store:
        embedder = AsyncEmbedder()
        col = await store.acollection("docs", embedder=embedder)
        await col.aupsert(["one", "two"], document="d")
        assert embedder.asked == ["one", "two"]
        hits = await col.aquery("two", top_k=1, mode="vector")
        assert hits[0].text == "two"
        assert await col.acount() == 2
        assert await col.aget([hits[0].id]) == col.get([hits[0].id])
        assert (await col.ascroll(limit=1)).next is not None
        assert await col.aupdate(ids=[hits[0].id], metadata=[{"a": 1}]) == 1
        assert await col.aquery_batch(np.eye(32)[:2], top_k=1) == col.query_batch(
            np.eye(32)[:2], top_k=1
        )
        assert await col.ahas_vectors([retrieval.content_hash("one")]) == [True]
        assert [d.id for d in await col.adocuments()] == ["d"]
        assert (await col.adocument("d")) is not None
        await col.aoptimize()
        assert await col.aexport(tmp_path / "x.jsonl") == 2
        other = await store.acollection("other")
        assert await other.aload(tmp_path / "x.jsonl") == 2
        assert await store.acollections() == ["docs", "other"]
        await store.adrop("other")
        await store.abackup(tmp_path / "copy.db")
        assert await col.adelete(ids=[hits[0].id]) == 1
        assert await col.adelete_documents(["d"]) == 1
    with pytest.raises(errors.InvalidArgumentError, match="closed"):
        col.count()


def test_export_and_load_keep_every_bit(store: dure.Store, tmp_path: Path) -> None:
    col = store.collection("a", dim=3)
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(50, 3)).astype(np.float32)
    texts = [None if i % 7 == 0 else f"글 {i}\n" for i in range(50)]
    rows: list[dict[str, Any]] = [{"n": i, "x": i / 3, "s": "가", "l": [1, "b"]} for i in range(50)]
    col.upsert(ids=[f"r{i}" for i in range(50)], embeddings=vectors, texts=texts, metadata=rows)
    assert col.export(tmp_path / "a.jsonl") == 50
    other = store.collection("b", dim=3)
    assert other.load(tmp_path / "a.jsonl") == 50
    for left, right in zip(
        col.scroll(include=["vector"]).rows, other.scroll(include=["vector"]).rows, strict=True
    ):
        assert (left.id, left.text, left.metadata) == (right.id, right.text, right.metadata)
        assert left.vector is not None
        assert right.vector is not None
        assert left.vector.tobytes() == right.vector.tobytes()
    (tmp_path / "bad.jsonl").write_text('{"id": "x", "vector": [1, 2, 3]}\nnonsense\n')
    with pytest.raises(errors.InvalidArgumentError, match="line 2"):
        other.load(tmp_path / "bad.jsonl")
    with pytest.raises(errors.UnsupportedError):
        col.export(tmp_path / "x", format="xml")
    with pytest.raises(errors.UnsupportedError):
        col.load(tmp_path / "x", format="pickle")
    assert sorted(one.name for one in tmp_path.glob("*.part")) == []


def test_arrays_go_out_and_come_back(store: dure.Store, tmp_path: Path) -> None:
    col = store.collection("a", dim=3)
    vectors = np.random.default_rng(4).normal(size=(2500, 3)).astype(np.float32)
    names = [f"r{i:04}" for i in range(2500)]
    col.upsert(ids=names, embeddings=vectors, texts=["글"] * 2500, metadata={"n": 1})
    assert col.export(tmp_path / "a.npy", format="npy") == 2500
    assert np.array_equal(np.load(tmp_path / "a.npy"), vectors)
    other = store.collection("b", dim=3)
    assert other.load(tmp_path / "a.npy", format="npy") == 2500
    back = other.get(names, include=["vector"])
    assert np.array_equal(np.stack([row.vector for row in back if row.vector is not None]), vectors)
    lines = (tmp_path / "a.jsonl").read_text().splitlines()
    (tmp_path / "a.jsonl").write_text("\n".join(lines[:-1]))
    with pytest.raises(errors.FileRefusedError, match="2499 rows"):
        store.collection("c", dim=3).load(tmp_path / "a.npy", format="npy")
    (tmp_path / "b.npy").write_bytes(b"\x80\x04]\x94.")  # a pickle
    with pytest.raises(errors.FileRefusedError):
        other.load(tmp_path / "b.npy", format="npy")


def test_an_export_goes_on_from_a_commit(store: dure.Store, tmp_path: Path) -> None:
    col = store.collection("a", dim=2)
    other = store.collection("b", dim=2)
    col.upsert(ids=["a", "b", "c"], embeddings=np.eye(3, 2) + 1, metadata={"n": 1})
    col.export(tmp_path / "all.jsonl")
    other.load(tmp_path / "all.jsonl")
    before = col.seq
    assert col.export(tmp_path / "none.jsonl", since=before) == 0
    col.update(ids=["a"], metadata=[{"n": 2}])
    col.delete(ids=["b"])
    col.upsert(ids=["c"], embeddings=[[5.0, 1.0]])
    col.upsert(ids=["d", "e"], embeddings=[[1.0, 1.0], [2.0, 1.0]])
    col.delete(ids=["e"])
    assert col.export(tmp_path / "more.jsonl", since=before) == 5
    lines = [json.loads(line) for line in (tmp_path / "more.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines if line.get("deleted")] == ["b", "e"]
    assert other.load(tmp_path / "more.jsonl") == 5
    rows, same = col.scroll(include=["vector"]).rows, other.scroll(include=["vector"]).rows
    assert [row.to_dict() for row in rows] == [row.to_dict() for row in same]
    col.optimize()  # drops what is known about removed rows
    with pytest.raises(InvalidArgumentError, match="forgotten"):
        col.export(tmp_path / "late.jsonl", since=before)
    assert not (tmp_path / "late.jsonl").exists()
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith(".")] == []


def test_filters_of_new_values_are_answered_from_columns(store: dure.Store) -> None:
    """Twelve filters over rows that come and go, held against Python."""
    col = store.collection("a", dim=2)
    rng = random.Random(5)
    rows: dict[str, dict[str, Any]] = {}
    for round in range(12):
        for i in range(60):
            meta = {"n": rng.randrange(20), "s": rng.choice("abc"), "tags": [rng.randrange(3)]}
            if rng.random() < 0.2:
                del meta[rng.choice(["n", "s", "tags"])]
            rows[f"r{round}-{i}"] = meta
        fresh = [name for name in rows if name.startswith(f"r{round}-")]
        col.upsert(ids=fresh, embeddings=np.ones((60, 2)), metadata=[rows[name] for name in fresh])
        for name in rng.sample(sorted(rows), 10):
            col.delete(ids=[name])
            del rows[name]
        n = rng.randrange(20)
        for where, holds in (
            (f"n > {n} OR s = 'a'", lambda m, n=n: m.get("n", -1) > n or m.get("s") == "a"),
            ({"n": {"$ne": n}}, lambda m, n=n: m.get("n") != n),
            ({"tags": {"$contains": 1}}, lambda m: 1 in m.get("tags", [])),
            (f"NOT (n = {n})", lambda m, n=n: "n" in m and m["n"] != n),
        ):
            wanted = sorted(name for name, meta in rows.items() if holds(meta))
            assert col.count(where=where) == len(wanted), where
            found = col.query(vector=[1, 1], top_k=1000, where=where)
            assert sorted(hit.id for hit in found) == wanted, where


def test_read_only_and_foreign_folders(store: dure.Store, tmp_path: Path) -> None:
    store.collection("docs", dim=1).upsert(ids=["a"], embeddings=[[1.0]])
    with dure.Store.open(store.path, read_only=True) as reader:
        col = reader.collection("docs")
        assert col.count() == 1
        with pytest.raises(errors.StorageError, match="read-only"):
            col.delete(ids=["a"])
    with pytest.raises(errors.NotFoundError):
        dure.Store.open(tmp_path / "nothing", read_only=True)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "store.db").write_bytes(b"not a database" * 100)
    with pytest.raises(errors.StoreCorruptError):
        dure.Store.open(tmp_path / "foreign")
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.StorageError):
        dure.Store.open(tmp_path / "file" / "kb")


def test_hash_embedder_is_an_embedder() -> None:
    embedder = core.HashEmbedder(dim=64, seed=3)
    assert isinstance(embedder, retrieval.Embedder)
    vectors = embedder.embed_documents(["a b", "b a", ""])
    assert vectors.dtype == np.float32
    assert vectors.shape == (3, 64)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1, 1], abs=1e-5)
    assert (vectors[0] == vectors[1]).all()
    assert (embedder.embed_query("a b") == vectors[0]).all()
    assert (embedder.encode(["a b"])[0] == vectors[0]).all()
    assert retrieval.fingerprint(embedder) != retrieval.fingerprint(core.HashEmbedder(dim=64))
    with pytest.raises(errors.InvalidArgumentError):
        core.HashEmbedder(dim=0)
    with pytest.raises(errors.InvalidArgumentError):
        embedder.embed_documents("one str")


def test_collection_is_a_vector_store(store: dure.Store) -> None:
    col = store.collection("docs", dim=1)
    assert isinstance(col, retrieval.VectorStore)
    hit = retrieval.Hit("a", 1.0, "t", {"k": 1})
    assert json.dumps(hit.to_dict())


def test_scroll_pages_through_long_ids(store: dure.Store) -> None:
    collection = store.collection("pages", dim=4)
    vectors = np.eye(4, dtype=np.float32)[np.arange(50) % 4]
    ids = [f"{number:032x}" for number in range(50)]  # longer than a short string's buffer
    collection.upsert(embeddings=vectors, ids=ids, texts=["text"] * 50)
    seen: list[str] = []
    after = None
    while True:
        page = collection.scroll(after=after, limit=7)
        seen += [row.id for row in page.rows]
        if page.next is None:
            break
        after = page.next
    assert seen == ids


# Damage, read-only folders, wrong arguments


def filled(folder: Path, rows: int = 200) -> None:
    with Store.open(folder) as store:
        texts = [f"row {n} speaks of moons and salt" for n in range(rows)]
        store.collection("c").upsert(
            ids=[f"id{n}" for n in range(rows)], texts=texts, metadata={"year": 2024}
        )


def test_an_emptied_store_is_not_taken_for_a_new_one(tmp_path: Path) -> None:
    filled(tmp_path / "s")
    (tmp_path / "s" / "store.db").write_bytes(b"")
    for read_only in (False, True):
        with pytest.raises(errors.StoreCorruptError, match=r"store\.db was emptied.*backup"):
            Store.open(tmp_path / "s", read_only=read_only)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "store.db").write_bytes(b"")  # another process is about to make it
    Store.open(tmp_path / "new").close()


def test_segments_whose_store_is_gone_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    folder.mkdir()
    segment = folder / "seg-1.dure"
    segment.write_bytes(b"vectors")
    for read_only in (False, True):
        with pytest.raises(errors.StoreCorruptError, match=r"store\.db is gone.*backup.*remove"):
            Store.open(folder, read_only=read_only)
    assert segment.read_bytes() == b"vectors"
    assert not (folder / "store.db").exists()


def test_lone_surrogates_are_named(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s") as store:
        with pytest.raises(errors.InvalidArgumentError, match="surrogate"):
            store.collection("\udcff")
        col = store.collection("c", dim=2)
        for where in ({"x": "\ud800"}, {"\ud800": 1}, {"x": {"$in": ["\ud800"]}}):
            with pytest.raises(errors.FilterError, match="surrogate"):
                col.count(where=where)


def test_flipped_bits_are_typed_errors_or_right_answers(tmp_path: Path) -> None:
    filled(tmp_path / "s")
    whole = (tmp_path / "s" / "store.db").read_bytes()
    chance = random.Random(7)
    told = 0
    for round in range(120):
        damaged = bytearray(whole)
        for _ in range(chance.choice((1, 8, 64))):
            damaged[chance.randrange(100, len(damaged))] ^= 1 << chance.randrange(8)
        folder = tmp_path / f"d{round}"
        folder.mkdir()
        (folder / "store.db").write_bytes(damaged)
        try:
            with Store.open(folder) as store:
                for name in store.collections():
                    col = store.collection(name)
                    col.query("moons", mode="bm25", top_k=300)
                    col.query(vector=np.ones(col.dim or 384, np.float32), include=["vector"])
                    col.scroll(limit=1000, include=["vector"])
                    col.documents()
                    col.count(where={"year": 2024})
        except errors.DureError:
            told += 1
    assert told > 0


def test_stored_text_that_is_no_text_is_damage(tmp_path: Path) -> None:
    for number, change in enumerate(
        ("text = CAST(x'ff00' AS TEXT)", "meta = '{broken'", "meta = '[1]'")
    ):
        folder = tmp_path / str(number)
        filled(folder, 3)
        base = sqlite3.connect(folder / "store.db")
        base.execute(f"UPDATE chunk SET {change} WHERE ext_id = 'id1'")
        base.commit()
        base.close()
        with Store.open(folder) as store:
            col = store.collection("c")
            with pytest.raises(errors.StoreCorruptError, match="restore a backup"):
                col.get(["id1"])
            with pytest.raises(errors.StoreCorruptError, match="restore a backup"):
                col.scroll()


READ_ONLY = """
import os, sys
import dure
from dure import errors, rag
from dure.retrieval import Store
twin, folder = sys.argv[1:]

def search(folder):
    with Store.open(folder, read_only=True) as store:
        col = store.collection("c")
        assert col.count() == 200
        assert len(col.query("moons")) == 5
        try:
            col.upsert(ids=["x"], texts=["y"])
        except errors.StorageError as refused:
            assert "read-only" in str(refused)
        else:
            raise AssertionError("it was written")
    assert rag.ask("What of moons?", store=folder, collection="c").sources

search(twin)  # loads what there is to load
if os.geteuid() == 0:
    os.seteuid(65534)
assert not os.access(folder, os.W_OK, effective_ids=True)
search(folder)
try:
    Store.open(folder)
except errors.StorageError as refused:
    assert "read_only=True" in str(refused), refused
else:
    raise AssertionError("it was opened for writing")
print("done")
"""


def test_a_read_only_folder_is_searched(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as place:  # one that others may enter
        folder = Path(place) / "s"
        filled(folder)
        filled(tmp_path / "twin")
        Path(place).chmod(0o755)
        for path in folder.iterdir():
            path.chmod(0o444)
        folder.chmod(0o555)
        command = [sys.executable, "-c", READ_ONLY, str(tmp_path / "twin"), str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        folder.chmod(0o755)
    assert done.stdout == "done\n", done.stderr


def test_wrong_arguments_are_named(tmp_path: Path) -> None:
    deep: dict[str, object] = {}
    for _ in range(100_000):
        deep = {"a": deep}
    with Store.open(tmp_path / "s") as store:
        col = store.collection("c")
        wrong: list[tuple[type[Exception], str, Callable[[], object]]] = [
            (InvalidArgumentError, "path", lambda: store.backup("")),
            (InvalidArgumentError, "path", lambda: store.backup("a\0b")),
            (InvalidArgumentError, "dir", lambda: Store.open("")),
            (InvalidArgumentError, "dir", lambda: Store.open("a\0b")),
            (InvalidArgumentError, "min_score", lambda: col.query("x", min_score=float("nan"))),
            (TypeError, "name must be str, not int", lambda: store.collection(5)),  # type: ignore[arg-type]
            (TypeError, "dim must be int, not str", lambda: store.collection("d", dim="3")),  # type: ignore[arg-type]
            (TypeError, "top_k must be int, not float", lambda: col.query("x", top_k=1.5)),  # type: ignore[arg-type]
            (
                InvalidArgumentError,
                "row 0",
                lambda: col.upsert(ids=["a"], texts=["b"], metadata=deep),
            ),
            (FilterError, "too deep", lambda: col.query("x", where=deep)),
        ]
        for kind, said, call in wrong:
            with pytest.raises(kind, match=said):
                call()


def flip_bit_of(path: Path, text: bytes) -> None:
    """Flip one bit in the middle of a text that stands in a file once."""
    data = bytearray(path.read_bytes())
    at = data.index(text)
    assert data.count(text) == 1
    data[at + len(text) // 2] ^= 1
    path.write_bytes(data)


def test_a_flipped_bit_in_a_text_or_a_vector_is_found(tmp_path: Path) -> None:
    text = "Salt was carried over the pass by mules in winter."
    vector = np.random.default_rng(3).standard_normal(8, dtype=np.float32)
    for n, part in enumerate((text.encode(), vector.tobytes(), b'{"place": "north pass"}')):
        folder = tmp_path / str(n)
        with Store.open(folder) as store:
            col = store.collection("c", dim=8)
            col.upsert(ids=["a"], texts=[text], embeddings=vector[None], metadata=[{"place": "x"}])
            col.update(ids=["a"], metadata=[{"place": "north pass"}])
            col.upsert(ids=["b"], texts=["Iron."], embeddings=vector[None] + 1, document="doc-b")
        db = sqlite3.connect(folder / "store.db", isolation_level=None)
        db.execute("DELETE FROM chunk WHERE del = 1")
        found = db.execute("SELECT meta FROM chunk WHERE ext_id = 'a'").fetchall()
        db.execute("VACUUM")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        db.close()
        flip_bit_of(folder / "store.db", part if n < 2 else found[0][0].encode())
        with Store.open(folder) as store:
            col = store.collection("c")
            assert col.get(["b"])[0].text == "Iron."
            with pytest.raises(
                errors.StoreCorruptError, match=r"'a'.*restore a backup.*delete"
            ) as bad:
                col.export(tmp_path / f"{n}.jsonl")
            assert str(folder / "store.db") in str(bad.value)
            if n == 0:
                with pytest.raises(errors.StoreCorruptError, match="row 'a'"):
                    col.query(text="salt mules", mode="bm25")
                with pytest.raises(errors.StoreCorruptError, match="row 'a'"):
                    col.update(ids=["a"], metadata=[{"m": 1}])
                col.delete(ids=["a"])
                col.upsert(ids=["a"], texts=[text], embeddings=vector[None])
                assert col.query(text="salt mules", mode="bm25")[0].text == text


def test_a_store_of_the_first_format_is_upgraded(tmp_path: Path) -> None:
    folder = tmp_path / "old"
    with Store.open(folder) as store:
        col = store.collection("c", dim=2)
        col.upsert(ids=["a"], texts=["Salt."], embeddings=np.ones((1, 2), np.float32))
    with sqlite3.connect(folder / "store.db") as db:
        for sql in ("ALTER TABLE chunk DROP COLUMN sum", "ALTER TABLE vec DROP COLUMN sum"):
            db.execute(sql)
        db.execute("PRAGMA user_version = 1")
    db.close()
    with pytest.raises(errors.StoreVersionError, match="open it once for writing"):
        Store.open(folder, read_only=True)
    with Store.open(folder) as store:
        assert store.collection("c").get(["a"])[0].text == "Salt."
        store.collection("c").upsert(ids=["b"], embeddings=np.zeros((1, 2), np.float32) + 2)
    with Store.open(folder, read_only=True) as store:
        assert store.collection("c").count() == 2
