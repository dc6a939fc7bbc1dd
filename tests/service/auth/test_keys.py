"""API keys: their form, their rights, their own rates and addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from dure.db.tables import ApiKey
from dure.service.auth import api_keys
from dure.service.kit.secret import Secret
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from tests.service.inside import Inside, inside

if TYPE_CHECKING:
    from pathlib import Path


def test_a_key_has_its_form_and_knows_noise() -> None:
    key, parts = api_keys.make()
    assert len(key) == 5 + 8 + 43 + 6
    assert api_keys.parse(key) == parts
    assert parts.secret not in repr(parts)
    assert len({api_keys.make()[0] for _ in range(100)}) == 100
    other = "A" if key[20] != "A" else "B"
    for bad in (key[:-1], key + "0", key[:20] + other + key[21:], "sk-" + key[3:], "", key.upper()):
        assert api_keys.parse(bad) is None, bad


@given(st.text())
def test_no_text_is_a_key(text: str) -> None:
    assert api_keys.parse(text) is None
    assert api_keys.parse("dure_" + text) is None


def test_what_is_kept_of_a_key_needs_the_pepper() -> None:
    _, parts = api_keys.make()
    one, two = Secret(b"1" * 32), Secret(b"2" * 32)
    assert api_keys.mac_of(parts, one) != api_keys.mac_of(parts, two)
    assert one.key("a") != one.key("b")
    assert "1" not in repr(one)
    with pytest.raises(TypeError):
        __import__("pickle").dumps(one)


async def test_a_key_is_shown_once_and_kept_as_a_mac(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    key = await app.key(admin, name="nightly")
    listed = (await app.call("GET", "/api/keys", key=admin)).json()["keys"]
    assert listed[0]["name"] == "nightly"
    assert "key" not in listed[0]
    assert "mac" not in listed[0]
    async with app.state.database.read() as work:
        row = (await work.execute(select(ApiKey))).scalar_one()
    assert key[13:56] not in str(vars(row))
    assert row.mac == api_keys.mac_of(api_keys.parse(key), app.state.secret)  # type: ignore[arg-type]


async def test_a_key_never_has_more_than_its_owner(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    user_id, token = await app.add(admin, "kim@example.com", "user")
    assert (
        await app.call("POST", "/api/keys", {"name": "k", "role": "admin"}, token)
    ).status_code == 403
    key = await app.key(token, role="user")
    assert (await app.call("POST", "/api/keys", {"name": "x"}, key)).status_code == 403, "a key"
    await app.call("PATCH", f"/api/admin/users/{user_id}", {"role": "viewer"}, admin)
    assert (await app.call("GET", "/api/auth/me", key=key)).json()["role"] == "viewer"
    own = await app.key(admin, role="admin")
    assert (await app.call("GET", "/api/auth/me", key=own)).json()["operator"] is False
    assert (await app.call("GET", "/api/admin/orgs", key=own)).status_code == 403


async def test_scopes_narrow_a_key(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    key = await app.key(admin, scopes=["models"])
    assert (await app.call("GET", "/v1/models", key=key)).status_code == 200
    refused = await app.call("GET", "/api/keys", key=key)
    assert refused.status_code == 403
    assert refused.json()["error"]["code"] == "scope_missing"
    whole = await app.key(admin, scopes=["keys"])
    assert (await app.call("GET", "/api/keys", key=whole)).status_code == 200


async def test_a_key_for_some_models_asks_no_other(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    key = await app.key(admin, models=["gpt-4o-mini"])
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
    refused = await app.call("POST", "/v1/chat/completions", body, key)
    assert refused.status_code == 403
    assert refused.json()["error"]["code"] == "model_not_allowed"
    body["model"] = "gpt-4o-mini"
    assert (await app.call("POST", "/v1/chat/completions", body, key)).status_code == 200


async def test_a_key_ends_on_its_day_and_counts_its_own_rate(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    key = await app.key(admin, days=1, rate="2/hour")
    statuses = [(await app.call("GET", "/v1/models", key=key)).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
    late = await app.call("GET", "/v1/models", key=key)
    assert int(late.headers["retry-after"]) > 60
    assert int(late.headers["retry-after-ms"]) > 60_000
    app.clock.turn(days=1)
    assert (await app.call("GET", "/v1/models", key=key)).status_code == 401


async def test_a_key_for_an_address_is_good_there_only(tmp_path: Path) -> None:
    async with inside(tmp_path, trusted_proxies=("127.0.0.1",)) as app:
        admin = (await app.first())["access_token"]
        key = await app.key(admin, addresses=["203.0.113.0/24"])

        async def status(forwarded: str) -> int:
            answer = await app.call("GET", "/v1/models", key=key, x_forwarded_for=forwarded)
            return answer.status_code

        assert await status("203.0.113.9") == 200
        assert await status("198.51.100.1, 203.0.113.9") == 200, "the rightmost untrusted hop"
        assert await status("203.0.113.9, 198.51.100.1") == 401, "what a client says of itself"
        assert await status("203.0.113.9, 127.0.0.1") == 200
        assert (await app.call("GET", "/v1/models", key=key)).status_code == 401


async def test_headers_of_a_stranger_do_not_move_an_address(tmp_path: Path) -> None:
    async with inside(tmp_path) as app:
        admin = (await app.first())["access_token"]
        key = await app.key(admin, addresses=["203.0.113.0/24"])
        answer = await app.call("GET", "/v1/models", key=key, x_forwarded_for="203.0.113.9")
        assert answer.status_code == 401


@pytest.mark.parametrize("name", ["x-api-key", "authorization"])
async def test_a_key_comes_in_either_header_and_never_in_the_path(app: Inside, name: str) -> None:
    admin = (await app.first())["access_token"]
    key = await app.key(admin)
    value = key if name == "x-api-key" else f"bearer {key}"
    assert (await app.client.get("/v1/models", headers={name: value})).status_code == 200
    assert (await app.client.get(f"/v1/models?api_key={key}&token={key}")).status_code == 401
    assert (
        await app.client.get("/v1/models", headers={"authorization": f"Basic {key}"})
    ).status_code == 401


async def test_keys_are_theirs_alone_and_cursors_show_nothing_else(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    _, kim = await app.add(admin, "kim@example.com", "user")
    _, lee = await app.add(admin, "lee@example.com", "user")
    mine = [await app.key(kim) for _ in range(3)]
    first = (await app.call("GET", "/api/keys?limit=2", key=kim)).json()
    second = (await app.call("GET", f"/api/keys?limit=2&cursor={first['next']}", key=kim)).json()
    seen = [key["id"] for key in first["keys"] + second["keys"]]
    assert sorted(seen) == sorted(key[5:13] for key in mine)
    assert second["next"] is None
    assert (await app.call("GET", "/api/keys", key=lee)).json()["keys"] == []
    stolen = await app.call("GET", f"/api/keys?cursor={first['next']}", key=lee)
    assert stolen.json()["keys"] == []
    assert (await app.call("DELETE", f"/api/keys/{seen[0]}", key=lee)).status_code == 404
    for bad in ("x", "W10", "bnVsbA", "WzFd", "WyIxIiwgMV0"):
        answer = await app.call("GET", f"/api/keys?cursor={bad}", key=kim)
        assert answer.status_code == 400, bad
    for limit in ("0", "1000000000", "x"):
        assert (await app.call("GET", f"/api/keys?limit={limit}", key=kim)).status_code == 422


async def test_a_list_asks_the_database_equally_often_for_one_and_for_many(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    counts = []
    made = 0
    for rows in (1, 10, 30):
        while made < rows:
            await app.key(admin)
            made += 1
        for path in ("/api/keys", "/api/admin/users", "/api/admin/audit"):
            await app.call("GET", path, key=admin)  # whoever asks is known now
            with app.statements() as statements:
                assert (await app.call("GET", path, key=admin)).status_code == 200
            counts.append((path, len([s for s in statements if s.startswith("SELECT")])))
            assert counts[-1][1] > 0
    assert len(set(counts)) == 3, counts


async def test_when_a_key_was_used_is_written_down(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    key = await app.key(admin)
    await app.call("GET", "/v1/models", key=key)
    await app.app.state.identities.write_used()
    listed = (await app.call("GET", "/api/keys", key=admin)).json()["keys"]
    assert listed[0]["last_used_at"] is not None


async def test_a_key_is_changed_where_it_is_used_at_once(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    _, kim = await app.add(admin, "kim@example.com", "user")
    key = await app.key(kim, models=["gpt-4o"])
    parts = api_keys.parse(key)
    assert parts is not None
    at = f"/api/keys/{parts.id}"
    shown = await app.call("GET", at, key=kim)
    assert (shown.status_code, shown.json()["models"]) == (200, ["gpt-4o"])
    assert key not in shown.text
    assert (await app.call("GET", "/api/models", key=key)).status_code == 200
    asked = {"name": "night", "scopes": ["keys:read"], "rate": "60/minute", "days": 1}
    changed = await app.call("PATCH", at, asked, kim)
    assert changed.status_code == 200, changed.text
    found = changed.json()
    assert {name: found[name] for name in ("name", "scopes", "rate", "models")} == {
        "name": "night", "scopes": ["keys:read"], "rate": "60/minute", "models": ["gpt-4o"]
    }  # fmt: skip
    assert found["expires_at"] < shown.json()["expires_at"]
    assert (await app.call("GET", "/api/models", key=key)).status_code == 403, "narrowed"
    assert (await app.call("PATCH", at, {"rate": None}, kim)).json()["rate"] is None
    told = (await app.call("GET", "/api/admin/audit", key=admin)).json()["rows"]
    changes = [one["detail"] for one in told if one["action"] == "key.change"]
    assert changes == [{"rate": None}, asked]


async def test_a_key_is_changed_by_its_owner_and_administrators_only(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    _, kim = await app.add(admin, "kim@example.com", "user")
    _, lee = await app.add(admin, "lee@example.com", "user")
    key = await app.key(kim)
    parts = api_keys.parse(key)
    assert parts is not None
    at = f"/api/keys/{parts.id}"
    for method, body in (("GET", None), ("PATCH", {"name": "mine"})):
        assert (await app.call(method, at, body, lee)).status_code == 404
        assert (await app.call(method, at, body, admin)).status_code == 200
    assert (await app.call("PATCH", at, {"name": "more"}, key)).json()["error"]["code"] == (
        "login_needed"
    )
    for bad in ({"role": "admin"}, {"rate": "often"}, {"days": 0}, {"name": None}, {"scopes": "a"}):
        assert (await app.call("PATCH", at, bad, kim)).status_code == 422, bad
    assert (await app.call("DELETE", at, key=kim)).status_code == 204
    gone = await app.call("PATCH", at, {"days": 9}, kim)
    assert (gone.status_code, gone.json()["error"]["code"]) == (409, "revoked")
