"""Logging in, on both databases: first start, passwords, rotating tokens, logging out."""

from __future__ import annotations

import asyncio
import stat
from typing import TYPE_CHECKING, Any

import pytest
from dure.db.tables import RefreshTokenModel, UserModel
from dure.service.auth.service import token_path
from sqlalchemy import select

from tests.service.inside import PASSWORD, Hands, Inside, inside

if TYPE_CHECKING:
    from pathlib import Path

ROOT = {"email": "root@example.com", "password": PASSWORD}


async def test_nobody_enters_without_a_credential(app: Inside) -> None:
    for path in ("/api/auth/me", "/api/keys", "/v1/models", "/no/such/path", "/api/admin/users"):
        answer = await app.call("GET", path)
        assert answer.status_code == 401, path
        assert answer.headers["www-authenticate"] == "Bearer"
        error = answer.json()["error"]
        assert error["code"] == "invalid_api_key"
        assert error["request_id"] == answer.headers["x-request-id"]


async def test_the_first_start_token_is_good_once(app: Inside) -> None:
    path = token_path(app.data)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    token = path.read_text().split()[0]
    wrong = await app.call("POST", "/api/auth/first-start", {**ROOT, "token": token + "x"})
    assert wrong.status_code == 401
    both = await asyncio.gather(
        *(
            app.call(
                "POST", "/api/auth/first-start", {**ROOT, "token": token, "email": f"{n}@e.co"}
            )
            for n in "ab"
        )
    )
    assert sorted(answer.status_code for answer in both) in ([201, 401], [201, 409])
    assert not path.exists()
    made = next(answer for answer in both if answer.status_code == 201)
    me = (await app.call("GET", "/api/auth/me", key=made.json()["access_token"])).json()
    assert (me["role"], me["operator"], me["org_id"]) == ("admin", True, "default")


async def test_the_first_start_token_lives_an_hour(tmp_path: Path, place: dict[str, Any]) -> None:
    clock = Hands()
    async with inside(tmp_path, clock, **place) as app:
        token = token_path(tmp_path).read_text().split()[0]
        clock.turn(minutes=61)
        late = await app.call("POST", "/api/auth/first-start", {**ROOT, "token": token})
        assert late.status_code == 401
    async with inside(tmp_path, clock, **place) as app:
        assert token_path(tmp_path).read_text().split()[0] != token
        await app.first()
    async with inside(tmp_path, clock, **place):
        assert not token_path(tmp_path).exists(), "somebody can log in"


async def test_a_wrong_name_and_a_wrong_password_look_alike(app: Inside) -> None:
    await app.first()
    answers = [
        await app.call("POST", "/api/auth/login", {**ROOT, "password": "wrong"}),
        await app.call("POST", "/api/auth/login", {**ROOT, "email": "nobody@example.com"}),
        await app.call("POST", "/api/auth/login", {**ROOT, "org": "other"}),
    ]
    texts = set()
    for answer in answers:
        assert answer.status_code == 401
        texts.add(answer.json()["error"]["message"])
    assert len(texts) == 1
    good = await app.call("POST", "/api/auth/login", {**ROOT, "email": "ROOT@Example.com"})
    assert good.status_code == 200


async def test_who_guesses_is_slowed_down_and_never_locked_out(app: Inside) -> None:
    await app.first()
    wrong = {**ROOT, "password": "wrong"}
    statuses = [(await app.call("POST", "/api/auth/login", wrong)).status_code for _ in range(8)]
    assert statuses[0] == 401
    assert statuses[-1] == 429
    late = await app.call("POST", "/api/auth/login", ROOT)
    assert late.status_code == 429
    assert 0 < int(late.headers["retry-after"]) <= 60
    other = await app.call("POST", "/api/auth/login", {**ROOT, "email": "o@example.com"})
    assert other.status_code == 401, "another account is not slowed down"


