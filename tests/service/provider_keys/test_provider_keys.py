"""Provider keys: sealed, exchanged without a restart, and shown to nobody."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from dure.db import tables
from dure.errors import InvalidArgumentError, StorageError
from dure.service.keyrings import read_ring
from dure.service.kit.envelope import Envelope, Place
from dure.service.kit.secret import Secret
from dure.testing import upstream
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from tests.service.inside import inside

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dure.testing.upstream import Upstream

    from tests.service.inside import Inside

AT = "/api/admin/provider-keys"
GOOD = "sk-the-good-one-1234"
PLACE = Place("provider_keys", "sealed", "acme", "pvk_1")


@pytest.fixture(scope="module")
def provider() -> Iterator[Upstream]:
    with upstream.start(seed=5, api_key=GOOD, pace=0.02) as running:
        yield running


async def chat(app: Inside, token: str, **more: Any) -> Any:
    body = {
        "model": "gpt-4o-mini",
        "messages": [{"role": "user", "content": "hello"}],
        "max_tokens": 20,
        **more,
    }
    return await app.call("POST", "/v1/chat/completions", body, token)


async def test_keys_are_added_drained_and_removed_without_a_restart(
    app: Inside, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    admin = (await app.first())["access_token"]
    refused = await chat(app, admin)  # the environment's key is not the provider's
    assert (refused.status_code, refused.json()["error"]["code"]) == (502, "upstream_auth")
    made = await app.call("POST", AT, {"name": "new", "key": GOOD}, admin)
    assert made.status_code == 201, made.text
    assert made.json()["tail"] == "1234"
    assert (await chat(app, admin)).status_code == 200
    stream = asyncio.create_task(chat(app, admin, stream=True))
    await asyncio.sleep(0.05)
    at = f"{AT}/{made.json()['id']}"
    assert (await app.call("DELETE", at, key=admin)).json()["error"]["code"] == "drain_first"
    drained = await app.call("PATCH", at, {"state": "draining"}, admin)
    assert drained.json()["state"] == "draining"
    assert (await chat(app, admin)).status_code == 502
    ended = await stream
    assert ended.text.rstrip().endswith("[DONE]"), "what was under way ends with the key it has"
    assert (await app.call("PATCH", at, {"state": "active"}, admin)).status_code == 200
    assert (await chat(app, admin)).status_code == 200
    await app.call("PATCH", at, {"state": "draining"}, admin)
    assert (await app.call("DELETE", at, key=admin)).status_code == 204
    assert (await app.call("GET", AT, key=admin)).json()["keys"] == []
    told = (await app.call("GET", "/api/admin/audit", key=admin)).text
    assert "provider-key.delete" in told
    everything = told + caplog.text + made.text + drained.text
    assert GOOD not in everything


async def test_a_provider_key_is_for_operators_and_kept_sealed(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    _, other = await app.add(admin, "lee@example.com", "admin")
    for method, path in (("GET", AT), ("POST", AT), ("DELETE", f"{AT}/x"), ("PATCH", f"{AT}/x")):
        assert (await app.call(method, path, {}, other)).status_code == 403
    await app.call("POST", AT, {"name": "new", "key": GOOD}, admin)
    async with app.state.database.read() as work:
        row = (await work.scalars(select(tables.ProviderKeyModel))).one()
    assert GOOD not in json.dumps({name: str(value) for name, value in vars(row).items()})
    assert GOOD not in (await app.call("GET", AT, key=admin)).text
    for bad in ("x7#k", "a key with spaces", "sk-\n1234567", "sk-열쇠열쇠열쇠열쇠"):
        refused = await app.call("POST", AT, {"name": "x", "key": bad}, admin)
        assert refused.status_code == 422, bad
        assert bad not in refused.text
    assert (await app.call("PATCH", f"{AT}/pvk_no", {"name": "x"}, admin)).status_code == 404


async def test_another_process_uses_a_new_key_by_its_next_look(app: Inside, tmp_path: Path) -> None:
    admin = (await app.first())["access_token"]
    settings = app.state.settings
    place = {"database_url": settings.database_url, "database_schema": settings.database_schema}
    async with inside(tmp_path, app.clock, **place) as second:
        assert (await chat(second, admin)).status_code == 502
        await app.call("POST", AT, {"name": "new", "key": GOOD}, admin)
        await second.app.state.provider_keys.look()
        assert (await chat(second, admin)).status_code == 200


@given(st.text(max_size=200))
def test_what_is_sealed_opens_in_its_place_only(text: str) -> None:
    envelope = Envelope(Secret(b"1" * 32))
    sealed = envelope.seal(text, PLACE)
    assert envelope.open(sealed, PLACE) == text
    assert envelope.seal(text, PLACE) != sealed
    for place in (
        PLACE._replace(org_id="other"),
        PLACE._replace(row_id="pvk_2"),
        PLACE._replace(table="channels"),
        PLACE._replace(column="x"),
    ):
        with pytest.raises(StorageError, match="moved"):
            envelope.open(sealed, place)
    with pytest.raises(StorageError, match="not at hand"):
        Envelope(Secret(b"2" * 32)).open(sealed, PLACE)


def test_a_seal_that_was_touched_does_not_open() -> None:
    envelope = Envelope(Secret(b"1" * 32))
    sealed = envelope.seal("sk-tief", PLACE)
    for i in range(0, len(sealed), 7):
        other = "A" if sealed[i] != "A" else "B"
        with pytest.raises(StorageError):
            envelope.open(sealed[:i] + other + sealed[i + 1 :], PLACE)
    assert "tief" not in repr(envelope)
    with pytest.raises(TypeError):
        __import__("pickle").dumps(envelope)


def ring(*names: str) -> str:
    return ",".join(f"{n}:{base64.b64encode(n.encode().ljust(32, b'!')).decode()}" for n in names)


def test_a_new_key_seals_and_the_old_one_opens_until_all_is_rewrapped() -> None:
    secret = Secret(b"1" * 32)
    old = Envelope(secret, read_ring(ring("a")))
    sealed = old.seal("sk-tief", PLACE)
    both = Envelope(secret, read_ring(ring("b", "a")))
    assert both.open(sealed, PLACE) == "sk-tief"
    assert not both.is_current(sealed)
    fresh = both.rewrap(sealed, PLACE)
    assert fresh.split(".")[3] == sealed.split(".")[3], "only the row's key is wrapped anew"
    new = Envelope(secret, read_ring(ring("b")))
    assert new.open(fresh, PLACE) == "sk-tief"
    with pytest.raises(StorageError, match="key a,"):
        new.open(sealed, PLACE)


@pytest.mark.parametrize("text", ["a:b", "a", ring("a", "a"), "a b:" + ring("x")[2:], "a:####"])
def test_a_ring_that_cannot_be_says_so_without_its_keys(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match="DURE_ENCRYPTION_KEYS") as wrong:
        read_ring(text)
    assert ring("x")[2:] not in str(wrong.value)


async def test_rewrap_seals_with_the_newest_key(
    tmp_path: Path, provider: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("OPENAI_BASE_URL", provider.url)
    async with inside(tmp_path, encryption_keys=ring("a")) as app:
        admin = (await app.first())["access_token"]
        assert (await app.call("POST", AT, {"name": "n", "key": GOOD}, admin)).status_code == 201
    command = [sys.executable, "-m", "dure", "keys", "rewrap", "--data", str(tmp_path), "--json"]
    for names, rewrapped in ((("b", "a"), 1), (("b", "a"), 0)):
        environment = os.environ | {"DURE_ENCRYPTION_KEYS": ring(*names)}
        done = await asyncio.to_thread(
            subprocess.run, command, env=environment, capture_output=True, check=True, timeout=60
        )
        assert json.loads(done.stdout) == {"sealed": 1, "rewrapped": rewrapped}
    async with inside(tmp_path, encryption_keys=ring("b")) as app:
        assert (await chat(app, await app.login("root@example.com"))).status_code == 200
