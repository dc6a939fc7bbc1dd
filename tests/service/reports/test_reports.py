"""Reports on both databases: every figure is the sum of rows, recomputed here in Python."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from dure.db import tables
from dure.service.kit import leases
from dure.service.kit.clock import microseconds
from dure.service.reports.formats import safe_cell
from dure.service.reports.service import span_of
from dure.service.reports.tasks import Watch, find_anomalies
from sqlalchemy import func, select

if TYPE_CHECKING:
    from tests.service.inside import Inside

AT = "/api/admin/usage"
SEOUL = ZoneInfo("Asia/Seoul")
DAY = timedelta(days=1)


async def spent(
    app: Inside, rows: list[tuple[datetime, str, str, int]], org: str = "default"
) -> None:
    """Write (local time, person, model, tokens) as the poster sums them."""
    async with app.state.database.write() as work:
        for at, user, model, tokens in rows:
            hour = at.replace(minute=0, second=0, microsecond=0)
            places: tuple[tuple[Any, datetime], ...] = (
                (tables.UsageStatisticsModel, hour),
                (tables.UsageDailyModel, hour.replace(hour=0)),
            )
            for table, start in places:
                row = {
                    "start_us": microseconds(start.astimezone(UTC)), "org_id": org,
                    "user_id": user, "api_key_id": "", "model": model, "service": "",
                }  # fmt: skip
                old = await work.get(table, tuple(row.values()))
                if old is None:
                    work.add(table(**row, calls=1, input_tokens=tokens, output_tokens=0,
                                   tokens=tokens, nano=tokens * 150, pico_rem=7))  # fmt: skip
                else:
                    old.calls += 1
                    old.input_tokens += tokens
                    old.tokens += tokens
                    old.nano += tokens * 150
                    old.pico_rem += 7
                await work.flush()


async def ready(app: Inside, now: datetime) -> str:
    """Return an administrator's token, in Seoul, at a moment."""
    await app.first()
    app.clock.time = now.astimezone(UTC)
    admin = await app.login("root@example.com")
    zone = {"zone": "Asia/Seoul"}
    assert (await app.call("PATCH", "/api/admin/orgs/default", zone, admin)).status_code == 200
    return admin


NOW = datetime(2026, 11, 18, 10, 30, tzinfo=SEOUL)  # a Wednesday


async def test_a_report_is_its_window_and_stays_as_it_was_made(app: Inside) -> None:
    admin = await ready(app, NOW)
    week = datetime(2026, 11, 9, 9, tzinfo=SEOUL)  # the Monday of the last whole week
    inside = [(week + i * DAY, f"usr_{i % 3}", f"m{i % 2}", 100 * (i + 1)) for i in range(7)]
    before = [(week - timedelta(hours=12), "usr_0", "m0", 7000)]
    after = [(week + 7 * DAY, "usr_0", "m0", 50_000)]
    await spent(app, inside + before + after)
    made = await app.call("POST", f"{AT}/reports", {"kind": "weekly"}, admin)
    assert made.status_code == 201, made.text
    content = made.json()["content"]
    assert content["totals"]["tokens"] == sum(one[3] for one in inside) == 2800
    assert content["totals"]["cost_pico"] == 2800 * 150_000 + 7 * 7
    assert content["before"]["tokens"] == 7000
    assert [one["tokens"] for one in content["days"]] == [one[3] for one in inside]
    assert content["days"][0]["day"] == "2026-11-09"
    assert sum(one["tokens"] for one in content["users"]) == 2800
    assert {one["model"] for one in content["models"]} == {"m0", "m1"}
    await spent(app, inside)
    again = await app.call("POST", f"{AT}/reports", {"kind": "weekly"}, admin)
    assert again.json() == made.json(), "made once for its window"
    day = {"kind": "weekly", "day": "2026-11-11"}
    assert (await app.call("POST", f"{AT}/reports", day, admin)).json()["id"] == made.json()["id"]
    running = {"kind": "weekly", "day": "2026-11-18"}
    assert (await app.call("POST", f"{AT}/reports", running, admin)).status_code == 422
    month = await app.call("POST", f"{AT}/reports", {"kind": "monthly"}, admin)
    assert month.json()["start"] == "2026-09-30T15:00:00Z", "October in Seoul"
    listed = (await app.call("GET", f"{AT}/reports?limit=1", key=admin)).json()
    rest = await app.call("GET", f"{AT}/reports?cursor={listed['next']}", key=admin)
    kinds = [one["kind"] for one in listed["reports"] + rest.json()["reports"]]
    assert kinds == ["weekly", "monthly"]


