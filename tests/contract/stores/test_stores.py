"""Every adapter against its real engine: it answers what `dure.Collection` answers, or refuses."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

import dure
import numpy as np
import pytest
from dure import errors
from dure.retrieval import VectorStore

from tests.contract.stores.engines import ENGINES, fresh

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.contract.stores.engines import Make

pytestmark = pytest.mark.slow
if not ENGINES:
    pytest.skip("scripts/stores brings the engines", allow_module_level=True)

DIM = 16


class Maker(NamedTuple):
    make: Make
    backend: str

    def __call__(self, name: str, **options: Any) -> Any:  # noqa: ANN401
        return self.make(name, **options)


@pytest.fixture(scope="module", params=sorted(ENGINES))
def make(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp(request.param)
    with ENGINES[request.param](folder) as made:
        yield Maker(made, request.param)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dure.Store]:
    with dure.Store.open(tmp_path_factory.mktemp("ours") / "kb") as store:
        yield store


ROWS: list[dict[str, Any]] = [
    {"n": 1, "s": "ko", "b": True, "tags": ["a", "b"], "deep": {"x": 1}},
    {"n": 2.5, "s": "en", "b": False, "tags": ["b"], "deep": {"x": 2}},
    {"n": 3, "s": "k%", "tags": [], "nums": [1, 2.5]},
    {"n": -4, "b": True, "none": None, "a.b": "dotted"},
    {"s": 'it\'s "quoted"', "이름": "두레", "n": 1.0},
    {},
    {"n": 7, "s": "한글", "tags": ["한", "b"], "nums": [9]},
]


def fill(store: Any) -> np.ndarray[Any, Any]:  # noqa: ANN401
    rng = np.random.default_rng(11)
    vectors = rng.normal(size=(70, DIM)).astype(np.float32)
    metadata = [{**ROWS[i % len(ROWS)], "i": i} for i in range(70)]
    texts = [None if i % 9 == 0 else f"글 {i}\n둘째 줄" for i in range(70)]
    store.upsert(
        ids=[f"행 {i}" for i in range(70)], embeddings=vectors, texts=texts, metadata=metadata
    )
    return vectors


@pytest.fixture(scope="module")
def both(make: Maker, ours: dure.Store) -> tuple[Any, Any, Any]:
    engine, oracle = make(fresh(), dim=DIM), ours.collection(fresh(), dim=DIM)
    fill(oracle)
    return engine, oracle, fill(engine)


def everything(store: Any, **options: Any) -> dict[str, Any]:  # noqa: ANN401
    rows, after = [], None
    while True:
        page = store.scroll(after=after, limit=13, **options)
        rows += page.rows
        after = page.next
        if after is None:
            return {row.id: (row.text, row.metadata, row.document) for row in rows}


def test_it_is_a_vector_store(make: Maker) -> None:
    store = make(fresh(), dim=3)
    assert isinstance(store, VectorStore)
    assert store.capabilities <= {
        "filter", "hybrid", "sparse", "delete_by_filter", "persistent", "multi_process",
        "native_async", "namespaces", "quantization", "multi_vector", "exact", "snapshot",
    }  # fmt: skip
    assert store.count() == 0
    assert store.query([1.0, 0.0, 0.0]) == []
    assert store.scroll().rows == []
    assert store.delete(ids=["x"]) == 0


def test_rows_come_back_whole(both: tuple[Any, Any, Any]) -> None:
    engine, oracle, _ = both
    assert engine.count() == 70
    assert everything(engine) == everything(oracle)


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_the_best_first_with_our_scores(make: Maker, ours: dure.Store, metric: str) -> None:
    engine = make(fresh(), dim=DIM, metric=metric)
    oracle = ours.collection(fresh(), dim=DIM, metric=metric)
    vectors = fill(engine)
    fill(oracle)
    for question in vectors[::7] + 0.3:
        wanted = oracle.query(question, top_k=10)
        found = engine.query(question, top_k=10)
        assert [hit.id for hit in found] == [hit.id for hit in wanted]
        assert [hit.score for hit in found] == pytest.approx(
            [hit.score for hit in wanted], rel=1e-3, abs=1e-4
        )
        assert [(hit.text, hit.metadata) for hit in found] == [
            (hit.text, hit.metadata) for hit in wanted
        ]
    assert len(engine.query(vectors[0], top_k=1000)) == 70


FILTERS: list[Any] = [
    {"n": 1}, {"n": {"$ne": 1}}, {"n": {"$gt": 1}}, {"n": {"$gte": 2.5, "$lt": 7}},
    {"s": {"$in": ["ko", "en"]}}, {"s": {"$nin": ["ko", "en"]}}, {"b": True}, {"b": {"$ne": True}},
    {"$or": [{"n": 3}, {"s": "it's \"quoted\""}]}, {"$and": [{"n": 1}, {"b": True}]},
    {"tags": {"$contains": "b"}}, {"tags": {"$not_contains": "b"}}, {"이름": "두레"},
    {"deep.x": 2}, {"a.b": "dotted"}, {"nothing": 1}, {"nothing": {"$ne": 1}},
    {"nums": {"$contains": 9}},
    "n = 1", "n != 1", "NOT n > 1", "n > 1 AND s = '한글'", "NOT (n > 1 OR b = true)",
    "n IS NULL", "n IS NOT NULL", "s LIKE 'k%'", "NOT s LIKE 'k%'", "n IN (1, 7)",
    "n NOT IN (1, 7)",
    "s >= 'en' AND s < 'l'", "n BETWEEN 1 AND 3", "tags CONTAINS 'a' OR n = 3", "none IS NULL",
    {"must": [{"key": "tags", "match": {"value": "b"}}]},
    {"must": [{"key": "tags", "match": {"any": ["a", "한"]}}],
     "must_not": [{"key": "n", "match": {"value": 1}}]},
    {"must": [{"key": "nums", "range": {"gt": 2, "lt": 3}}]},
    {"should": [{"key": "n", "range": {"gte": 3}}, {"key": "s", "match": {"value": "ko"}}]},
    {"must": [{"key": "s", "match": {"text": "quoted"}}]},
    {"must": [{"is_empty": {"key": "b"}}]}, {"must": [{"is_null": {"key": "none"}}]},
    {"must": [{"key": "n", "match": {"except": [1, 3]}}]},
    {"min_should": {"conditions": [{"key": "n", "match": {"value": 1}},
                                   {"key": "b", "match": {"value": True}},
                                   {"key": "s", "match": {"value": "ko"}}], "min_count": 2}},
]  # fmt: skip
# What an engine may refuse. Anything else it has to answer.
REFUSED: dict[str, list[Any]] = {
    "qdrant": ["s LIKE 'k%'", "NOT s LIKE 'k%'", "s >= 'en' AND s < 'l'"],
    "pgvector": [],
}


def test_filters_mean_the_same(both: tuple[Any, Any, Any], make: Maker) -> None:
    engine, oracle, vectors = both
    answered = 0
    refused: list[Any] = []
    for where in FILTERS:
        wanted = everything(oracle, where=where).keys()
        try:
            found = everything(engine, where=where).keys()
        except errors.UnsupportedError as no:
            refused.append((where, no.flag, no.backend))
            continue
        answered += 1
        assert found == wanted, where
        assert engine.count(where=where) == len(wanted), where
        hits = engine.query(vectors[0], top_k=20, where=where)
        assert len(hits) == min(20, len(wanted)), f"short: {where}"
        assert {hit.id for hit in hits} <= wanted, where
    assert all(no[1:] == ("filter", make.backend) for no in refused)
    assert all(no[0] in REFUSED.get(make.backend, FILTERS) for no in refused)
    assert answered >= 25, refused


def test_writes_replace_and_deletes_count(make: Maker) -> None:
    store = make(fresh(), dim=2)
    store.upsert(
        ids=["a", "b", "c"], embeddings=[[1, 0], [0, 1], [1, 1]], metadata={"n": 1, "old": True}
    )
    store.upsert(ids=["a"], embeddings=[[0, 1]], texts=["neu"], metadata={"n": 2})
    assert store.count() == 3
    assert everything(store)["a"] == ("neu", {"n": 2}, None)
    assert store.count(where={"old": True}) == 2
    assert store.query([0, 1], top_k=1, where={"n": 2})[0].id == "a"
    assert store.delete(ids=["a", "zz", "a"]) == 1
    assert store.delete(where={"n": 1}) == 2
    assert store.count() == 0


def test_a_document_is_replaced(make: Maker) -> None:
    store = make(fresh(), embedder=dure.local.HashEmbedder(32))
    first = store.upsert(["eins", "zwei", "drei"], document="d")
    other = store.upsert(["eins"], document="e")
    second = store.upsert(["zwei", "vier"], document="d")
    assert second[0] == first[1]
    assert set(everything(store)) == {*second, *other}
    hit = store.query("vier", top_k=1)[0]
    assert (hit.text, hit.document) == ("vier", "d")


def test_bad_input_is_typed(make: Maker) -> None:
    name = fresh()
    store = make(name, dim=2)
    with pytest.raises(errors.DimensionMismatchError) as wrong:
        store.upsert(ids=["a"], embeddings=[[1, 2, 3]])
    assert (wrong.value.stored, wrong.value.given) == (2, 3)
    for bad in ([[float("nan"), 1]], [[float("inf"), 1]], [[0, 0]]):
        with pytest.raises(errors.InvalidVectorError) as no:
            store.upsert(ids=["a"], embeddings=bad)
        assert no.value.row == 0
    with pytest.raises(errors.InvalidArgumentError, match="twice"):
        store.upsert(ids=["a", "a"], embeddings=[[1, 2], [3, 4]])
    with pytest.raises(errors.InvalidArgumentError, match="embedder"):
        store.query("text")
    with pytest.raises(errors.FilterError):
        store.count(where="n =")
    with pytest.raises(errors.UnsupportedError) as none:
        store.query([1, 2], text="x", mode="hybrid")
    assert none.value.flag == "hybrid"
    with pytest.raises(errors.InvalidArgumentError):
        store.query([1, 2], top_k=0)
    assert store.count() == 0
    if make.backend != "chroma":
        with pytest.raises((errors.DimensionMismatchError, errors.InvalidArgumentError)):
            make(name, dim=5)


async def test_twins(make: Maker) -> None:
    store = make(fresh(), dim=2)
    await store.aupsert(ids=["a", "b"], embeddings=[[1, 0], [0, 1]])
    assert [hit.id for hit in await store.aquery([1, 0.1], top_k=1)] == ["a"]
    assert await store.acount() == 2
    assert len((await store.ascroll()).rows) == 2
    assert await store.adelete(ids=["a"]) == 1


def test_pgvector_with_an_index_is_not_short(make: Maker) -> None:
    if make.backend != "pgvector":
        pytest.skip("of pgvector")
    store = make(fresh(), dim=8)
    vectors = np.random.default_rng(0).normal(size=(3000, 8))
    store.upsert(
        ids=[str(i) for i in range(3000)],
        embeddings=vectors,
        metadata=[{"n": i % 200} for i in range(3000)],
    )
    store.create_index()
    for question in itertools.islice(vectors, 20):
        assert len(store.query(question, top_k=10, where={"n": 7})) == 10
        assert len(store.query(question, top_k=10)) == 10
