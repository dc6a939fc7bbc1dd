"""Documents on each store: indexed, found by those who may, cited, and really gone."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from dure.service.kit.jobs import Job, Jobs, _born, add
from dure.testing import upstream
from sqlalchemy.engine import make_url

from tests.service.conftest import core_clock, free_port, quiet, wait_until_up
from tests.service.inside import Hands, Inside, inside
from tests.service.settled import settled

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from dure.testing.upstream import Upstream

KNOWLEDGE = "/api/knowledge"
FIELD = "Kim waters the field on Monday. Lee repairs the pump on Friday."
TAX = "Taxes are due in March. The office sends a letter in February."


@pytest.fixture(params=["core", "chroma", "pgvector"])
async def app(request: pytest.FixtureRequest, service_data: Path) -> AsyncIterator[Inside]:
    """The service inside this process, on each store."""
    place: dict[str, Any] = {"knowledge_store": request.param}
    if request.param == "chroma" and importlib.util.find_spec("chromadb") is None:
        pytest.skip("chromadb is not installed: pip install 'dure[chroma]'")
    if request.param == "pgvector":
        url = request.getfixturevalue("postgres_url")
        import psycopg
        from psycopg import sql

        with psycopg.connect(url, autocommit=True) as admin:
            name = f"knowledge_{os.urandom(4).hex()}"
            admin.execute("CREATE EXTENSION IF NOT EXISTS vector SCHEMA public")
            admin.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
        own = make_url(url).update_query_dict({"options": f"-csearch_path={name},public"})
        place["pgvector_url"] = own.render_as_string(hide_password=False)
    async with inside(service_data, core_clock(), **place) as found:
        yield found


async def add_text(app: Inside, token: str, title: str, text: str, **more: Any) -> dict[str, Any]:
    """Add a document and wait until it is indexed."""
    made = await app.call(
        "POST", f"{KNOWLEDGE}/documents", {"title": title, "text": text, **more}, token
    )
    assert made.status_code == 202, made.text
    assert made.json()["state"] == "pending"
    return await indexed(app, token, made.json()["id"])


async def indexed(app: Inside, token: str, document_id: str) -> dict[str, Any]:
    for _ in range(400):
        found = (await app.call("GET", f"{KNOWLEDGE}/documents/{document_id}", key=token)).json()
        if found["state"] in {"ready", "failed"}:
            return dict(found)
        await asyncio.sleep(0.05)
    raise AssertionError(found)


async def search(app: Inside, token: str, query: str, **more: Any) -> list[dict[str, Any]]:
    found = await app.call("POST", f"{KNOWLEDGE}/search", {"query": query, **more}, token)
    assert found.status_code == 200, found.text
    return list(found.json()["results"])


async def test_documents_are_indexed_found_cited_and_really_gone(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    field = await add_text(app, admin, "Rota", FIELD, metadata={"category": "work", "year": 2026})
    tax = await add_text(app, admin, "Tax", TAX, metadata={"category": "money"})
    assert (field["state"], field["done"], field["total"]) == ("ready", 1, 1), field
    assert field["model"] == "text-embedding-ada-002"
    assert field["cost_pico"] > 0

    found = await search(app, admin, FIELD)
    assert [one["document_id"] for one in found] == [field["id"], tax["id"]]
    assert found[0]["text"] == FIELD
    assert found[0]["metadata"] == {
        "category": "work", "year": 2026, "file_type": "markdown",
        "char_start": 0, "char_end": len(FIELD),
    }  # fmt: skip
    only = await search(app, admin, FIELD, where={"category": "money"}, top_k=1)
    assert [one["document_id"] for one in only] == [tax["id"]], "filtered before the search"

    asked = {"query": "Who waters the field?", "model": "gpt-4o-mini", "top_k": 2}
    answered = await app.call("POST", f"{KNOWLEDGE}/query", asked, admin)
    assert answered.status_code == 200, answered.text
    answer = answered.json()
    named = [one for one in answer["sources"] if one["cited"]]
    assert named, answer
    assert all(f"[{one['n']}]" in answer["answer"] for one in named)
    assert {one["title"] for one in answer["sources"]} == {"Rota", "Tax"}
    # the answer costs what its call and its search cost, and every call is in the ledger
    rows = settled(app)
    assert answer["cost_pico"] == sum(one["pico"] for one in rows[-2:])
    assert answer["input_tokens"] + answer["output_tokens"] == rows[-1]["tokens"]

    streamed = await app.call("POST", f"{KNOWLEDGE}/query", {**asked, "stream": True}, admin)
    parts = [part for part in streamed.text.split("\n\n") if part]
    assert parts[0].startswith("event: sources\n")
    text = "".join(
        "\n".join(line.removeprefix("data: ") for line in part.split("\n"))
        for part in parts
        if not part.startswith("event:")
    )
    done = json.loads(parts[-1].removeprefix("event: done\ndata: "))
    assert done["answer"] == text == answer["answer"]
    assert done["sources"] == answer["sources"]

    stored = app.data / "files" / "default" / field["file_id"]
    assert stored.exists()
    gone = await app.call("DELETE", f"{KNOWLEDGE}/documents/{field['id']}", key=admin)
    assert gone.status_code == 204
    assert [one["document_id"] for one in await search(app, admin, FIELD)] == [tax["id"]]
    assert not stored.exists()
    assert (await app.call("GET", f"/api/files/{field['file_id']}", key=admin)).status_code == 404
    shelves = app.app.state.knowledge._shelves
    assert shelves.shelf("default", "text-embedding-ada-002").count() == 1
    listed = (await app.call("GET", f"{KNOWLEDGE}/documents", key=admin)).json()["documents"]
    assert [one["id"] for one in listed] == [tax["id"]]


async def test_nobody_finds_what_is_not_for_them_whatever_they_ask(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    kim_id, kim = await app.add(admin, "kim@example.com", "user")
    _, lee = await app.add(admin, "lee@example.com", "user")
    own = await add_text(app, kim, "Own", FIELD + " Mine.", access="owner")
    shared = await add_text(
        app, lee, "Shared", FIELD + " Ours.", access="shared", shared_with=[kim_id]
    )
    both = await add_text(app, kim, "All", FIELD)

    async def seen(token: str, **more: Any) -> set[str]:
        found = await search(app, token, FIELD, top_k=100, **more)
        return {one["document_id"] for one in found}

    assert await seen(kim) == {own["id"], shared["id"], both["id"]}
    assert await seen(lee) == {shared["id"], both["id"]}
    assert await seen(admin) == {own["id"], shared["id"], both["id"]}
    for trick in ({"dure_access": {"$contains": f"user:{kim_id}"}},
                  {"$or": [{"dure_document": own["id"]}, {"file_type": "markdown"}]}):  # fmt: skip
        assert own["id"] not in await seen(lee, where=trick)
    at = f"{KNOWLEDGE}/documents/{own['id']}"
    assert (await app.call("GET", at, key=lee)).status_code == 404
    assert (await app.call("DELETE", at, key=lee)).status_code == 404
    open_one = f"{KNOWLEDGE}/documents/{both['id']}"
    assert (await app.call("GET", open_one, key=lee)).status_code == 200
    assert (await app.call("DELETE", open_one, key=lee)).status_code == 403
    assert (await app.call("POST", f"{open_one}/reindex", None, lee)).status_code == 403
    listed = (await app.call("GET", f"{KNOWLEDGE}/documents?limit=1", key=lee)).json()
    rest = f"{KNOWLEDGE}/documents?limit=1&cursor={listed['next']}"
    second = (await app.call("GET", rest, key=lee)).json()
    ids = {one["id"] for one in (*listed["documents"], *second["documents"])}
    assert ids == {shared["id"], both["id"]}
    prompt = await app.call(
        "POST", f"{KNOWLEDGE}/query", {"query": "Mine?", "model": "gpt-4o-mini"}, lee
    )
    assert own["id"] not in prompt.text


async def test_a_file_that_cannot_be_read_fails_alone_and_says_why(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    made = await app.client.post(
        f"{KNOWLEDGE}/documents",
        files={"file": ("broken.pdf", b"%PDF-1.7 nothing more", "application/pdf")},
        data={"metadata": json.dumps({"category": "x"}), "title": "Broken"},
        headers={"authorization": f"Bearer {admin}"},
    )
    assert made.status_code == 202, made.text
    failed = await indexed(app, admin, made.json()["id"])
    assert (failed["state"], failed["title"]) == ("failed", "Broken")
    assert failed["reason"]
    assert str(app.data) not in failed["reason"]
    good = await add_text(app, admin, "Rota", FIELD)
    assert good["state"] == "ready"
    assert [one["document_id"] for one in await search(app, admin, FIELD)] == [good["id"]]


async def test_indexing_again_replaces_and_charges_the_one_who_asked(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    user_id, kim = await app.add(admin, "kim@example.com", "user")
    one = await add_text(app, kim, "Rota", FIELD * 40, chunk_chars=500)
    assert one["total"] > 3
    assert all(f"user:default/{user_id}" in row["scopes"] for row in settled(app))
    again = await app.call("POST", f"{KNOWLEDGE}/documents/{one['id']}/reindex", None, kim)
    assert again.status_code == 202
    ready = await indexed(app, kim, one["id"])
    assert (ready["state"], ready["total"]) == ("ready", one["total"])
    shelves = app.app.state.knowledge._shelves
    assert shelves.shelf("default", "text-embedding-ada-002").count() == one["total"]


async def test_two_documents_of_a_file_share_its_bytes_until_the_last_is_gone(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    first = await add_text(app, admin, "Rota", FIELD)
    body = {"file_id": first["file_id"], "title": "Again", "metadata": {"category": "copy"}}
    made = await app.call("POST", f"{KNOWLEDGE}/documents", body, admin)
    second = await indexed(app, admin, made.json()["id"])
    at = f"/api/files/{first['file_id']}"
    assert (await app.call("DELETE", at, key=admin)).json()["error"]["code"] == "in_use"
    for document, status in ((first, 200), (second, 404)):
        gone = await app.call("DELETE", f"{KNOWLEDGE}/documents/{document['id']}", key=admin)
        assert gone.status_code == 204
        assert (await app.call("GET", at, key=admin)).status_code == status
    assert await search(app, admin, FIELD) == []


async def test_a_list_asks_as_often_for_many_rows_as_for_one(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    _, kim = await app.add(admin, "kim@example.com", "user")
    counts = []
    for n in range(1, 9):
        access = "org" if n in {1, 8} else "owner"
        await add_text(app, admin, f"{n}", f"{FIELD} {n}", access=access)
        if n in {1, 8}:
            while app.app.state.jobs._running:
                await asyncio.sleep(0.01)
            with app.statements() as asked:
                listed = (await app.call("GET", f"{KNOWLEDGE}/documents?limit=2", key=kim)).json()
            counts.append(sum("FROM documents" in one for one in asked))
            assert len(listed["documents"]) == (1 if n == 1 else 2)
            assert listed["next"] is None
    assert counts == [1, 1]


async def test_both_models_answer_until_a_document_has_moved(
    app: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin = (await app.first())["access_token"]
    field = await add_text(app, admin, "Rota", FIELD)
    settings = app.state.settings.model_copy(update={"knowledge_model": "text-embedding-3-small"})
    for state_of in (app.app.state.knowledge, app.app.state.indexer):
        monkeypatch.setattr(state_of, "_state", _with(app.state, settings))
    tax = await add_text(app, admin, "Tax", TAX)
    assert tax["model"] == "text-embedding-3-small"
    both = {one["document_id"] for one in await search(app, admin, FIELD)}
    assert both == {field["id"], tax["id"]}
    moved = await app.app.state.knowledge.renew()
    assert moved == 1
    app.app.state.jobs.look()
    ready = await indexed(app, admin, field["id"])
    assert ready["model"] == "text-embedding-3-small"
    shelves = app.app.state.knowledge._shelves
    assert shelves.shelf("default", "text-embedding-ada-002").count() == 0
    assert {one["document_id"] for one in await search(app, admin, FIELD)} == both
    assert await app.app.state.knowledge.renew() == 0


def _with(state: Any, settings: Any) -> Any:
    from dataclasses import replace

    return replace(state, settings=settings)


async def test_documents_that_cannot_be_are_refused(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    wrong: list[dict[str, Any]] = [
        {},
        {"text": "x", "file_id": "file_1"},
        {"text": ""},
        {"text": "x", "metadata": {"dure_access": "org"}},
        {"text": "x", "metadata": {"a": {"b": 1}}},
        {"text": "x", "chunk_chars": 5},
        {"text": "x", "access": "all"},
        {"text": "x", "org_id": "other"},
        {"file_id": "file_of_somebody_else"},
    ]
    for body in wrong:
        refused = await app.call("POST", f"{KNOWLEDGE}/documents", body, admin)
        assert refused.status_code in {400, 404, 422}, refused.text
    assert (await app.call("GET", f"{KNOWLEDGE}/documents", key=admin)).json()["documents"] == []


async def test_searches_that_cannot_be_are_refused(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    await add_text(app, admin, "Rota", FIELD)
    for body, statuses in (
        ({"query": ""}, {422}),
        ({"query": "x", "top_k": 1_000_000_000}, {422}),
        ({"query": "x", "where": {"$nope": 1}}, {400}),
        ({"query": "x", "embedding_function": "os.system"}, {422}),
    ):
        refused = await app.call("POST", f"{KNOWLEDGE}/search", body, admin)
        assert refused.status_code in statuses, refused.text
    _, viewer = await app.add(admin, "v@example.com", "viewer")
    assert (
        await app.call("POST", f"{KNOWLEDGE}/search", {"query": "x"}, viewer)
    ).status_code == 403
    listed = await app.call("GET", f"{KNOWLEDGE}/documents", key=viewer)
    assert len(listed.json()["documents"]) == 1


# Jobs


async def test_a_job_of_a_living_process_is_left_alone_and_one_of_a_dead_taken(
    tmp_path: Path, provider: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("OPENAI_BASE_URL", provider.url)
    async with inside(tmp_path, Hands()) as app:
        await app.first()
        clock = app.clock

        async def nothing(_job: Job, _told: str = "") -> None: ...

        def jobs() -> Jobs:
            handlers = {"test": nothing}
            return Jobs(app.state.database, clock, host="h", handlers=handlers, failed=nothing)

        async with app.state.database.write() as work:
            add(work, clock, "test", "t", org_id="default", owner_id="u", key_id=None)
        mine, other = jobs(), jobs()
        other._me = f"h:{os.getppid()}:{_born(os.getppid())}"
        first = await other.claim()
        assert first is not None
        assert await mine.claim() is None, "its holder lives"
        other._me = "h:999999999:1"
        clock.turn(seconds=31)
        second = await other.claim()
        assert second is not None, "the claim had run out"
        assert (second.token, second.attempts) == (2, 2)
        assert not await mine._set(first.id, first.token, {"state": "done"}), "the first lost it"
        third = await mine.claim()
        assert third is not None, "a dead process of this machine holds nothing"
        assert await asyncio.gather(*(jobs().claim() for _ in range(4))) == [None] * 4


def test_indexing_goes_on_after_kill_9_and_pays_for_no_batch_twice(tmp_path: Path) -> None:
    text = "\n\n".join(f"Sentence {n} of the rota is about field {n * 7}." for n in range(1200))
    with upstream.start(seed=5, delay=0.15) as provider:
        port = free_port()
        environment = os.environ | quiet(tmp_path) | {
            "OPENAI_BASE_URL": provider.url,
            "OPENAI_API_KEY": "sk-x",
        }  # fmt: skip
        command = [sys.executable, "-m", "dure", "serve", f"--port={port}", "--data", str(tmp_path)]
        url = f"http://127.0.0.1:{port}{KNOWLEDGE}/documents"

        def call(path: str, body: object = None) -> dict[str, Any]:
            data = None if body is None else json.dumps(body).encode()
            request = urllib.request.Request(url + path, data, {"content-type": "application/json"})
            with urllib.request.urlopen(request, timeout=20) as answer:
                return dict(json.loads(answer.read()))

        def until(process: subprocess.Popen[bytes], good: Any) -> dict[str, Any]:
            deadline = time.monotonic() + 40
            while time.monotonic() < deadline:
                assert process.poll() is None
                found = call(f"/{document}")
                if good(found):
                    return found
                time.sleep(0.03)
            raise AssertionError(found)

        first = subprocess.Popen(command, env=environment)
        wait_until_up(f"http://127.0.0.1:{port}", first)
        document = call("", {"text": text, "title": "Rota", "chunk_chars": 120})["id"]
        seen = until(first, lambda one: one["done"] >= 3 * 64)
        assert seen["state"] == "indexing"
        first.send_signal(signal.SIGKILL)
        first.wait(10)
        second = subprocess.Popen(command, env=environment)
        try:
            wait_until_up(f"http://127.0.0.1:{port}", second)
            ready = until(second, lambda one: one["state"] in {"ready", "failed"})
        finally:
            second.terminate()
            second.wait(20)
        assert ready["state"] == "ready", ready
        assert ready["done"] == ready["total"] > 6 * 64
        asked = [one for one in provider.log() if one["path"] == "/v1/embeddings"]
        batches = -(-int(ready["total"]) // 64)
        assert batches <= len(asked) <= batches + 1, "at most the batch that was cut off, twice"
        with sqlite3.connect(tmp_path / "service.db") as database:
            rows = database.execute("SELECT state, attempts FROM jobs").fetchall()
        assert rows == [("done", 2)]
        left = tmp_path / "jobs"
        assert not any(left.iterdir()), "what was kept for going on is gone"
