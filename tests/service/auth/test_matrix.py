"""Every operation of the schema x callers of two organisations: a route without a row fails."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest
from dure.db.tables import ProviderObjectModel
from dure.service.settings import Issuer
from dure.service.usage.poster import LedgerPoster

from tests.service.auth.issuer import TestIssuer
from tests.service.inside import Inside, inside

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}
RANK = {"viewer": 1, "user": 2, "admin": 3}
Operation = tuple[str, str, dict[str, Any]]


async def _made(app: Inside, token: str, path: str, body: object, name: str = "id") -> str:
    answer = await app.call("POST", path, body, token)
    assert answer.status_code in {200, 201, 202}, answer.text
    found: str = answer.json()[name]
    return found


async def _key(app: Inside, token: str) -> str:
    return await _made(app, token, "/api/keys", {"name": "theirs"})


async def _user(app: Inside, token: str) -> str:
    me = await app.call("GET", "/api/auth/me", key=token)
    found: str = me.json()["user_id"]
    return found


async def _org(app: Inside, token: str) -> str:
    me = await app.call("GET", "/api/auth/me", key=token)
    found: str = me.json()["org_id"]
    return found


async def _conversation(app: Inside, token: str) -> str:
    answer = await app.call(
        "POST", "/v1/chat/completions", CHAT, token, x_dure_conversation="talk-of-theirs"
    )
    assert answer.status_code == 200, answer.text
    return "talk-of-theirs"


async def _approval(app: Inside, token: str) -> str:
    limit = {"max_tokens": 1, "policy": "approval"}
    user = await _user(app, token)
    path = f"/api/admin/usage/limits/users/{user}"
    set_ = await app.call("PUT", path, limit, token)
    assert set_.status_code == 200, set_.text
    refused = await app.call("POST", "/v1/chat/completions", {**CHAT, "max_tokens": 9}, token)
    error = refused.json()["error"]
    await app.call("DELETE", path, key=token)
    found: str = error.get("approval_id") or "apr_none"
    return found


async def _document(app: Inside, token: str) -> str:
    body = {"text": "The house rules of the others.", "title": "rules"}
    answer = await app.call("POST", "/api/knowledge/documents", body, token)
    assert answer.status_code == 202, answer.text
    found: str = answer.json()["id"]
    for _ in range(600):  # indexed, so that nothing changes by itself
        shown = await app.call("GET", f"/api/knowledge/documents/{found}", key=token)
        if shown.json()["state"] in {"ready", "failed"}:
            break
        await asyncio.sleep(0.05)
    return found


async def _at_provider(app: Inside, token: str) -> str:
    """A thing in the provider's account that the other tenant owns."""
    me = (await app.call("GET", "/api/auth/me", key=token)).json()
    async with app.state.database.write() as work:
        for kind in ("response", "file", "batch"):
            work.add(
                ProviderObjectModel(
                    kind=kind,
                    id="obj-theirs",
                    org_id=me["org_id"],
                    owner_id=me["user_id"],
                    created_at=app.clock.now(),
                )
            )
    return "obj-theirs"


async def _same(app: Inside, token: str) -> str:
    del app, token
    return "obj-theirs"


Maker = Callable[[Inside, str], Awaitable[str]]
# How a thing of each kind is made; None: the name is of the installation, not of a tenant.
MAKERS: dict[str, Maker | None] = {
    "key_id": _key,
    "user_id": _user,
    "org_id": _org,
    "conversation": _conversation,
    "approval_id": _approval,
    "document_id": _document,
    "response_id": _at_provider,
    "file_id": _same,
    "batch_id": _same,
    "model_id": None,
    "service_name": None,
    "issuer": None,
    "name": None,
}

# Kinds whose rooms try two tenants themselves; their routes are left out of the walk by ids.
ELSEWHERE = {
    *("channel_id", "content_id", "dataset_id", "delivery_id", "evaluation_id", "label"),
    *("provider_key_id", "report_id", "rule_id", "template_id", "version"),
}


@pytest.fixture
def issuer() -> Iterator[TestIssuer]:
    running = TestIssuer()
    yield running
    running.close()


@pytest.fixture
async def app(tmp_path: Path, place: dict[str, Any], issuer: TestIssuer) -> AsyncIterator[Inside]:
    other = Issuer(
        name="other", issuer=issuer.url, audience="dure-api", client_id="portal", org="other"
    )
    async with inside(tmp_path, issuers=(other,), **place) as found:
        yield found


