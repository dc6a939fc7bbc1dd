"""A collection changes its model: the old one answers until the new one is whole."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dure
import numpy as np
import pytest
from dure import errors, retrieval
from dure._core import index as core
from dure.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray


@pytest.fixture
def store(tmp_path: Path) -> Iterator[dure.Store]:
    with dure.Store.open(tmp_path / "kb") as opened:
        yield opened


class Model:
    """Unit vectors by hash of a seed; remembers what it was asked for, and may break off."""

    def __init__(self, name: str, dim: int = 16, price: str | None = None) -> None:
        self.model_id = name
        self.dim = dim
        self.asked: list[str] = []
        self.fails_after = 10**9
        self._price = price
        self._inner = core.HashEmbedder(dim, sum(name.encode()))

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if len(self.asked) + len(texts) > self.fails_after:
            raise errors.UnavailableError("the provider is away")
        self.asked += texts
        return self._inner.embed_documents(texts)

    def embed_query(self, text: str) -> NDArray[np.float32]:
        return self._inner.embed_query(text)


class Priced(Model):
    def quote(self, texts: Sequence[str]) -> tuple[int, Decimal]:
        return 10 * len(texts), Decimal("0.25") * len(texts)


def filled(store: dure.Store, model: Model, rows: int = 60) -> retrieval.Collection:
    col = store.collection("docs", embedder=model)
    col.upsert(
        ids=[f"r{i:04d}" for i in range(rows)],
        texts=[f"text {i % (rows - 5)}" for i in range(rows)],
        metadata=[{"n": i} for i in range(rows)],
    )
    return col


def check(col: retrieval.Collection, model: Model) -> None:
    """Every row has the vector of `model`, and is found by it."""
    assert col.model == model.model_id
    assert col.fingerprint == retrieval.fingerprint(model)
    assert col.dim == model.dim
    for row in col.scroll(include=["vector"]).rows:
        assert row.vector is not None
        assert row.text is not None
        assert (row.vector == model.embed_query(row.text)).all()
    hit = col.query("text 7", mode="vector", top_k=1)[0]
    assert hit.score == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("dim", [16, 24])
def test_vectors_are_of_the_new_model(store: dure.Store, dim: int) -> None:
    old, new = Model("old"), Model("new", dim)
    col = filled(store, old)
    before = {row.id: row for row in col.scroll().rows}
    report = col.reembed(new)
    assert (report.rows, report.texts, report.embedded, report.done) == (60, 55, 55, True)
    assert len(new.asked) == 55  # equal texts share a vector
    check(col, new)
    assert {row.id: row for row in col.scroll().rows} == before
    assert [hit.id for hit in col.query("text 9", mode="bm25", top_k=1)] == ["r0009"]
    col.upsert(ids=["more"], texts=["text 3"])
    assert len(new.asked) == 55  # its vector is known
    with pytest.raises((errors.ModelMismatchError, errors.DimensionMismatchError)):
        store.collection("docs", embedder=old).query("text 1")
    again = col.reembed(new)
    assert (again.embedded, again.done) == (0, True)


def test_sealed_rows_are_sealed_again_before_they_answer(tmp_path: Path) -> None:
    seal = {"part_rows": 512, "seal_rows": 1024, "m": 8, "ef_construction": 40, "background": 0}
    folder = tmp_path / "kb"
    with retrieval.Store(core.Store.open(str(folder), "normal", False, seal)) as store:
        col = filled(store, Model("old"), 2000)
        col.optimize()
        assert col.query("text 7", explain=True).plan["vector"] == "graph"  # type: ignore[attr-defined]
        new = Model("new", 24)
        col.reembed(new)
        hits = col.query("text 7", mode="vector", explain=True)
        assert hits.plan["vector"] == "graph"  # type: ignore[attr-defined]
        check(col, new)
        assert len(list(folder.glob("seg-*.dure"))) == 1
        assert store.verify().ok
    with retrieval.Store(core.Store.open(str(folder), "normal", False, seal)) as store:
        check(store.collection("docs", embedder=new), new)


def test_what_breaks_off_goes_on(store: dure.Store) -> None:
    old, new = Model("old"), Model("new")
    col = filled(store, old, 3000)
    new.fails_after = 1500
    with pytest.raises(errors.UnavailableError):
        col.reembed(new)
    paid = len(new.asked)
    assert 0 < paid < 2995
    assert col.model == "old"
    assert col.query("text 7", mode="vector", top_k=1)[0].text == "text 7"
    col.upsert(ids=["new-row"], texts=["a text that came meanwhile"])
    col.update(ids=["r0001"], metadata=[{"n": -1}])
    col.delete(ids=["r0002"])
    col.optimize()  # drops what was deleted, not what was begun
    new.fails_after = 10**9
    report = col.reembed(new)
    assert report.embedded == 2995 + 1 - paid
    assert len(new.asked) == len(set(new.asked)) == 2996
    check(col, new)
    assert col.get(["r0001"])[0].metadata == {"n": -1}
    assert col.count() == 3000


def test_another_model_begins_anew(store: dure.Store) -> None:
    old, second, third = Model("old"), Model("second"), Model("third", 8)
    col = filled(store, old, 2000)
    second.fails_after = 1024
    with pytest.raises(errors.UnavailableError):
        col.reembed(second)
    assert col.reembed(third, dry_run=True).texts == 1995
    col.reembed(third)
    check(col, third)
    fourth = Model("fourth")
    fourth.fails_after = 1024
    with pytest.raises(errors.UnavailableError):
        col.reembed(fourth)
    assert col.reembed(third).embedded == 0  # drops what was begun
    fourth.fails_after = 10**9
    assert col.reembed(fourth).embedded == 1995


def test_the_quote_comes_before_the_bill(store: dure.Store) -> None:
    col = filled(store, Model("old"))
    new = Priced("new")
    quote = col.reembed(new, dry_run=True)
    assert (quote.texts, quote.tokens, quote.cost, quote.done) == (55, 550, Decimal("13.75"), False)
    assert quote.to_dict()["cost"] == "13.75"
    for limit in ("13.74", 13, Decimal("0.5")):
        with pytest.raises(errors.RequestExceedsLimitError, match="nothing was sent") as refused:
            col.reembed(new, max_cost=limit)
        assert refused.value.left == Decimal(limit)
    assert new.asked == []
    for wrong in (1.5, "much", -1, True):
        with pytest.raises(InvalidArgumentError, match="max_cost"):
            col.reembed(new, max_cost=wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError, match="no price"):
        col.reembed(Model("silent"), max_cost=1)
    assert col.reembed(core.HashEmbedder(16, 3), max_cost=0).cost == 0
    assert col.reembed(new, max_cost="13.75").done


def test_headings_are_embedded_again(store: dure.Store) -> None:
    old, new = Model("old"), Model("new")
    col = store.collection("docs", embedder=old)
    text = "# Salt\n\n" + "It was carried over the pass by mules in winter.\n\n" * 4
    chunks = dure.Chunker(max_tokens=20, mode="markdown").chunk(text)
    assert list(chunks.embed_text) != list(chunks.text), "the test needs headings of their own"
    col.upsert(chunks, document="d")
    assert new.asked == []
    col.reembed(new)
    assert sorted(new.asked) == sorted(set(chunks.embed_text)) == sorted(old.asked)
    assert all(col.has_vectors([retrieval.content_hash(one) for one in chunks.embed_text]))


def test_rows_without_text_are_named(store: dure.Store) -> None:
    col = store.collection("docs", dim=2)
    col.upsert(ids=["a", "b"], texts=[None, "two"], embeddings=np.eye(2))
    with pytest.raises(InvalidArgumentError, match=r"1 rows .*'a'"):
        col.reembed(Model("new"))
    empty = store.collection("empty", embedder=Model("old"))
    assert empty.reembed(Model("new", 4)).done
    assert empty.model == "new"
    assert empty.dim == 4


async def test_the_coroutine_awaits_the_embedder(store: dure.Store) -> None:
    class Awaited(Model):
        async def aembed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
            await asyncio.sleep(0)
            return self.embed_documents(texts)

        async def aembed_query(self, text: str) -> NDArray[np.float32]:
            return self.embed_query(text)

    col = filled(store, Model("old"))
    new = Awaited("new")
    assert (await col.areembed(new)).embedded == 55
    check(col, new)


def test_searches_and_writes_go_on(tmp_path: Path) -> None:
    """A second handle, as another process would have, writes and asks with the old model."""
    old = Model("old")
    with dure.Store.open(tmp_path / "kb") as here, dure.Store.open(tmp_path / "kb") as there:
        col = filled(here, old, 1500)
        other = there.collection("docs", embedder=old)
        failures: list[str] = []
        written: list[str] = []
        stop = threading.Event()

        def work() -> None:
            for i in range(10**6):
                if stop.is_set():
                    return
                try:
                    hits = other.query("text 7", mode="vector", top_k=1)
                    if [hit.text for hit in hits] != ["text 7"]:
                        failures.append(str(hits))
                    if i < 40:
                        other.upsert(ids=[f"late-{i}"], texts=[f"late text {i}"])
                        written.append(f"late-{i}")
                except (errors.ModelMismatchError, errors.DimensionMismatchError):
                    return  # the new model answers

        thread = threading.Thread(target=work)
        thread.start()
        new = Model("new", 24)
        try:
            assert col.reembed(new).done
        finally:
            stop.set()
            thread.join()
        assert failures == []
        check(col, new)
        check(there.collection("docs", embedder=new), new)
        assert {row.id for row in col.scroll(limit=10_000).rows} >= set(written)
        assert col.count() == 1500 + len(written)


CHILD = """
import sys
sys.path.insert(0, sys.argv[2])
import dure, test_reembed
store = dure.Store.open(sys.argv[1])
class Slow(test_reembed.Model):
    def embed_documents(self, texts):
        made = super().embed_documents(texts)
        print("embedding", len(texts), flush=True)
        return made