async def test_a_report_is_given_as_json_csv_and_html_without_formulas(app: Inside) -> None:
    admin = await ready(app, NOW)
    week = datetime(2026, 11, 9, 9, tzinfo=SEOUL)
    bad = "=HYPERLINK(1)"
    await spent(app, [(week, bad, "<script>", 100), (week, "@x", "-1+1", 5)])
    made = (await app.call("POST", f"{AT}/reports", {"kind": "weekly"}, admin)).json()
    at = f"{AT}/reports/{made['id']}"
    assert (await app.call("GET", at, key=admin)).json() == made
    table = await app.call("GET", f"{at}?format=csv", key=admin)
    assert table.headers["content-type"].startswith("text/csv")
    rows = list(csv.reader(io.StringIO(table.text)))
    cells = {cell for row in rows for cell in row}
    assert f"'{bad}" in cells
    assert {"'@x", "'-1+1"} <= cells
    assert not any(str(cell).startswith(("=", "+", "-", "@")) for cell in cells)
    page = await app.call("GET", f"{at}?format=html", key=admin)
    assert "<script>" not in page.text
    assert "&lt;script&gt;" in page.text
    assert "sandbox" in page.headers["content-security-policy"]
    assert (await app.call("GET", f"{at}?format=exe", key=admin)).status_code == 422
    assert (await app.call("GET", f"{AT}/reports/rep_nobody", key=admin)).status_code == 404


@pytest.mark.parametrize("cell", ["=1", "+1", "-1", "@x", "\t=1", "\r=1"])
def test_no_cell_is_a_formula(cell: str) -> None:
    assert safe_cell(cell) == f"'{cell}"
    assert safe_cell(-5) == -5


@pytest.mark.parametrize("zone", ["Asia/Seoul", "Asia/Kathmandu", "America/New_York", "UTC"])
def test_windows_begin_at_local_midnight_also_where_the_clock_jumps(zone: str) -> None:
    known = ZoneInfo(zone)
    now = datetime(2026, 4, 15, tzinfo=UTC)
    for kind, day, begins, ends in (
        ("weekly", datetime(2026, 3, 10), (2026, 3, 9), (2026, 3, 16)),
        ("monthly", datetime(2026, 3, 31), (2026, 3, 1), (2026, 4, 1)),
        ("monthly", datetime(2025, 11, 2), (2025, 11, 1), (2025, 12, 1)),
    ):
        span = span_of(kind, day.date(), known, now)
        assert span.start_us == microseconds(datetime(*begins, tzinfo=known).astimezone(UTC))
        assert span.end_us == microseconds(datetime(*ends, tzinfo=known).astimezone(UTC))
        assert span.before_us < span.start_us


async def test_an_export_is_every_row_once_streamed(app: Inside) -> None:
    admin = await ready(app, NOW)
    rows = [(NOW - n * DAY, f"usr_{n % 7}", f"m{n % 3}", n + 1) for n in range(25)]
    await spent(app, rows)
    await app.call("POST", "/api/admin/orgs", {"id": "other", "name": "Other"}, admin)
    await spent(app, [(NOW, "usr_x", "m9", 10**6)], "other")
    for group in ("day", "user", "model", "org"):
        as_json = await app.call("GET", f"{AT}/export?group={group}&format=json", key=admin)
        found = as_json.json()
        assert sum(one["tokens"] for one in found) == sum(row[3] for row in rows)
        assert sum(one["cost_pico"] for one in found) == sum(r[3] * 150_000 + 7 for r in rows)
        as_csv = await app.call("GET", f"{AT}/export?group={group}&format=csv", key=admin)
        lines = list(csv.DictReader(io.StringIO(as_csv.text)))
        assert [int(one["tokens"]) for one in lines] == [one["tokens"] for one in found]
        assert as_csv.headers["content-disposition"].endswith(f'usage-{group}.csv"')
    days = (await app.call("GET", f"{AT}/export?format=json", key=admin)).json()
    assert days[-1]["day"] == "2026-11-18"
    few = await app.call(
        "GET", f"{AT}/export?format=json&start=2026-11-17&end=2026-11-18", key=admin
    )
    assert [one["tokens"] for one in few.json()] == [2, 1]
    whole = (await app.call("GET", f"{AT}/export?group=org&format=json&org=*", key=admin)).json()
    assert {one["org"]: one["tokens"] for one in whole}["other"] == 10**6
    empty = await app.call(
        "GET", f"{AT}/export?format=json&start=2020-01-01&end=2020-01-02", key=admin
    )
    assert empty.json() == []
    for wrong in ("start=2026-11-18&end=2026-11-01", "start=1800-01-01", "group=secret"):
        assert (await app.call("GET", f"{AT}/export?{wrong}", key=admin)).status_code == 422
    key = await app.key(admin, role="admin")
    assert (await app.call("GET", f"{AT}/export?org=*", key=key)).status_code == 403
    actions = [
        r["action"] for r in (await app.call("GET", "/api/admin/audit", key=admin)).json()["rows"]
    ]
    assert "usage.export" in actions


