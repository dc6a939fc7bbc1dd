"""Notifications on both databases: they arrive at least once, signed, and show no secret."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from dure.db import tables
from dure.db.base import new_id
from dure.service.channels.repository import CourierRepository
from dure.service.channels.service import Notice, announce
from dure.service.kit.clock import microseconds
from dure.service.kit.discord_log import DiscordHandler
from sqlalchemy import select, update

from tests.service.conftest import core_clock, free_port
from tests.service.inside import Inside, inside

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from dure.testing.upstream import Upstream

CHANNELS, RULES = "/api/notifications/channels", "/api/notifications/rules"
DELIVERIES = "/api/notifications/deliveries"


class Receiver:
    """An HTTP server that keeps what it gets and answers what it is told to."""

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.status, self.headers = 200, ""
        self.url = ""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Receiver]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server:
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        pairs = (line.split(": ", 1) for line in head[1:] if ": " in line)
        headers = {name.lower(): value for name, value in pairs}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        self.got.append((head[0].split()[1], headers, body))
        answer = f"HTTP/1.1 {self.status} x\r\ncontent-length: 0\r\n{self.headers}"
        writer.write(f"{answer}connection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver().open() as found:
        yield found


@pytest.fixture
async def wired(service_data: Path, place: dict[str, Any]) -> AsyncIterator[Inside]:
    """The app, which may reach receivers on this machine."""
    reach = {"egress_allowed": ("127.0.0.0/8",)}
    async with inside(service_data, core_clock(), **place, **reach) as found:
        yield found


async def channel(app: Inside, admin: str, target: dict[str, Any], name: str = "ops") -> Any:
    made = await app.call("POST", CHANNELS, {"name": name, "target": target}, admin)
    assert made.status_code == 201, made.text
    return made.json()


async def rule(app: Inside, admin: str, channel_id: str, what: str, **more: Any) -> None:
    asked = {"event": what, "channel_id": channel_id, **more}
    assert (await app.call("POST", RULES, asked, admin)).status_code == 201


async def crossed(app: Inside, *percents: int) -> None:
    """Write thresholds as the poster does."""
    now = app.state.clock.now()
    async with app.state.database.write() as work:
        for percent in percents:
            work.add(
                tables.TokenUsageAlertModel(
                    id=new_id("alr"), org_id="default", scope="org:default",
                    window_start_us=microseconds(now) // 10**12, percent=percent, used=percent,
                    maximum=100, at_us=microseconds(now) + percent, told_at=None,
                )
            )  # fmt: skip


async def delivered(app: Inside, admin: str, count: int, state: str = "sent") -> list[Any]:
    for _ in range(100):
        await app.app.state.courier.work()
        found = (await app.call("GET", f"{DELIVERIES}?state={state}", key=admin)).json()
        if len(found["deliveries"]) >= count:
            return list(found["deliveries"])
        await asyncio.sleep(0.05)
    everything = (await app.call("GET", DELIVERIES, key=admin)).json()
    raise AssertionError(everything)


async def test_a_jump_over_thresholds_is_one_signed_message(
    wired: Inside, receiver: Receiver
) -> None:
    admin = (await wired.first())["access_token"]
    made = await channel(wired, admin, {"kind": "webhook", "url": f"{receiver.url}/hook?k=tiefer"})
    assert made["target"] == "http://127.0.0.1/..."
    secret = made["secret"]
    assert secret.startswith("whsec_")
    await rule(wired, admin, made["id"], "usage.alert")
    await crossed(wired, 80, 90, 100)
    sent = await delivered(wired, admin, 1)
    assert len(receiver.got) == len(sent) == 1
    path, headers, body = receiver.got[0]
    assert path == "/hook?k=tiefer"
    told = json.loads(body)
    assert (told["type"], told["data"]["percent"]) == ("usage.alert", 100)
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mac = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    assert headers["webhook-signature"] == f"v1,{mac}"
    assert headers["webhook-id"] == sent[0]["id"]
    await wired.app.state.courier.work()
    assert len(receiver.got) == 1, "once told, never again"
    shown = (await wired.call("GET", CHANNELS, key=admin)).text
    kept = [row.sealed for row in await channels_of(wired)]
    for text in (shown, *kept, (await wired.call("GET", "/api/admin/audit", key=admin)).text):
        assert "tiefer" not in text
        assert secret not in text


async def channels_of(app: Inside) -> list[tables.ChannelModel]:
    async with app.state.database.read() as work:
        return list(await work.scalars(select(tables.ChannelModel)))


async def test_what_fails_is_tried_again_under_the_same_id_then_given_up(
    wired: Inside, receiver: Receiver
) -> None:
    admin = (await wired.first())["access_token"]
    made = await channel(wired, admin, {"kind": "webhook", "url": receiver.url})
    await rule(wired, admin, made["id"], "usage.alert")
    receiver.status, receiver.headers = 500, "x-secret: whatever\r\n"
    await crossed(wired, 80)
    for tries in range(1, 12):
        await wired.app.state.courier.work()
        for _ in range(40):
            if len(receiver.got) >= tries or tries > 9:
                break
            await wired.app.state.courier.work()
            await asyncio.sleep(0.02)
        await wired.app.state.courier.work()
        wired.clock.turn(hours=13)
    admin = await wired.login("root@example.com")
    failed = await delivered(wired, admin, 1, "failed")
    assert failed[0]["error"] == "the receiver answered 500"
    assert failed[0]["attempts"] == len(receiver.got) == 9
    assert {headers["webhook-id"] for _, headers, _ in receiver.got} == {failed[0]["id"]}
    receiver.status = 204
    again = await wired.call("POST", f"{DELIVERIES}/{failed[0]['id']}/retry", None, admin)
    assert again.json()["state"] == "pending"
    await delivered(wired, admin, 1)
    assert (
        await wired.call("POST", f"{DELIVERIES}/{failed[0]['id']}/retry", None, admin)
    ).status_code == 409


async def test_who_dies_between_sending_and_writing_sends_again(
    wired: Inside, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin = (await wired.first())["access_token"]
    made = await channel(wired, admin, {"kind": "webhook", "url": receiver.url})
    await rule(wired, admin, made["id"], "usage.alert")

    async def died(*_given: object, **_more: object) -> None:
        return

    monkeypatch.setattr(CourierRepository, "end", died)
    await crossed(wired, 80)
    for _ in range(100):
        await wired.app.state.courier.work()
        if receiver.got:
            break
        await asyncio.sleep(0.02)
    monkeypatch.undo()
    wired.clock.turn(minutes=3)
    admin = await wired.login("root@example.com")
    await delivered(wired, admin, 1)
    assert len({headers["webhook-id"] for _, headers, _ in receiver.got}) == 1
    assert len(receiver.got) == 2


async def test_a_receiver_that_asks_for_a_pause_gets_it(wired: Inside, receiver: Receiver) -> None:
    admin = (await wired.first())["access_token"]
    made = await channel(
        wired, admin, {"kind": "discord", "url": f"{receiver.url}/api/webhooks/1/tiefer"}
    )
    await rule(wired, admin, made["id"], "usage.alert")
    receiver.status, receiver.headers = 429, "retry-after: 700\r\n"
    await crossed(wired, 80)
    for _ in range(100):
        await wired.app.state.courier.work()
        pending = (await wired.call("GET", f"{DELIVERIES}?state=pending", key=admin)).json()
        if pending["deliveries"] and pending["deliveries"][0]["error"]:
            break
        await asyncio.sleep(0.02)
    wait = 700 * 10**6
    from datetime import datetime

    row = pending["deliveries"][0]
    begun = datetime.fromisoformat(row["created_at"])
    assert (datetime.fromisoformat(row["next_at"]) - begun).total_seconds() == pytest.approx(
        wait / 10**6, abs=5
    )
    receiver.status, receiver.headers = 204, ""
    wired.clock.turn(seconds=701)
    await delivered(wired, admin, 1)
    told = json.loads(receiver.got[-1][2])
    assert told["allowed_mentions"] == {"parse": []}
    assert "80 %" in told["content"]


async def test_a_webhook_to_a_private_address_is_refused(app: Inside, receiver: Receiver) -> None:
    admin = (await app.first())["access_token"]
    made = await channel(app, admin, {"kind": "webhook", "url": receiver.url})
    tried = await app.call("POST", f"{CHANNELS}/{made['id']}/test", None, admin)
    assert tried.json() == {"ok": False, "error": "the address leads to no public host"}
    await rule(app, admin, made["id"], "usage.alert")
    await crossed(app, 80)
    failed = await delivered(app, admin, 1, "failed")
    assert failed[0]["attempts"] == 1, "trying again is no use"
    assert receiver.got == []


BAD_TARGETS: list[dict[str, Any]] = [
    {"kind": "webhook", "url": "http://example.com/x"},
    {"kind": "webhook", "url": "file:///etc/passwd"},
    {"kind": "webhook", "url": "https://u:tiefes-wort@example.com/"},
    {"kind": "webhook", "url": "https://example.com/", "secret": "tiefes-wort-ohne-form-1"},
    {"kind": "webhook", "url": "https://example.com:99999/"},
    {"kind": "discord", "url": "https://discord.com/channels/1"},
    {"kind": "email", "to": ["a@example.com\nBcc: b@example.com"]},
    {"kind": "email", "to": []},
    {"kind": "apprise", "url": "json://127.0.0.1/tiefes-wort"},
    {"kind": "apprise", "url": "file:///etc/passwd"},
    {"kind": "shell", "url": "rm -rf /"},
]


async def test_channels_that_cannot_be_are_refused_without_their_secrets(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    for target in BAD_TARGETS:
        refused = await app.call("POST", CHANNELS, {"name": "x", "target": target}, admin)
        assert refused.status_code == 422, (target, refused.text)
        assert "tiefes-wort" not in refused.text


async def test_rules_decide_from_which_threshold_on(wired: Inside, receiver: Receiver) -> None:
    admin = (await wired.first())["access_token"]
    made = await channel(wired, admin, {"kind": "webhook", "url": receiver.url})
    asked = {"event": "usage.alert", "channel_id": made["id"], "percent": 90}
    created = await wired.call("POST", "/api/admin/usage/alerts", asked, admin)
    assert created.status_code == 201, created.text
    assert (await wired.call("POST", "/api/admin/usage/alerts", asked, admin)).status_code == 409
    listed = (await wired.call("GET", "/api/admin/usage/alerts/rules", key=admin)).json()
    assert [one["percent"] for one in listed["rules"]] == [90]
    await crossed(wired, 80)
    await wired.app.state.courier.work()
    await crossed(wired, 90)
    assert len(await delivered(wired, admin, 1)) == 1
    at = f"/api/admin/usage/alerts/{created.json()['id']}"
    assert (await wired.call("PUT", at, {"enabled": False}, admin)).json()["enabled"] is False
    await crossed(wired, 100)
    await wired.app.state.courier.work()
    assert len(receiver.got) == 1
    wrong = {"event": "execution.ended", "channel_id": made["id"]}
    assert (await wired.call("POST", "/api/admin/usage/alerts", wrong, admin)).status_code == 422
    assert (await wired.call("DELETE", at, key=admin)).status_code == 204
    assert (await wired.call("DELETE", f"{CHANNELS}/{made['id']}", key=admin)).status_code == 204
    assert (await wired.call("GET", DELIVERIES, key=admin)).json()["deliveries"] == []


async def test_channels_of_others_are_not_there(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    made = await channel(app, admin, {"kind": "email", "to": ["ops@example.com"]})
    await app.call("POST", "/api/admin/orgs", {"id": "other", "name": "Other"}, admin)
    async with app.state.database.write() as work:
        await work.execute(update(tables.ChannelModel).values(org_id="other"))
    for method, path, body in (
        ("PATCH", f"{CHANNELS}/{made['id']}", {"enabled": False}),
        ("DELETE", f"{CHANNELS}/{made['id']}", None),
        ("POST", f"{CHANNELS}/{made['id']}/test", None),
        ("POST", RULES, {"event": "usage.alert", "channel_id": made["id"]}),
    ):
        assert (await app.call(method, path, body, admin)).status_code == 404, path
    assert (await app.call("GET", CHANNELS, key=admin)).json()["channels"] == []


async def test_a_sealed_channel_that_was_moved_cannot_be_opened(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    for name in ("a", "b"):
        await channel(app, admin, {"kind": "email", "to": [f"{name}@example.com"]}, name)
    rows = await channels_of(app)
    async with app.state.database.write() as work:
        await work.execute(
            update(tables.ChannelModel)
            .where(tables.ChannelModel.id == rows[0].id)
            .values(sealed=rows[1].sealed)
        )
    moved = await app.call("POST", f"{CHANNELS}/{rows[0].id}/test", None, admin)
    assert moved.json()["ok"] is False or moved.status_code == 500
    assert "changed or moved" in moved.text


async def test_mail_leaves_by_the_server_of_the_installation(
    tmp_path: Path, provider: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aiosmtpd.controller import Controller

    class Sink:
        mails: list[Any] = []  # noqa: RUF012 - one test's own

        async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
            self.mails.append(envelope)
            return "250 OK"

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("OPENAI_BASE_URL", provider.url)
    server = Controller(Sink(), hostname="127.0.0.1", port=free_port())
    server.start()
    try:
        given: dict[str, Any] = {
            "smtp_url": f"smtp://127.0.0.1:{server.port}",
            "smtp_from": "dure@example.com",
        }
        async with inside(tmp_path, **given) as app:
            admin = (await app.first())["access_token"]
            made = await channel(app, admin, {"kind": "email", "to": ["a@x.org", "b@x.org"]})
            assert made["target"] == "a@x.org, b@x.org"
            tried = await app.call("POST", f"{CHANNELS}/{made['id']}/test", None, admin)
            assert tried.json() == {"ok": True, "error": None}
            await rule(app, admin, made["id"], "usage.report.weekly")
            async with app.state.database.write() as work:
                notice = Notice("rep_1", "default", "usage.report.weekly", "주간 보고",
                                "plain", {}, "<p>두레</p>")  # fmt: skip
                now = app.state.clock.now()
                assert await announce(work, now, notice) == 1
                assert await announce(work, now, notice) == 1, "the same again is kept once"
            sent = await delivered(app, admin, 1)
            assert len(sent) == 1
            mail = Sink.mails[-1]
            assert mail.rcpt_tos == ["a@x.org", "b@x.org"]
            text = mail.content.decode()
            assert f"<{sent[0]['id']}@dure>" in text
            assert "text/html" in text
    finally:
        server.stop()


async def test_without_a_mail_server_a_channel_says_so(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    made = await channel(app, admin, {"kind": "email", "to": ["a@x.org"]})
    tried = await app.call("POST", f"{CHANNELS}/{made['id']}/test", None, admin)
    assert "DURE_SMTP_URL" in tried.json()["error"]


async def test_lists_of_channels_ask_as_often_for_many_as_for_one(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    counts, have = set(), 0
    for many in (1, 10, 100):
        now = app.state.clock.now()
        async with app.state.database.write() as work:
            for n in range(have, many):
                work.add(
                    tables.ChannelModel(id=f"chn_{n:03}", org_id="default", owner_id="u",
                                        name=f"{n}", kind="email", target="", sealed="",
                                        enabled=False, created_at=now)
                )  # fmt: skip
                await work.flush()
                work.add(
                    tables.NotificationRuleModel(id=f"rul_{n:03}", org_id="default", percent=0,
                                                 event="usage.alert", channel_id=f"chn_{n:03}",
                                                 enabled=True, created_by="u", created_at=now)
                )  # fmt: skip
                work.add(
                    tables.DeliveryModel(id=f"dlv_{n:03}", org_id="default",
                                         channel_id=f"chn_{n:03}", event_id="e", event="x",
                                         title="", body={}, state="sent", attempts=1, error=None,
                                         created_at=now, next_at=now, sent_at=now)
                )  # fmt: skip
        have = many
        row = []
        for path in (CHANNELS, RULES, DELIVERIES):
            with app.statements() as statements:
                answer = await app.call("GET", f"{path}?limit=100", key=admin)
            table = path.rsplit("/", 1)[-1].replace("rules", "notification_rules")
            row.append(len([one for one in statements if f"FROM {table}" in one]))
            assert len(next(iter(answer.json().values()))) == many
        counts.add(tuple(row))
    assert counts == {(1, 1, 1)}


def test_errors_are_told_to_discord_without_secrets_and_without_waiting() -> None:
    told: list[dict[str, Any]] = []
    gate = __import__("threading").Event()

    def send(body: bytes) -> float:
        gate.wait(10)
        told.append(json.loads(body))
        return 0.0

    handler = DiscordHandler(
        "https://discord.com/api/webhooks/1/tief",
        redact=lambda text: text.replace("sk-tief", "[hidden]"),
        send=send,
    )
    assert "tief" not in repr(handler)
    logger = logging.Logger("x")
    logger.addHandler(handler)
    logger.warning("too small a matter")
    for n in range(150):
        logger.error("n%d sk-tief @everyone", n)
    gate.set()
    for _ in range(200):
        if not handler._lines:
            break
        __import__("time").sleep(0.05)
    handler.close()
    text = "\n".join(one["content"] for one in told)
    assert "sk-tief" not in text
    assert "[hidden]" in text
    assert "too small" not in text
    assert "dropped" in text, "what was too much is counted"
    assert all(len(one["content"]) <= 2000 for one in told)
    assert all(one["allowed_mentions"] == {"parse": []} for one in told)


def test_discord_is_told_a_few_times_a_minute_at_most() -> None:
    told: list[bytes] = []
    now = [0.0]

    def send(body: bytes) -> float:
        told.append(body)
        return 0.0

    handler = DiscordHandler("https://discord.com/x", send=send, clock=lambda: now[0])
    for n in range(30):
        handler._lines.append(f"{n} " + "x" * 1800)
        handler._next()
    assert len(told) == 20
    now[0] = 60.0
    assert handler._next() == 0.0
    assert len(told) == 21