store.collection("docs").reembed(Slow("new", 24))
print("done", flush=True)
"""


def test_kill_9_on_the_way(tmp_path: Path) -> None:
    folder = tmp_path / "kb"
    old, new = Model("old"), Model("new", 24)
    with dure.Store.open(folder) as store:
        filled(store, old, 4000)
    for kill in range(6):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(folder), str(Path(__file__).parent)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        for _ in range(1 + kill % 3):
            if not child.stdout.readline().startswith("embedding"):
                break
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
        with dure.Store.open(folder) as store:
            assert store.verify().ok
            whole = store.collection("docs").model == "new"
            check(store.collection("docs", embedder=new if whole else old), new if whole else old)
    with dure.Store.open(folder) as store:
        store.collection("docs").reembed(new)
        check(store.collection("docs", embedder=new), new)
        assert len(new.asked) < 3995 + 8000


def test_a_dropped_collection_leaves_nothing(store: dure.Store) -> None:
    col = filled(store, Model("old"), 2000)
    new: Any = Model("new")
    new.fails_after = 1024
    with pytest.raises(errors.UnavailableError):
        col.reembed(new)
    store.drop("docs")
    again = filled(store, Model("old"), 30)
    new.fails_after = 10**9
    assert again.reembed(new).embedded == 25
