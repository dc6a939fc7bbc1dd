"""CrewAI's memory and knowledge in our store, by the CrewAI that is installed."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import dure
import numpy as np
import pytest

pytest.importorskip("crewai", reason="scripts/stores crewai brings it")

from crewai.knowledge.knowledge import Knowledge
from crewai.knowledge.source.string_knowledge_source import StringKnowledgeSource
from crewai.knowledge.storage.base_knowledge_storage import BaseKnowledgeStorage
from crewai.memory.storage.backend import EmbeddingDimensionMismatchError, StorageBackend
from crewai.memory.types import MemoryRecord
from crewai.memory.unified_memory import Memory
from dure.integrations import crewai as ours

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow
DIM = 32


@pytest.fixture
def store(tmp_path: Path) -> Iterator[dure.Store]:
    with dure.Store.open(tmp_path / "kb") as opened:
        yield opened


def record(name: str, scope: str, day: int, **more: Any) -> MemoryRecord:  # noqa: ANN401
    vector = np.random.default_rng(list(name.encode())).normal(size=DIM)
    created = datetime.datetime(2026, 1, day)
    values = {"id": name, "content": f"about {name}", "embedding": vector.tolist()} | more
    return MemoryRecord(scope=scope, created_at=created, last_accessed=created, **values)


@pytest.fixture
def memory(store: dure.Store) -> ours.DureMemory:
    made = ours.DureMemory(store)
    made.save(
        [
            record("a", "/org/acme/crew/1", 1, categories=["food"], metadata={"n": 1}),
            record("b", "/org/acme/crew/1/agent", 2, categories=["food", "work"]),
            record("c", "/org/acme/crew/12", 3, metadata={"n": 1}),
            record("d", "/org/other", 4, categories=["work"], source="u", private=True),
        ]
    )
    return made


def names(found: list[Any]) -> set[str]:
    return {one[0].id if isinstance(one, tuple) else one.id for one in found}


def test_memory_is_a_backend(memory: ours.DureMemory) -> None:
    assert isinstance(memory, StorageBackend)
    question = record("a", "/", 1).embedding
    assert question is not None
    best, score = memory.search(question)[0]
    assert (best.id, round(score, 4)) == ("a", 1.0)
    assert (best.content, best.categories, best.metadata) == ("about a", ["food"], {"n": 1})
    assert best.created_at == datetime.datetime(2026, 1, 1)
    assert names(memory.search(question, scope_prefix="/org/acme/crew/1")) == {"a", "b"}
    assert names(memory.search(question, categories=["work", "none"])) == {"b", "d"}
    assert names(memory.search(question, metadata_filter={"n": 1})) == {"a", "c"}
    assert names(memory.search(question, min_score=0.99)) == {"a"}
    assert names(memory.search(question, limit=2, scope_prefix="org/acme/")) <= {"a", "b", "c"}
    with pytest.raises(EmbeddingDimensionMismatchError):
        memory.search([1.0, 2.0])


def test_scopes_and_lists(memory: ours.DureMemory) -> None:
    assert memory.count() == 4
    assert memory.count("/org/acme") == 3
    assert memory.list_scopes() == ["/org"]
    assert memory.list_scopes("/org/acme/crew") == ["/org/acme/crew/1", "/org/acme/crew/12"]
    assert memory.list_categories("/org/acme") == {"food": 2, "work": 1}
    assert [one.id for one in memory.list_records("/org/acme", limit=2)] == ["c", "b"]
    assert [one.id for one in memory.list_records(offset=3)] == ["a"]
    info = memory.get_scope_info("/org/acme/")
    assert (info.path, info.record_count, info.categories) == ("/org/acme", 3, ["food", "work"])
    assert info.child_scopes == ["/org/acme/crew"]
    assert info.newest_record == datetime.datetime(2026, 1, 3)
    assert memory.get_scope_info("/nothing").record_count == 0


def test_change_and_delete(memory: ours.DureMemory) -> None:
    kept = memory.get_record("d")
    assert kept is not None
    assert (kept.source, kept.private) == ("u", True)
    memory.update(kept.model_copy(update={"content": "new", "embedding": None}))
    again = memory.get_record("d")
    assert again is not None
    assert again.content == "new"
    assert again.embedding == pytest.approx(record("d", "/", 1).embedding)
    assert memory.get_record("x") is None
    assert memory.delete(record_ids=["a", "x"]) == 1
    assert memory.delete(older_than=datetime.datetime(2026, 1, 3)) == 1
    assert memory.delete(categories=["work"], metadata_filter={"n": 1}) == 0
    assert memory.delete(scope_prefix="/org/acme/crew/12", record_ids=["c", "d"]) == 1
    memory.reset()
    assert memory.count() == 0
    memory.reset()


async def test_twins(memory: ours.DureMemory) -> None:
    await memory.asave([record("e", "/", 5)])
    question = record("e", "/", 5).embedding
    assert question is not None
    assert (await memory.asearch(question, limit=1))[0][0].id == "e"
    assert await memory.adelete(record_ids=["e"]) == 1


def test_crewai_itself_remembers(store: dure.Store) -> None:
    embedder = dure.local.HashEmbedder(DIM)
    ours.use(store, embedder=embedder)
    try:
        memory = Memory(embedder=lambda texts: embedder.embed_documents(texts).tolist())
        for text in ("The budget is 300 euros.", "두레는 함께 일하는 모임이다."):
            memory.remember(text, scope="/org/acme", categories=["fact"], importance=0.5)
        memory.drain_writes()
        found = memory.recall("budget euros", scope="/org/acme", depth="shallow")
        assert found[0].record.content == "The budget is 300 euros."
        assert store.collection("memory").count() == 2

        knowledge = Knowledge(
            collection_name="crew", sources=[StringKnowledgeSource(content="Tea costs 4 euros.")]
        )
        knowledge.add_sources()
        assert isinstance(knowledge.storage, ours.DureKnowledge)
        answer = knowledge.query(["What costs tea?"], score_threshold=0.5)
        assert answer[0]["content"] == "Tea costs 4 euros."
        assert store.collections() == ["knowledge_crew", "memory"]
        knowledge.reset()
        assert knowledge.query(["What costs tea?"], score_threshold=0.0) == []
    finally:
        from crewai.knowledge.storage.factory import set_knowledge_storage_factory
        from crewai.memory.storage.factory import set_memory_storage_factory

        set_knowledge_storage_factory(None)
        set_memory_storage_factory(None)


async def test_knowledge_and_client(store: dure.Store) -> None:
    knowledge = ours.DureKnowledge.of(store, "k")
    assert isinstance(knowledge, BaseKnowledgeStorage)
    await knowledge.asave(["eins zwei", "drei vier", "eins zwei"])
    assert len(await knowledge.asearch(["drei", "vier"], limit=5, score_threshold=0.0)) == 2
    best = knowledge.search(["drei vier"])[0]
    assert (best["content"], round(best["score"], 4)) == ("drei vier", 1.0)
    await knowledge.areset()
    assert knowledge.search(["drei"], score_threshold=0.0) == []

    client = ours.DureClient(store, tenant="acme")
    client.create_collection(collection_name="c")
    with pytest.raises(ValueError, match="exists"):
        client.create_collection(collection_name="c")
    documents = [
        {"content": "Tee kostet vier Euro", "metadata": {"n": 1}, "doc_id": "t"},
        {"content": "Kaffee kostet fünf Euro", "metadata": [{"n": 2}]},
    ]
    await client.aadd_documents(collection_name="c", documents=documents)
    found = await client.asearch(collection_name="c", query="Tee kostet vier Euro", limit=1)
    assert (found[0]["id"], found[0]["metadata"]) == ("t", {"n": 1})
    two = client.search(collection_name="c", query="Euro", metadata_filter={"n": 2})
    assert [one["content"] for one in two] == ["Kaffee kostet fünf Euro"]
    with pytest.raises(ValueError, match="exist"):
        client.search(collection_name="d", query="x")
    assert len(client.embedding_function(["a", "b"])) == 2
    client.delete_collection(collection_name="c")
    with pytest.raises(ValueError, match="exist"):
        client.delete_collection(collection_name="c")
    client.reset()
    assert "k" in store.collections()
