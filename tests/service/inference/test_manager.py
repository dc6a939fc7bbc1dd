"""`ModelManager`: one load, batches, bounded lines, time, memory, room on a device."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from dure.errors import DeadlineError, NotFoundError, OutOfMemoryError, QueueFullError
from dure.service.inference.manager import ModelLoadError, ModelManager, ModelSpec

from tests.service.inside import Hands, inside

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class Doubles:
    """A model: twice each number; knows what it was asked, fails as it is told."""

    def __init__(self, most: int = 1000, seconds: float = 0.0) -> None:
        self.batches: list[list[int]] = []
        self.most, self.seconds, self.closed = most, seconds, 0
        self._busy = threading.Lock()

    def __call__(self, items: Sequence[Any], /) -> list[int]:
        assert self._busy.acquire(blocking=False), "one batch at a time"
        try:
            time.sleep(self.seconds)
            self.batches.append(list(items))
            if len(items) > self.most:
                raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
            if -1 in items:
                raise ValueError("no such number")
            return [2 * one for one in items]
        finally:
            self._busy.release()

    def close(self) -> None:
        self.closed += 1


def spec(model: Doubles, **more: Any) -> ModelSpec:
    return ModelSpec(lambda: model, **more)


async def test_it_is_loaded_once_however_many_ask_at_once() -> None:
    loads: list[int] = []

    def load() -> Doubles:
        time.sleep(0.05)
        loads.append(1)
        return Doubles()

    manager = ModelManager({"a": ModelSpec(load)})
    models = await asyncio.gather(*(manager.get_model("a") for _ in range(50)))
    assert len(loads) == 1
    assert len({id(one) for one in models}) == 1
    assert await manager.get_model("a") is models[0]
    with pytest.raises(NotFoundError):
        await manager.get_model("b")
    await manager.close()


async def test_items_asked_at_once_travel_in_few_batches() -> None:
    model = Doubles()
    manager = ModelManager({"a": spec(model, max_batch=16)})
    found = await manager.infer_many("a", range(64))
    assert found == [2 * n for n in range(64)]
    assert sum(map(len, model.batches)) == 64
    assert len(model.batches) <= 6, "not one by one"
    assert max(map(len, model.batches)) == 16
    await manager.close()
    assert model.closed == 1


async def test_a_load_that_fails_is_tried_again_and_tells_no_path() -> None:
    tries = []

    def load() -> Doubles:
        tries.append(1)
        if len(tries) == 1:
            raise OSError("/secret/folder/model.bin is gone")
        return Doubles()

    manager = ModelManager({"a": ModelSpec(load)})
    with pytest.raises(ModelLoadError) as failed:
        await manager.infer("a", 1)
    assert failed.value.http_status == 503
    assert "secret" not in str(failed.value)
    assert await manager.infer("a", 1) == 2
    await manager.close()


async def test_out_of_memory_halves_the_batch_and_fails_an_item_alone_at_last() -> None:
    model = Doubles(most=3)
    manager = ModelManager({"a": spec(model)})
    assert await manager.infer_many("a", range(8)) == [2 * n for n in range(8)]
    assert [len(one) for one in model.batches] == [8, 4, 2, 2, 4, 2, 2]
    model.most = 0
    with pytest.raises(OutOfMemoryError) as failed:
        await manager.infer("a", 1)
    assert failed.value.http_status == 503
    model.most = 10
    assert await manager.infer("a", 1) == 2, "the model is still there"
    await manager.close()


async def test_who_waits_too_long_is_told_and_the_line_goes_on() -> None:
    model = Doubles(seconds=0.3)
    manager = ModelManager({"a": spec(model, timeout=0.1)})
    with pytest.raises(DeadlineError) as late:
        await manager.infer("a", 1)
    assert (late.value.http_status, late.value.stage) == (504, "inference")
    model.seconds = 0.0
    for _ in range(50):
        if model.batches:
            break
        await asyncio.sleep(0.02)
    assert await manager.infer("a", 2) == 4
    await manager.close()


async def test_a_full_line_refuses_and_keeps_those_who_wait() -> None:
    model = Doubles(seconds=0.05)
    manager = ModelManager({"a": spec(model, max_batch=1, max_waiting=3)})
    await manager.get_model("a")
    found = await asyncio.gather(*(manager.infer("a", n) for n in range(8)), return_exceptions=True)
    refused = [one for one in found if isinstance(one, QueueFullError)]
    assert [one for one in found if not isinstance(one, Exception)] == [0, 2, 4]
    assert len(refused) == 5
    assert refused[0].http_status == 429
    assert refused[0].retry_after
    await manager.close()


async def test_one_bad_item_fails_its_batch_and_the_model_lives() -> None:
    manager = ModelManager({"a": spec(Doubles())})
    with pytest.raises(ValueError, match="no such number"):
        await manager.infer("a", -1)
    assert await manager.infer("a", 3) == 6
    await manager.close()


async def test_a_device_holds_what_fits_and_unloads_what_was_used_longest_ago() -> None:
    models = {name: Doubles() for name in "abc"}
    manager = ModelManager(
        {name: spec(one, device="gpu", bytes=40) for name, one in models.items()}
        | {"huge": spec(Doubles(), device="gpu", bytes=101), "cpu": spec(Doubles(), bytes=10**9)},
        caps={"gpu": 100},
    )
    for name in ("a", "b", "cpu", "a", "c"):
        await manager.infer(name, 1)
    assert manager.loaded == ["cpu", "a", "c"], "b was used longest ago; another device is free"
    assert [models[name].closed for name in "abc"] == [0, 1, 0]
    with pytest.raises(OutOfMemoryError, match="no room"):
        await manager.infer("huge", 1)
    assert await manager.infer("b", 5) == 10, "loaded again"
    await manager.close()
    assert manager.loaded == []


async def test_a_model_that_is_asked_is_never_unloaded() -> None:
    slow = Doubles(seconds=0.2)
    manager = ModelManager(
        {"a": spec(slow, device="gpu", bytes=60), "b": spec(Doubles(), device="gpu", bytes=60)},
        caps={"gpu": 100},
    )
    await manager.get_model("a")
    asked = asyncio.create_task(manager.infer("a", 1))
    await asyncio.sleep(0.05)
    second = list(await asyncio.gather(manager.infer("b", 1), return_exceptions=True))
    assert await asked == 2, "its answer came"
    assert second == [2] or isinstance(second[0], OutOfMemoryError)
    assert slow.closed == (1 if second == [2] else 0)
    await manager.close()


async def test_closing_frees_everything_and_leaves_nobody_waiting() -> None:
    model = Doubles(seconds=0.1)
    manager = ModelManager({"a": spec(model, max_batch=1)})
    await manager.get_model("a")
    asked = [asyncio.create_task(manager.infer("a", n)) for n in range(5)]
    await asyncio.sleep(0.05)
    await manager.close()
    async with asyncio.timeout(5):
        ended = await asyncio.gather(*asked, return_exceptions=True)
    assert any(isinstance(one, BaseException) for one in ended)
    assert model.closed == 1
    with pytest.raises(ModelLoadError):
        await manager.infer("a", 1)


async def test_the_app_has_one_and_documents_are_embedded_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-never-used")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    async with inside(tmp_path, Hands(), knowledge_model="dure-hash") as app:
        manager = app.app.state.model
        assert manager.loaded == [], "nothing is loaded before it is asked"
        admin = (await app.first())["access_token"]
        body = {"title": "Rota", "text": "Kim waters the field."}
        made = (await app.call("POST", "/api/knowledge/documents", body, admin)).json()
        for _ in range(200):
            at = f"/api/knowledge/documents/{made['id']}"
            found = (await app.call("GET", at, key=admin)).json()
            if found["state"] not in {"pending", "indexing"}:
                break
            await asyncio.sleep(0.05)
        assert (found["state"], found["model"], found["cost_pico"]) == ("ready", "dure-hash", 0)
        assert manager.loaded == ["dure-hash"]
        asked = {"query": "Who waters the field?"}
        hits = (await app.call("POST", "/api/knowledge/search", asked, admin)).json()["results"]
        assert hits[0]["title"] == "Rota"
    assert manager.loaded == [], "freed at the end"
