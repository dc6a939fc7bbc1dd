"""What the adapters of stores share, without their engines; those are in tests/contract/stores."""

from __future__ import annotations

import importlib
import sys

import pytest
from dure import errors
from dure.integrations import _stores as shared


@pytest.mark.parametrize(
    ("module", "needs"),
    [
        ("chroma", "chromadb"),
        ("crewai", "crewai"),
        ("lancedb", "lancedb"),
        ("milvus", "pymilvus"),
        ("pgvector", "psycopg"),
        ("qdrant", "qdrant_client"),
    ],
)
def test_each_names_its_extra(monkeypatch: pytest.MonkeyPatch, module: str, needs: str) -> None:
    monkeypatch.setitem(sys.modules, needs, None)
    if needs == "crewai":
        monkeypatch.setitem(sys.modules, "crewai.knowledge", None)
    monkeypatch.delitem(sys.modules, f"dure.integrations.{module}", raising=False)
    with pytest.raises(errors.MissingExtraError, match=rf'pip install "dure\[{module}\]"'):
        importlib.import_module(f"dure.integrations.{module}")


def test_the_tree_of_a_filter() -> None:
    tree, unknown = shared.condition("NOT (a = 1 OR b.c IN ('x', 'y'))")
    assert unknown
    assert tree.op == "not"
    pushed = shared.positive(tree)
    assert pushed.op == "and"
    assert [one.op for one in pushed.children] == ["not", "not"]
    inner = pushed.children[1].children[0]
    assert (inner.op, inner.field, inner.values) == ("in", "b.c", ["x", "y"])
    tree, unknown = shared.condition({"must": [{"key": "t", "match": {"value": True}}]})
    assert (tree.op, tree.values, tree.any_element, unknown) == ("=", [True], True, False)
    ranged, _ = shared.condition({"must": [{"key": "n", "range": {"gte": 1, "lt": 2.5}}]})
    assert ranged.field == "n"
    assert [(one.op, one.values) for one in ranged.children] == [(">=", [1]), ("<", [2.5])]
    twice, _ = shared.condition(
        {"min_should": {"conditions": [{"key": "a", "match": {"value": 1}}] * 2, "min_count": 2}}
    )
    assert (twice.op, twice.at_least) == ("at_least", 2)
    with pytest.raises(errors.FilterError):
        shared.condition("a =")


def test_ways_into_objects() -> None:
    assert shared.paths_of("a") == [["a"]]
    assert shared.paths_of("a.b") == [["a.b"], ["a", "b"]]
    assert shared.paths_of("a.b.c") == [["a.b.c"], ["a", "b.c"], ["a", "b", "c"], ["a.b", "c"]]