def operations(app: Inside) -> Iterator[Operation]:
    for path, methods in app.app.openapi()["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def names_in(path: str) -> list[str]:
    return re.findall(r"\{(\w+)\}", path)


def example_of(app: Inside, operation: dict[str, Any]) -> Any:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if content is None:
        return None
    name = content["schema"].get("$ref", "").rpartition("/")[2]
    schemas = app.app.openapi()["components"]["schemas"]
    return content.get("example") or schemas.get(name, {}).get("example") or {}


def test_every_name_in_a_path_is_known(tmp_path: Path) -> None:
    from dure.service.app import create_app
    from dure.service.settings import Settings

    app = create_app(Settings(data=tmp_path, access_log="off"))
    named = {name for path in app.openapi()["paths"] for name in names_in(path)}
    assert named - set(MAKERS) - ELSEWHERE == set(), (
        "say in MAKERS how such a thing is made, or that it is none"
    )


def raw(token: str) -> dict[str, str]:
    kind = "application/octet-stream"
    return {"authorization": f"Bearer {token}", "content-type": kind, "upload-offset": "0"}


async def test_the_things_of_others_are_not_there(app: Inside, issuer: TestIssuer) -> None:
    root = (await app.first())["access_token"]
    admin = await app.key(root, role="admin")
    _, mine = await app.add(root, "mine@example.com", "admin")
    foreign = issuer.token(realm_access={"roles": ["admin"]})
    await app.call("GET", "/api/auth/me", key=foreign)
    theirs = {name: await make(app, foreign) for name, make in MAKERS.items() if make is not None}
    await LedgerPoster(app.state.database, app.data).post()
    before = await told(app, foreign)
    tried = 0
    for method, path, operation in operations(app):
        kinds = [name for name in names_in(path) if MAKERS.get(name) is not None]
        if not kinds or ELSEWHERE & set(names_in(path)):
            continue
        asked = re.sub(r"\{(\w+)\}", lambda found: theirs.get(found[1], "x"), path)
        for token in (mine, admin):
            if method == "PATCH" and path.endswith("/content"):
                answer = await app.client.patch(asked, content=b"x", headers=raw(token))
            else:
                answer = await app.call(method, asked, example_of(app, operation), token)
            only_operators = operation["x-policy"]["operator"]
            expected = {403} if only_operators else {404}
            assert answer.status_code in expected, (method, path, answer.text)
            tried += 1
    assert tried >= 20
    assert await told(app, foreign) == before, "nothing of theirs has changed"


async def told(app: Inside, token: str) -> dict[str, Any]:
    """Return every list and figure that a caller sees, but for the time of day.

    A look at an export is itself a row of the audit: of that only what is not so is kept.
    """
    found = {}
    for method, path, operation in operations(app):
        if method == "GET" and not names_in(path) and operation.get("x-policy", {}).get("owner"):
            answer = await app.call("GET", path, key=token)
            is_json = answer.headers.get("content-type", "").startswith("application/json")
            body = answer.json() if is_json else answer.text
            body = body if answer.status_code == 200 else answer.status_code
            if isinstance(body, dict):
                body.pop("now", None)
                if "/audit" in path:
                    for name in ("rows", "head"):
                        body.pop(name, None)
            found[path] = body
    return found


async def test_no_list_shows_what_others_have(app: Inside, issuer: TestIssuer) -> None:
    root = (await app.first())["access_token"]
    await app.key(root)
    foreign = issuer.token(realm_access={"roles": ["admin"]})
    theirs = {name: await make(app, foreign) for name, make in MAKERS.items() if make is not None}
    shown = await told(app, root)
    assert len(shown) >= 10
    for path, body in shown.items():
        for name in ("key_id", "user_id", "conversation", "approval_id"):
            assert theirs[name] not in str(body), path
    me = (await app.call("GET", "/api/auth/me", key=root)).json()["user_id"]
    for path, body in (await told(app, foreign)).items():
        assert me not in str(body), path


async def test_a_key_for_something_else_opens_nothing(app: Inside) -> None:
    root = (await app.first())["access_token"]
    narrow = await app.key(root, role="admin", scopes=["nothing:at-all"])
    tried = 0
    for method, path, operation in operations(app):
        policy = operation.get("x-policy")
        if policy is None or policy["scope"] is None:
            continue
        asked = re.sub(r"\{\w+\}", "x", path)
        answer = await app.call(method, asked, example_of(app, operation), narrow)
        assert answer.status_code == 403, (method, path, answer.text)
        tried += 1
    assert tried >= 40


async def test_every_other_way_to_a_route_is_as_closed(app: Inside) -> None:
    await app.first()
    tried = 0
    for path, methods in app.app.openapi()["paths"].items():
        closed = any("security" in operation for operation in methods.values())
        asked = re.sub(r"\{\w+\}", "x", path)
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"):
            for form in (asked, asked + "/", "/" + asked, asked + "/..", asked.upper()):
                answer = await app.call(method, form)
                own = form == asked and not closed
                assert own or answer.status_code in {401, 404, 405}, (method, form, answer.text)
                tried += 1
    assert tried > 1000


async def test_roles_are_ranks(app: Inside) -> None:
    root = (await app.first())["access_token"]
    callers = {role: (await app.add(root, f"{role}@e.com", role))[1] for role in RANK}
    for method, path, operation in operations(app):
        policy = operation.get("x-policy")
        if policy is None or path.endswith("/logout"):
            continue
        asked = re.sub(r"\{\w+\}", "x", path)
        assert (await app.call(method, asked)).status_code == 401, (method, path)
        for role, token in callers.items():
            answer = await app.call(method, asked, key=token)
            low = RANK[role] < RANK[policy["role"]] or policy["operator"]
            assert (answer.status_code == 403) == low or (
                answer.status_code == 403 and answer.json()["error"]["code"] not in {"role_too_low"}
            ), (method, path, role, answer.text)
