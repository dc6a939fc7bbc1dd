"""Limits on both databases: what is shown is enforced, before the provider is asked."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

import pytest
from dure import costs
from dure.testing import upstream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dure.testing.upstream import Upstream

    from tests.service.inside import Inside

_numbers = itertools.count()
LIMITS = "/api/admin/usage/limits"


@pytest.fixture(scope="module")
def provider() -> Iterator[Upstream]:
    with upstream.start(seed=5) as running:
        yield running


async def chat(app: Inside, token: str, **more: Any) -> Any:
    body = {
        "model": "gpt-4o-mini",
        "messages": [{"role": "user", "content": "hello"}],
        "max_tokens": 20,
        **more,
    }
    return await app.call("POST", "/v1/chat/completions", body, token)


async def test_a_blocked_person_is_refused_before_the_provider_is_asked(
    app: Inside, provider: Upstream
) -> None:
    admin = (await app.first())["access_token"]
    user_id, kim = await app.add(admin, "kim@example.com", "user")
    key = await app.key(kim)
    assert (await chat(app, kim)).status_code == 200
    made = await app.call(
        "POST", LIMITS, {"user_id": user_id, "max_tokens": 60, "policy": "차단"}, admin
    )
    assert made.status_code == 201, made.text
    assert (made.json()["policy"], made.json()["policy_label"]) == ("block", "차단")
    statuses = [(await chat(app, kim)).status_code for _ in range(4)]
    before = len(provider.log())
    refused = await chat(app, key)
    assert refused.status_code == 429, (statuses, refused.text)
    error = refused.json()["error"]
    assert error["code"] == "limit_exceeded"
    assert error["resets_at"]
    assert refused.headers["x-should-retry"] == "false"
    assert len(provider.log()) == before
    assert (await chat(app, admin)).status_code == 200, "another person has no limit"

    shown = (await app.call("GET", LIMITS, key=admin)).json()["users"][0]
    budget = await app.state.client.budgets.read(f"user:default/{user_id}")
    assert (shown["used"], shown["left"]) == (budget.used, budget.left)
    assert shown["used"] <= 60, "never overspent"
    assert shown["used"] == sum(
        one["tokens"] for one in provider_usage(app) if f"user:default/{user_id}" in one["scopes"]
    )
    larger = await chat(app, kim, max_tokens=5000)
    assert larger.status_code == 400
    assert larger.json()["error"]["code"] == "request_exceeds_limit"

    gone = await app.call("DELETE", f"{LIMITS}/users/{user_id}", key=admin)
    assert gone.status_code == 204
    assert (await chat(app, kim)).status_code == 200, "without a limit again"
    assert (await app.call("DELETE", f"{LIMITS}/users/{user_id}", key=admin)).status_code == 404


def provider_usage(app: Inside) -> list[dict[str, Any]]:
    """Return what the ledger has of each settled call."""
    holds: dict[Any, Any] = {}
    found = []
    for record in costs.ledger_records(app.data):
        if record["type"] == "RESERVE":
            holds[record["id"]] = record["scopes"]
        elif record["type"] == "SETTLE":
            found.append({"tokens": record["tokens"], "scopes": holds[record["id"]]})
    return found


async def test_a_default_counts_for_whoever_has_none_and_a_pool_for_all(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    user_id, kim = await app.add(admin, "kim@example.com", "user")
    default = {"max_tokens": 30, "policy": "block"}
    await app.call("PUT", f"{LIMITS}/users/*", default, admin)
    assert (await chat(app, kim, max_tokens=100)).status_code == 400, "more than the whole limit"
    own = {"max_tokens": 100_000, "policy": "block"}
    await app.call("PUT", f"{LIMITS}/users/{user_id}", own, admin)
    assert (await chat(app, kim, max_tokens=100)).status_code == 200
    pool = {"max_tokens": 40, "policy": "block"}
    assert (await app.call("PUT", f"{LIMITS}/pool", pool, admin)).status_code == 200
    refused = [await chat(app, kim) for _ in range(3)][-1]
    assert refused.status_code == 429
    listed = (await app.call("GET", LIMITS, key=admin)).json()
    assert listed["pool"]["max_tokens"] == 40
    assert listed["default"]["max_tokens"] == 30
    assert listed["default"]["used"] is None
    assert [one["user_id"] for one in listed["users"]] == [user_id]
    assert (await app.call("DELETE", f"{LIMITS}/pool", key=admin)).status_code == 204
    assert (await chat(app, kim)).status_code == 200


async def test_a_warned_person_goes_on_and_is_told(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    user_id, kim = await app.add(admin, "kim@example.com", "user")
    limit = {"max_tokens": 40, "policy": "경고", "alerts": [50]}
    await app.call("PUT", f"{LIMITS}/users/{user_id}", limit, admin)
    for _ in range(3):
        assert (await chat(app, kim)).status_code == 200
    await app.app.state.budgets.look()
    for stream in (False, True):
        told = (await chat(app, kim, stream=stream)).headers["x-usage-warning"]
        assert told.startswith(f"scope=user:default/{user_id};percent=")
        assert told.endswith("limit=40")
    shown = (await app.call("GET", LIMITS, key=admin)).json()["users"][0]
    assert shown["colour"] == "red"
    for _ in range(50):
        alerts = (await app.call("GET", "/api/admin/usage/alerts", key=admin)).json()["alerts"]
        if alerts:
            break
        await asyncio.sleep(0.1)
    assert [(one["percent"], one["maximum"]) for one in alerts] == [(50, 40)]


async def over(app: Inside, admin: str) -> tuple[str, str, dict[str, Any]]:
    """Return a person whose limit asks for approval, their token, and their refusal."""
    user_id, kim = await app.add(admin, "kim@example.com", "user")
    limit = {"max_tokens": 45, "policy": "관리자 승인"}
    await app.call("PUT", f"{LIMITS}/users/{user_id}", limit, admin)
    for _ in range(5):
        answer = await chat(app, kim)
        if answer.status_code == 403:
            return user_id, kim, answer.json()["error"]
        assert answer.status_code == 200, answer.text
    raise AssertionError("it was never refused")


async def test_an_approval_is_asked_for_once_and_adds_to_its_scope_alone(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    user_id, kim, error = await over(app, admin)
    assert error["code"] == "approval_required"
    again = await asyncio.gather(*(chat(app, kim) for _ in range(4)))
    assert {one.json()["error"]["approval_id"] for one in again} == {error["approval_id"]}
    listed = (await app.call("GET", "/api/admin/approvals?state=pending", key=admin)).json()
    assert [one["id"] for one in listed["approvals"]] == [error["approval_id"]]
    assert listed["approvals"][0]["scope"] == f"user:default/{user_id}"

    at = f"/api/admin/approvals/{error['approval_id']}"
    assert (await app.call("POST", f"{at}/grant", {"amount": 100}, kim)).status_code == 403
    late = {"amount": 100, "until": "2100-01-01T00:00:00Z"}
    assert (await app.call("POST", f"{at}/grant", late, admin)).status_code == 400
    granted = await app.call("POST", f"{at}/grant", {"amount": 100}, admin)
    assert (granted.status_code, granted.json()["state"]) == (200, "granted")
    assert (await chat(app, kim)).status_code == 200
    second = await app.call("POST", f"{at}/refuse", None, admin)
    assert (second.status_code, second.json()["error"]["code"]) == (409, "already_decided")
    budget = await app.state.client.budgets.read(f"user:default/{user_id}")
    assert (budget.limit, budget.granted) == (45, 100)


async def test_a_refused_request_stays_refused_and_the_next_one_is_new(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    _, kim, error = await over(app, admin)
    at = f"/api/admin/approvals/{error['approval_id']}"
    assert (await app.call("POST", f"{at}/refuse", None, admin)).json()["state"] == "refused"
    next_one = (await chat(app, kim)).json()["error"]["approval_id"]
    assert next_one != error["approval_id"]
    assert (
        await app.call("POST", "/api/admin/approvals/apr_no/refuse", None, admin)
    ).status_code == 404


async def test_nobody_decides_their_own_request(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    own = (await app.call("GET", "/api/auth/me", key=admin)).json()["user_id"]
    limit = {"max_tokens": 30, "policy": "approval"}
    await app.call("PUT", f"{LIMITS}/users/{own}", limit, admin)
    answers = [await chat(app, admin) for _ in range(4)]
    refused = next(one for one in answers if one.status_code == 403).json()["error"]
    at = f"/api/admin/approvals/{refused['approval_id']}/grant"
    mine = await app.call("POST", at, {"amount": 10}, admin)
    assert (mine.status_code, mine.json()["error"]["code"]) == (403, "own_request")


@pytest.mark.parametrize(
    "limit",
    [
        {"max_tokens": 0},
        {"max_tokens": -1},
        {"max_tokens": 2**60},
        {"max_tokens": 1.5},
        {"max_tokens": 10, "policy": "free"},
        {"max_tokens": 10, "alerts": [0]},
        {"max_tokens": 10, "org_id": "other"},
    ],
)
async def test_limits_that_cannot_be_are_refused(app: Inside, limit: dict[str, Any]) -> None:
    admin = (await app.first())["access_token"]
    assert (await app.call("PUT", f"{LIMITS}/pool", limit, admin)).status_code == 422
    assert (
        await app.call("PUT", f"{LIMITS}/users/nobody", {"max_tokens": 5}, admin)
    ).status_code == 404