async def test_the_month_is_forecast_and_says_when_the_pool_ends(app: Inside) -> None:
    admin = await ready(app, NOW)
    rows = [(NOW - n * DAY, "usr_0", "m", 1000) for n in range(1, 60)]
    await spent(app, [*rows, (NOW, "usr_0", "m", 400)])
    found = (await app.call("GET", f"{AT}/forecast", key=admin)).json()
    assert found["method"] == "holt-winters"
    assert found["data_days"] == 59
    assert found["month_tokens_so_far"] == 17 * 1000 + 400
    assert found["month_tokens"] == pytest.approx(30_000, abs=30)
    assert found["month_tokens_low"] <= found["month_tokens"] <= found["month_tokens_high"]
    assert found["month_cost_pico"] == pytest.approx(30_000 * 150_000, rel=0.01)
    assert (found["days"][0]["day"], len(found["days"])) == ("2026-11-18", 13)
    assert found["pool_reached_on"] is None
    pool = {"max_tokens": 20_000, "policy": "warn"}
    assert (await app.call("PUT", f"{AT}/limits/pool", pool, admin)).status_code == 200
    again = (await app.call("GET", f"{AT}/forecast", key=admin)).json()
    assert again["pool_reached_on"] == "2026-11-20"
    mine = (await app.call("GET", "/api/me/usage/forecast", key=admin)).json()
    assert (mine["method"], mine["month_tokens"]) == ("run-rate", 0)
    pools = (await app.call("GET", f"{AT}/pools", key=admin)).json()["pools"]
    assert [(one["org_id"], one["max_tokens"], one["policy_label"]) for one in pools] == [
        ("default", 20_000, "경고")
    ]
    nobody = await app.call("GET", f"{AT}/forecast?user_id=usr_nobody", key=admin)
    assert nobody.status_code == 404


async def test_a_heat_map_is_by_local_weekday_and_hour(app: Inside) -> None:
    admin = await ready(app, NOW)
    own = (await app.call("GET", "/api/auth/me", key=admin)).json()["user_id"]
    await spent(app, [(NOW, own, "m", 5), (NOW - DAY, own, "m", 7), (NOW - 7 * DAY, "usr", "m", 2)])
    found = (await app.call("GET", f"{AT}/heatmap", key=admin)).json()
    assert found["tokens"][2][10] == 7, "two Wednesdays at ten"
    assert found["tokens"][1][10] == 7
    assert sum(map(sum, found["tokens"])) == 14
    mine = (await app.call("GET", "/api/me/usage/heatmap?days=7", key=admin)).json()
    assert sum(map(sum, mine["tokens"])) == 12


async def test_odd_usage_is_kept_once_and_told(app: Inside) -> None:
    admin = await ready(app, NOW)
    hour = NOW.replace(minute=0) - timedelta(hours=1)
    usual = [(hour - timedelta(weeks=n), "usr_0", "m", 30_000) for n in range(1, 9)]
    usual += [(NOW - n * DAY, "usr_1", "m", 40_000) for n in range(2, 30)]
    odd = [(hour, "usr_0", "m", 900_000), (NOW - DAY, "usr_1", "m", 40_000_000)]
    await spent(app, usual + odd)
    for _ in range(2):
        async with app.state.database.write() as work:
            fresh = await find_anomalies(work, app.clock.now(), "default", SEOUL)
        await app.app.state.watch.work()
    assert fresh == [], "each once"
    found = (await app.call("GET", f"{AT}/anomalies", key=admin)).json()["anomalies"]
    assert {(one["user_id"], one["reason"]) for one in found} == {
        ("usr_0", "hour"), ("usr_1", "day"),
    }  # fmt: skip
    first = next(one for one in found if one["reason"] == "hour")
    assert (first["expected"], first["seen"]) == (30_000, 900_000)
    page = (await app.call("GET", f"{AT}/anomalies?limit=1", key=admin)).json()
    rest = (await app.call("GET", f"{AT}/anomalies?cursor={page['next']}", key=admin)).json()
    assert page["anomalies"] + rest["anomalies"] == found