async def test_passwords_are_kept_as_argon2id_only(app: Inside) -> None:
    await app.first()
    async with app.state.database.read() as work:
        kept = await work.scalar(select(UserModel.password_hash))
    assert kept is not None
    assert kept.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    short = {"token": "x", "email": "a@example.com", "password": "short"}
    assert (await app.call("POST", "/api/auth/first-start", short)).status_code == 422


async def test_an_access_token_lives_as_long_as_it_says(app: Inside) -> None:
    tokens = await app.first()
    key = tokens["access_token"]
    assert (await app.call("GET", "/api/auth/me", key=key)).status_code == 200
    app.clock.turn(seconds=tokens["expires_in"] - 1)
    assert (await app.call("GET", "/api/auth/me", key=key)).status_code == 200
    app.clock.turn(seconds=2)
    # Not in the leeway either: what was kept is not kept past its end.
    app.clock.turn(seconds=60)
    assert (await app.call("GET", "/api/auth/me", key=key)).status_code == 401


async def refreshed(app: Inside, token: str) -> tuple[int, dict[str, Any]]:
    answer = await app.call("POST", "/api/auth/refresh", {"refresh_token": token})
    return answer.status_code, answer.json()


async def test_refresh_tokens_rotate_and_two_tabs_get_the_same_one(app: Inside) -> None:
    first = (await app.first())["refresh_token"]
    status, second = await refreshed(app, first)
    assert status == 200
    assert second["refresh_token"] != first
    app.clock.turn(seconds=9)
    again, same = await refreshed(app, first)
    assert again == 200
    assert same["refresh_token"] == second["refresh_token"]
    assert (await refreshed(app, second["refresh_token"]))[0] == 200


async def test_a_refresh_token_that_was_used_before_ends_the_login(app: Inside) -> None:
    tokens = await app.first()
    _, second = await refreshed(app, tokens["refresh_token"])
    app.clock.turn(seconds=11)
    assert (await refreshed(app, tokens["refresh_token"]))[0] == 401
    assert (await refreshed(app, second["refresh_token"]))[0] == 401, "the thief's copy is dead too"
    answer = await app.call("GET", "/api/auth/me", key=second["access_token"])
    assert answer.status_code == 401
    fresh = await app.login("root@example.com")
    rows = (await app.call("GET", "/api/admin/audit", key=fresh)).json()["rows"]
    assert [row["action"] for row in rows].count("login.ended") == 1


@pytest.mark.parametrize(
    "token",
    ["", "rt_", "rt_x.1.y", "rt_ses_0.0.0", "x" * 512, "rt_ses_1.999999999999999.00", "rt_é.1.2"],
)
async def test_no_refresh_token_is_made_up(app: Inside, token: str) -> None:
    await app.first()
    assert (await refreshed(app, token))[0] in {401, 422}


async def test_another_number_in_a_refresh_token_is_not_sealed(app: Inside) -> None:
    tokens = await app.first()
    family, number, seal = tokens["refresh_token"].split(".")
    assert number == "1"
    assert (await refreshed(app, f"{family}.2.{seal}"))[0] == 401
    assert (await refreshed(app, tokens["refresh_token"]))[0] == 200, "nothing was ended by it"


async def test_a_login_that_is_not_used_ends(app: Inside) -> None:
    tokens = await app.first()
    app.clock.turn(days=31)
    assert (await refreshed(app, tokens["refresh_token"]))[0] == 401


async def test_logging_out_ends_both_tokens(app: Inside) -> None:
    tokens = await app.first()
    key = tokens["access_token"]
    assert (await app.call("POST", "/api/auth/logout", key=key)).status_code == 204
    assert (await app.call("GET", "/api/auth/me", key=key)).status_code == 401
    assert (await refreshed(app, tokens["refresh_token"]))[0] == 401


