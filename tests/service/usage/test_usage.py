"""Usage on both databases: what is shown is the ledger, to the last pico-dollar."""

from __future__ import annotations

import asyncio
import itertools
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from dure import costs
from dure.db import tables
from dure.service.kit.clock import microseconds
from dure.service.usage import poster as posting
from dure.service.usage.poster import LedgerPoster, day_start, hour_start, org_of
from dure.service.usage.service import _series, start_of
from dure.testing import upstream
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dure.service.usage.schemas import Step
    from dure.testing.upstream import Upstream

    from tests.service.inside import Inside

_numbers = itertools.count()


@pytest.fixture(scope="module")
def provider() -> Iterator[Upstream]:
    with upstream.start(seed=5) as running:
        yield running


def body(text: str, model: str = "gpt-4o-mini") -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 20}


async def posted(app: Inside) -> LedgerPoster:
    poster = LedgerPoster(app.state.database, app.data)
    for _ in range(50):  # the app posts too: whoever comes first
        await poster.post()
        async with app.state.database.read() as work:
            calls = await work.scalar(select(func.count()).select_from(tables.LlmCallModel))
        if calls == costs.replay_ledger(app.data)["calls"]:
            return poster
        await asyncio.sleep(0.1)
    raise AssertionError("the ledger was not taken over")


async def sums(app: Inside, model: Any) -> tuple[int, ...]:
    names = ("calls", "tokens", "nano", "pico_rem")
    query = select(*(func.sum(getattr(model, name)) for name in names))
    async with app.state.database.read() as work:
        calls, tokens, nano, rest = map(int, (await work.execute(query)).one())
    return calls, tokens, nano * 1000 + rest


async def test_shown_is_settled_to_the_last_pico_dollar(app: Inside, provider: Upstream) -> None:
    admin = (await app.first())["access_token"]
    user_id, kim = await app.add(admin, "kim@example.com", "user")
    key = await app.key(kim)
    before = len(provider.log())
    for token, model in ((admin, "gpt-4o"), (kim, "gpt-4o-mini"), (key, "gpt-4o-mini")):
        for stream in (False, True):
            asked = {**body("How many?", model), "stream": stream}
            answer = await app.call(
                "POST", "/v1/chat/completions", asked, token, x_dure_conversation="c-1"
            )
            assert answer.status_code == 200, answer.text
    await app.call("POST", "/v1/embeddings", {"model": "text-embedding-3-small", "input": "a"}, key)
    await posted(app)
    truth = costs.replay_ledger(app.data)
    whole = (truth["calls"], truth["tokens"], truth["spent_pico"])
    for table in (tables.UsageQuarterModel, tables.UsageStatisticsModel, tables.UsageDailyModel):
        assert await sums(app, table) == whole
    wire = provider.log()[before:]
    assert len(wire) == truth["calls"] == 7

    shown = (await app.call("GET", "/api/admin/usage/statistics", key=admin)).json()
    month = shown["windows"]["month"]
    assert (month["calls"], month["tokens"], month["cost_pico"]) == whole
    assert sum(point["cost_pico"] for point in shown["series"]) == whole[2]
    assert sum(model["tokens"] for model in shown["models"]) == whole[1]
    assert sum(model["share"] for model in shown["models"]) == pytest.approx(1.0)
    assert {user["email"] for user in shown["top_users"]} == {"root@example.com", "kim@example.com"}

    listed = (await app.call("GET", "/api/admin/usage/users?limit=1", key=admin)).json()
    rest = await app.call("GET", f"/api/admin/usage/users?cursor={listed['next']}", key=admin)
    users = listed["users"] + rest.json()["users"]
    assert sum(user["cost_pico"] for user in users) == whole[2]
    one = next(user for user in users if user["user_id"] == user_id)
    assert one["input_tokens"] + one["output_tokens"] == one["tokens"] > 0

    path = f"/api/admin/usage/users/{user_id}"
    detail = (await app.call("GET", path, key=admin)).json()
    assert detail["user"]["cost_pico"] == one["cost_pico"]
    assert [c["conversation"] for c in detail["conversations"]] == ["c-1"]
    first = (await app.call("GET", f"{path}/conversations/c-1?limit=3", key=admin)).json()
    more = await app.call(
        "GET", f"{path}/conversations/c-1?limit=3&cursor={first['next']}", key=admin
    )
    calls = first["calls"] + more.json()["calls"]
    assert len({call["call_id"] for call in calls}) == 4
    assert sum(call["cost_pico"] for call in calls) == detail["conversations"][0]["cost_pico"]
    mine = (await app.call("GET", "/api/usage", key=kim)).json()
    assert mine["user"] == detail["user"]
    assert (await app.call("GET", "/api/me/usage", key=key)).json()["user"] == detail["user"]