async def test_reports_that_somebody_waits_for_are_made_once_a_fleet(app: Inside) -> None:
    admin = await ready(app, NOW)
    await spent(app, [(NOW - 8 * DAY, "usr_0", "m", 1000)])
    target = {"kind": "webhook", "url": "http://127.0.0.1:9/x"}
    channel = (
        await app.call(
            "POST", "/api/notifications/channels", {"name": "x", "target": target}, admin
        )
    ).json()
    for what in ("usage.report.weekly", "usage.report.monthly", "usage.forecast"):
        rule = {"event": what, "channel_id": channel["id"]}
        assert (await app.call("POST", f"{AT}/alerts", rule, admin)).status_code == 201
    app.clock.turn(minutes=10)
    fleet = [Watch(app.state) for _ in range(4)]
    for _ in range(2):
        for one in fleet:
            await one.work()
    app.clock.turn(minutes=-10)
    listed = (await app.call("GET", f"{AT}/reports", key=admin)).json()["reports"]
    assert sorted(one["kind"] for one in listed) == ["monthly", "weekly"], "forecasts on Mondays"
    assert {one["created_by"] for one in listed} == {"system"}
    async with app.state.database.read() as work:
        told = await work.scalar(select(func.count()).select_from(tables.DeliveryModel))
    assert told == 2


async def test_a_lease_is_one_holder_s_until_it_ends(app: Inside) -> None:
    now, keep = app.clock.now(), timedelta(seconds=10)

    async def held(holder: str, at: datetime) -> bool:
        async with app.state.database.write() as work:
            return await leases.held(work, "a-job", holder, at, keep)

    assert await held("a", now)
    assert not await held("b", now)
    assert await held("a", now + timedelta(seconds=9)), "renewed"
    assert not await held("b", now + timedelta(seconds=18))
    assert await held("b", now + timedelta(seconds=19))
    assert not await held("a", now + timedelta(seconds=20))


async def test_a_conversation_is_shown_with_all_who_took_part(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    now = microseconds(app.clock.now())
    async with app.state.database.write() as work:
        for n in range(5):
            work.add(
                tables.LlmCallModel(
                    host="h", epoch=1, seq=n, hold_epoch=1, hold_seq=n, type="SETTLE",
                    reserved_us=now + n, done_us=now, call_id=f"c{n}", attempt=1,
                    org_id="default" if n < 4 else "other", user_id=f"usr_{n % 2}",
                    api_key_id="", model="m", service="", conversation="talk", scopes=[],
                    units={}, input_tokens=10, output_tokens=5, tokens=15, cost_pico=1234567 + n,
                    price_version="1", flags=[],
                )
            )  # fmt: skip
    at = f"{AT}/conversations/talk"
    found = (await app.call("GET", f"{at}?limit=3", key=admin)).json()
    assert found["users"] == ["usr_0", "usr_1"]
    assert found["totals"]["calls"] == 4
    assert found["totals"]["cost_pico"] == sum(1234567 + n for n in range(4))
    rest = (await app.call("GET", f"{at}?cursor={found['next']}", key=admin)).json()
    calls = [one["call_id"] for one in found["calls"] + rest["calls"]]
    assert calls == ["c3", "c2", "c1", "c0"]
    assert (await app.call("GET", f"{AT}/conversations/none", key=admin)).status_code == 404


async def test_usage_lists_ask_as_often_for_many_as_for_one(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    counts, have = set(), 0
    for many in (1, 10, 100):
        now = app.clock.now()
        async with app.state.database.write() as work:
            for n in range(have, many):
                work.add(tables.ReportModel(id=f"rep_{n}", org_id="default", kind="weekly",
                                            window_start_us=n, content={}, created_by="u",
                                            created_at=now))  # fmt: skip
                work.add(tables.UsageAnomalyModel(id=f"ano_{n}", org_id="default", user_id="u",
                                                  start_us=n, reason="hour", expected=1, seen=2,
                                                  score="9.5", created_at=now))  # fmt: skip
                if n:
                    work.add(tables.OrgModel(id=f"o{n:03}", name="o", zone="UTC",
                                             log_content="off", created_at=now))  # fmt: skip
                    await work.flush()
                work.add(tables.OrgTokenPoolModel(org_id=f"o{n:03}" if n else "default",
                                                  max_tokens=9, policy="warn", alerts=[],
                                                  updated_by="u", updated_at=now))  # fmt: skip
        have = many
        row = []
        for path, table in (
            ("reports", "FROM reports"),
            ("anomalies", "FROM usage_anomalies"),
            ("pools?org=*&limit=100", "FROM org_token_pools"),
        ):
            more = "" if "?" in path else "?limit=100"
            with app.statements() as statements:
                answer = await app.call("GET", f"{AT}/{path}{more}", key=admin)
            assert len(next(iter(answer.json().values()))) == many, answer.text
            row.append(len([one for one in statements if table in one]))
        counts.add(tuple(row))
    assert counts == {(1, 1, 1)}
    assert json.loads(json.dumps(list(counts)))