async def test_refresh_tokens_are_kept_nowhere(app: Inside) -> None:
    tokens = await app.first()
    async with app.state.database.read() as work:
        row = (await work.execute(select(RefreshTokenModel))).scalar_one()
        kept = [getattr(row, column.name) for column in RefreshTokenModel.__table__.columns]
    seal = tokens["refresh_token"].rpartition(".")[2]
    assert all(seal not in str(value) for value in kept)


async def test_a_role_that_changes_counts_at_once_here(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    user_id, token = await app.add(admin, "kim@example.com", "viewer")
    refused = await app.call("POST", "/api/keys", {"name": "k"}, token)
    assert refused.status_code == 403
    assert refused.json()["error"]["code"] == "role_too_low"
    changed = await app.call("PATCH", f"/api/admin/users/{user_id}", {"role": "user"}, admin)
    assert changed.json()["role"] == "user"
    assert (await app.call("POST", "/api/keys", {"name": "k"}, token)).status_code == 201
    own = (await app.call("GET", "/api/auth/me", key=admin)).json()["user_id"]
    own_rights = await app.call("PATCH", f"/api/admin/users/{own}", {"role": "user"}, admin)
    assert own_rights.status_code == 403


async def test_another_process_sees_a_revoked_key_within_thirty_seconds(
    tmp_path: Path, place: dict[str, Any]
) -> None:
    clock = Hands()
    async with inside(tmp_path, clock, **place) as one, inside(tmp_path, clock, **place) as two:
        admin = (await one.first())["access_token"]
        key = await one.key(admin)
        assert (await two.call("GET", "/api/auth/me", key=key)).status_code == 200
        assert (await one.call("DELETE", f"/api/keys/{key[5:13]}", key=admin)).status_code == 204
        assert (await one.call("GET", "/api/auth/me", key=key)).status_code == 401
        clock.turn(seconds=30)
        assert (await two.call("GET", "/api/auth/me", key=key)).status_code == 401


async def test_who_is_disabled_is_out_with_all_their_keys(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    user_id, token = await app.add(admin, "kim@example.com", "user")
    key = await app.key(token)
    assert (await app.call("GET", "/api/auth/me", key=key)).status_code == 200
    await app.call("PATCH", f"/api/admin/users/{user_id}", {"disabled": True}, admin)
    for credential in (key, token):
        assert (await app.call("GET", "/api/auth/me", key=credential)).status_code == 401
    login = {"email": "kim@example.com", "password": PASSWORD}
    assert (await app.call("POST", "/api/auth/login", login)).status_code == 401
    await app.call("PATCH", f"/api/admin/users/{user_id}", {"disabled": False}, admin)
    assert (await app.call("GET", "/api/auth/me", key=token)).status_code == 401, "logged out"
    assert (await app.call("GET", "/api/auth/me", key=key)).status_code == 200


async def test_the_audit_log_tells_and_cannot_be_changed(app: Inside) -> None:
    from sqlalchemy import text

    admin = (await app.first())["access_token"]
    await app.key(admin)
    answer = await app.call("GET", "/api/admin/audit?limit=2", key=admin)
    page = answer.json()
    assert [row["action"] for row in page["rows"]] == ["key.create", "login"]
    rest = (await app.call("GET", f"/api/admin/audit?cursor={page['next']}", key=admin)).json()
    assert [row["action"] for row in rest["rows"]] == ["first_start"]
    assert rest["next"] is None
    whole = (await app.call("GET", "/api/admin/audit/verify", key=admin)).json()
    assert (whole["ok"], whole["rows"]) == (True, 3)
    async with app.state.database.write() as work:
        await work.execute(text("UPDATE audit_log SET actor = 'user:nobody' WHERE seq = 2"))
    broken = (await app.call("GET", "/api/admin/audit/verify", key=admin)).json()
    assert (broken["ok"], broken["first_difference"]) == (False, 2)
    async with app.state.database.write() as work:
        await work.execute(text("DELETE FROM audit_log WHERE seq = 2"))
    assert (await app.call("GET", "/api/admin/audit/verify", key=admin)).json()["ok"] is False