async def test_nobody_sees_the_usage_of_others(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    user_id, kim = await app.add(admin, "kim@example.com", "user")
    other = {"id": "other", "name": "Other"}
    assert (await app.call("POST", "/api/admin/orgs", other, admin)).status_code == 201
    for path in ("statistics", "users", f"users/{user_id}"):
        assert (await app.call("GET", f"/api/admin/usage/{path}", key=kim)).status_code == 403
    key = await app.key(admin, role="admin")
    everything = "/api/admin/usage/statistics?org=*"
    assert (await app.call("GET", everything, key=key)).status_code == 403, "a key is no operator"
    assert (await app.call("GET", everything, key=admin)).json()["org"] == "*"
    foreign = "/api/admin/usage/users/usr_nobody"
    assert (await app.call("GET", foreign, key=admin)).status_code == 404
    assert (await app.call("GET", f"{foreign}/conversations/x", key=admin)).status_code == 404


async def test_two_who_post_at_once_count_once(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    for n in range(3):
        await app.call("POST", "/v1/chat/completions", body(f"{n}"), admin)
    posters = [LedgerPoster(app.state.database, app.data) for _ in range(4)]
    for _ in range(3):
        await asyncio.gather(*(poster.post() for poster in posters))
    await posted(app)
    assert (await sums(app, tables.UsageDailyModel))[0] == 3


async def test_what_breaks_off_has_counted_nothing(
    app: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin = (await app.first())["access_token"]
    made = posting.upserts

    async def break_off(work: Any, table: Any, rows: Any, **more: Any) -> None:
        if table.name == "usage_daily":
            raise RuntimeError("the power is gone")
        await made(work, table, rows, **more)

    monkeypatch.setattr(posting, "upserts", break_off)
    await app.call("POST", "/v1/chat/completions", body("x"), admin)
    with pytest.raises(RuntimeError, match="power"):
        await LedgerPoster(app.state.database, app.data).post()
    async with app.state.database.read() as work:
        for model in (tables.LlmCallModel, tables.UsageQuarterModel, tables.PostedLedgerModel):
            assert await work.scalar(select(func.count()).select_from(model)) == 0
    monkeypatch.undo()
    await posted(app)
    assert (await sums(app, tables.UsageDailyModel))[0] == 1


async def test_a_hold_that_ends_later_is_found_again(app: Inside) -> None:
    await app.first()
    account = app.state.client.view.native().account
    hold = account.reserve(
        ["org:default", "user:default/usr_x", "tag:key/k1"],
        input_pico=1000, input_tokens=5, output_rate=10, max_output=10,
    )  # fmt: skip
    account.sent(hold)
    poster = LedgerPoster(app.state.database, app.data)
    await poster.post()
    account.settle(hold, pico=1234, input_tokens=5, output_tokens=2)
    for _ in range(50):
        await poster.post()
        async with app.state.database.read() as work:
            row = await work.scalar(select(tables.LlmCallModel))
        if row is not None:
            break
        await asyncio.sleep(0.1)
    assert row is not None
    assert (row.org_id, row.user_id, row.api_key_id) == ("default", "usr_x", "k1")
    assert row.cost_pico == 1234
    async with app.state.database.read() as work:
        assert await work.scalar(select(func.count()).select_from(tables.OpenCallModel)) == 0


async def test_a_crossed_threshold_is_told_once(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    pool = {"max_tokens": 200}
    set_ = await app.call("PUT", "/api/admin/usage/limits/pool", pool, admin)
    assert set_.status_code == 200
    for n in range(6):
        await app.call("POST", "/v1/chat/completions", body(f"number {n}"), admin)
    await posted(app)
    await LedgerPoster(app.state.database, app.data).post()
    async with app.state.database.read() as work:
        rows = (await work.scalars(select(tables.TokenUsageAlertModel))).all()
    assert len({row.percent for row in rows}) == len(rows)
    used = (await app.state.client.budgets.read("org:default")).used
    assert sorted(row.percent for row in rows) == [p for p in (80, 90, 100) if used >= 2 * p]
    assert rows, "the calls were meant to cross one"
    assert {(row.org_id, row.scope, row.maximum) for row in rows} == {
        ("default", "org:default", 200)
    }


@pytest.mark.parametrize(
    ("zone", "moment", "day", "hour"),
    [
        ("Asia/Seoul", "2026-11-21T14:59:00Z", "2026-11-20T15:00:00Z", "2026-11-21T14:00:00Z"),
        ("Asia/Seoul", "2026-11-21T15:00:00Z", "2026-11-21T15:00:00Z", "2026-11-21T15:00:00Z"),
        ("Asia/Kathmandu", "2026-11-21T18:20:00Z", "2026-11-21T18:15:00Z", "2026-11-21T18:15:00Z"),
        ("America/Sao_Paulo", "2018-11-04T12:00:00Z", "2018-11-04T03:00:00Z",
         "2018-11-04T12:00:00Z"),  # a day without midnight
        ("America/New_York", "2026-11-01T06:30:00Z", "2026-11-01T04:00:00Z",
         "2026-11-01T06:00:00Z"),  # the second of two ones
    ],
)  # fmt: skip
def test_days_and_hours_are_local(zone: str, moment: str, day: str, hour: str) -> None:
    us = microseconds(datetime.fromisoformat(moment))
    assert day_start(us, ZoneInfo(zone)) == microseconds(datetime.fromisoformat(day))
    assert hour_start(us, ZoneInfo(zone)) == microseconds(datetime.fromisoformat(hour))


STEPS: tuple[Step, ...] = ("day", "week", "month")
ZONES = ["UTC", "Asia/Seoul", "Asia/Kathmandu", "America/New_York", "America/Sao_Paulo"]


@given(
    st.sampled_from(ZONES),
    st.lists(
        st.tuples(
            st.datetimes(datetime(2015, 1, 1), datetime(2027, 1, 1)), st.integers(-(10**15), 10**18)
        )
    ),
)
def test_days_weeks_and_months_add_up_to_the_same(
    zone: str, calls: list[tuple[datetime, int]]
) -> None:
    local = ZoneInfo(zone)
    rows = []
    for at, pico in calls:
        nano, rest = divmod(pico, 1000)
        day = day_start(microseconds(at.replace(tzinfo=UTC)), local)
        rows.append((day, 1, 0, 0, 7, nano, rest))
        for step in STEPS[1:]:
            first = start_of(day, step, local)
            assert first <= day < first + timedelta(days=32) // timedelta(microseconds=1)
            assert start_of(first, step, local) == first
    for step in STEPS:
        points = _series(rows, step, local)
        assert sum(point.cost_pico for point in points) == sum(pico for _, pico in calls)
        assert sum(point.calls for point in points) == len(calls)


def test_scopes_say_whose_they_are() -> None:
    assert org_of("org:acme") == "acme"
    assert org_of("user:acme/usr_1") == org_of("conversation:acme/c") == "acme"
    assert org_of("user:kim") is org_of("model:gpt-4o") is org_of("service:x/y") is None
