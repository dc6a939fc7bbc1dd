"""What is asked and answered is kept as an organisation wants it, sealed, and not for ever."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from dure.db import tables
from dure.service.kit import audit
from sqlalchemy import func, select, update

if TYPE_CHECKING:
    from tests.service.inside import Inside

AT = "/api/admin/content-logs"


async def chat(app: Inside, token: str, text: str, **more: Any) -> Any:
    body = {
        "model": "gpt-4o-mini",
        "messages": [{"role": "user", "content": text}],
        "max_tokens": 20,
        **more,
    }
    return await app.call("POST", "/v1/chat/completions", body, token)


async def keeping(app: Inside, admin: str, level: str) -> None:
    changed = await app.call("PATCH", "/api/admin/orgs/default", {"log_content": level}, admin)
    assert changed.json()["log_content"] == level, changed.text


async def kept(app: Inside, admin: str) -> list[dict[str, Any]]:
    await app.app.state.contents.write()
    return list((await app.call("GET", AT, key=admin)).json()["contents"])


async def test_off_keeps_nothing_metadata_no_text_full_both_texts(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    await chat(app, admin, "question nought")
    assert await kept(app, admin) == []
    await keeping(app, admin, "metadata")
    await chat(app, admin, "question one")
    found = await kept(app, admin)
    assert [(one["model"], one["status"]) for one in found] == [("gpt-4o-mini", 200)]
    assert found[0]["input_bytes"] > 0
    assert found[0]["output_bytes"] > 0
    detail = (await app.call("GET", f"{AT}/{found[0]['id']}", key=admin)).json()
    assert (detail["input"], detail["output"]) == (None, None)

    await keeping(app, admin, "full")
    whole = await chat(app, admin, "두레 question two")
    streamed = await chat(app, admin, "question three", stream=True)
    found = await kept(app, admin)
    assert len(found) == 3
    texts = {}
    for one in found:
        detail = (await app.call("GET", f"{AT}/{one['id']}", key=admin)).json()
        texts[detail["output"]] = detail["input"]
    assert "두레 question two" in texts[whole.text]
    assert "question three" in texts[streamed.text], "a stream is kept as it was sent"
    async with app.state.database.read() as work:
        rows = list(await work.scalars(select(tables.ContentLogModel)))
    assert not any("question" in (row.input or "") for row in rows), "sealed"
    read = (await app.call("GET", "/api/admin/audit", key=admin)).json()["rows"]
    assert sum(row["action"] == "content.read" for row in read) == 4
    await keeping(app, admin, "off")
    await chat(app, admin, "question four")
    assert len(await kept(app, admin)) == 3


async def test_a_long_text_is_cut_and_passes_whole(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    await keeping(app, admin, "full")
    long = "word " * 40_000
    answer = await chat(app, admin, long)
    assert answer.status_code in {200, 400}
    found = (await kept(app, admin))[0]
    assert found["input_bytes"] > 200_000
    detail = (await app.call("GET", f"{AT}/{found['id']}", key=admin)).json()
    assert len(detail["input"]) == 64 * 1024


async def test_contents_are_removed_when_asked_and_when_their_time_is_over(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    user_id, kim = await app.add(admin, "kim@example.com", "user")
    await keeping(app, admin, "full")
    for token in (admin, kim, kim):
        await chat(app, token, "hello")
    mine = (await app.call("GET", f"{AT}?user_id={user_id}", key=admin)).json()
    await app.app.state.contents.write()
    mine = (await app.call("GET", f"{AT}?user_id={user_id}", key=admin)).json()
    assert len(mine["contents"]) == 2
    assert (await app.call("GET", AT, key=kim)).status_code == 403
    gone = await app.call("DELETE", f"{AT}?user_id={user_id}", key=admin)
    assert gone.json() == {"removed": 2}
    assert len(await kept(app, admin)) == 1
    app.clock.turn(days=29)
    await app.app.state.contents.prune()
    async with app.state.database.read() as work:
        count = select(func.count()).select_from(tables.ContentLogModel)
        assert await work.scalar(count) == 1
    app.clock.turn(days=2)
    await app.app.state.contents.prune()
    async with app.state.database.read() as work:
        assert await work.scalar(count) == 0


async def test_contents_of_others_are_not_there(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    await keeping(app, admin, "full")
    await chat(app, admin, "hello")
    found = (await kept(app, admin))[0]
    await app.call("POST", "/api/admin/orgs", {"id": "other", "name": "Other"}, admin)
    async with app.state.database.write() as work:
        await work.execute(update(tables.ContentLogModel).values(org_id="other"))
    assert (await app.call("GET", f"{AT}/{found['id']}", key=admin)).status_code == 404
    assert await kept(app, admin) == []
    assert (await app.call("DELETE", AT, key=admin)).json() == {"removed": 0}


async def test_a_dead_database_drops_contents_and_counts_them(app: Inside) -> None:
    from dure.service.contents import tasks

    admin = (await app.first())["access_token"]
    await keeping(app, admin, "metadata")
    contents = app.app.state.contents
    await chat(app, admin, "hello")
    one = contents._waiting[0] if contents._waiting else None
    if one is not None:
        for _ in range(tasks._MOST_WAITING + 10):
            contents.keep(one)
        assert len(contents._waiting) <= tasks._MOST_WAITING
        assert contents.dropped >= 10
        contents._waiting.clear()


async def test_an_audit_log_that_was_shortened_can_still_be_checked(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    state = app.state
    for n in range(5):
        app.clock.turn(days=1)
        async with state.database.write() as work:
            await audit.record(work, state.secret, app.clock.now(), org_id="default",
                               actor="t", action="x", target=f"{n}")  # fmt: skip
    before = app.clock.now() - timedelta(days=2)
    async with state.database.write() as work:
        removed = await audit.prune(work, state.secret, app.clock.now(), "default", before)
    assert removed >= 3
    async with state.database.read() as work:
        report = await audit.verify(work, state.secret, "default")
    assert report.ok
    assert report.rows == 3
    del admin
    async with state.database.write() as work:
        assert await audit.prune(work, state.secret, app.clock.now(), "default", before) == 0
        await audit.record(work, state.secret, app.clock.now(), org_id="default",
                           actor="t", action="y", target="z")  # fmt: skip
        assert (await audit.verify(work, state.secret, "default")).ok
    async with state.database.write() as work:
        await work.execute(update(tables.AuditCheckpointModel).values(mac="0" * 64))
    async with state.database.read() as work:
        changed = await audit.verify(work, state.secret, "default")
    assert (changed.ok, changed.first_difference) == (False, 0)
