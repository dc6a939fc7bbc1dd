"""The frame: order, caps, hosts, figures, logs, readiness; and who may call which route."""

from __future__ import annotations

import asyncio
import json
import logging
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from dure.errors import InternalError
from dure.service.app import create_app, reload
from dure.service.auth.policy import PolicyRoute, check_routes, policy_of
from dure.service.kit import hot
from dure.service.kit.logs import Redactor
from dure.service.kit.observed import AccessLog
from dure.service.kit.sse import EventStream, frame
from dure.service.rates import parse_rate
from dure.service.settings import Settings

from tests.service.inside import Inside, inside

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator
    from pathlib import Path

    from fastapi import FastAPI

CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture
async def one(tmp_path: Path) -> AsyncGenerator[Inside]:
    async with inside(tmp_path, access_log=str(tmp_path / "access.log")) as found:
        yield found


def operations(app: FastAPI) -> Iterator[tuple[str, str, PolicyRoute]]:
    for route in app.routes:
        assert isinstance(route, PolicyRoute)
        for method in route.methods or ():
            path = route.path_format
            for name in (
                "{key_id}",
                "{user_id}",
                "{org_id}",
                "{model_id}",
                "{service_name}",
                "{conversation}",
                "{approval_id}",
                "{template_id}",
                "{dataset_id}",
                "{evaluation_id}",
                "{label}",
                "{channel_id}",
                "{rule_id}",
                "{delivery_id}",
                "{report_id}",
                "{provider_key_id}",
                "{content_id}",
            ):
                path = path.replace(name, "nobody")
            path = path.replace("{version}", "1")
            yield method, path.replace("{name}", "swagger-ui.css"), route


async def test_every_route_is_for_those_whom_it_names(one: Inside) -> None:
    admin = (await one.first())["access_token"]
    tokens: dict[str, str | None] = {"none": None, "admin": await one.key(admin, role="admin")}
    for role in ("viewer", "user"):
        tokens[role] = (await one.add(admin, f"{role}@example.com", role))[1]
    rank = {"none": 0, "viewer": 1, "user": 2, "admin": 3}
    tried = 0
    for method, path, route in operations(one.app):
        policy = policy_of(route)
        assert policy is not None
        for who, token in tokens.items():
            if path.endswith("/logout") and who != "none":
                continue  # it would end the login that the rest of this test needs
            answer = await one.call(method, path, key=token)
            allowed = policy.role is None or rank[who] >= rank[policy.role]
            if policy.role is not None and who == "none":
                assert answer.status_code == 401, (method, path)
            elif not allowed or (policy.operator and policy.role is not None):
                assert answer.status_code == 403, (method, path, who)  # a key is no operator
            else:
                assert answer.status_code not in {401, 403, 500} or path.endswith(
                    ("/login", "/refresh", "/first-start", "/keys", "/users/nobody")
                ), (method, path, who, answer.text)
            tried += 1
    assert tried > 100


def test_a_route_without_a_policy_keeps_the_app_from_starting(tmp_path: Path) -> None:
    app = create_app(Settings(data=tmp_path, access_log="off"))

    async def open_door() -> None: ...

    with pytest.raises(InternalError, match="declares no policy"):
        app.add_api_route("/open", open_door)
    app.mount("/static", app)
    with pytest.raises(InternalError, match="/static"):
        check_routes(app.routes)


async def test_no_body_byte_is_read_before_it_is_known_who_asks(one: Inside) -> None:
    admin = (await one.first())["access_token"]
    _, viewer = await one.add(admin, "v@example.com", "viewer")
    for headers, status in (([], 401), ([(b"authorization", f"Bearer {viewer}".encode())], 403)):
        sent: list[Any] = []

        async def receive() -> Any:
            raise AssertionError("a byte was asked for")

        async def send(message: Any, sent: list[Any] = sent) -> None:
            sent.append(message)

        for path in ("/v1/chat/completions", "/api/v1/keys", "/chat"):
            sent.clear()
            scope = {
                "type": "http", "method": "POST", "path": path, "raw_path": path.encode(),
                "query_string": b"", "headers": [(b"content-type", b"application/json"), *headers],
                "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 1), "scheme": "http",
                "http_version": "1.1",
            }  # fmt: skip
            await one.app(scope, receive, send)
            assert sent[0]["status"] == status, path


async def test_figures_name_routes_and_nobody(one: Inside) -> None:
    admin = (await one.first())["access_token"]
    await one.call("GET", "/v1/models/no-such-thing", key=admin)
    answer = await one.call("POST", "/api/chat/completions", CHAT, admin)
    assert answer.status_code == 200
    assert float(answer.headers["x-dure-overhead-ms"]) >= 0
    text = (await one.call("GET", "/metrics")).text
    assert 'route="/v1/chat/completions",status="200"' in text
    assert "no-such-thing" not in text
    assert "default" not in text
    assert "dure_client_calls 1.0" in text or "dure_client_calls" in text


async def test_each_request_leaves_one_line_without_its_query(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    async with inside(tmp_path, access_log=str(path)) as app:
        tokens = await app.first()
        answer = await app.call("GET", "/api/models?secret=hunter22", key=tokens["access_token"])
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    line = next(one for one in lines if one["path"] == "/api/models")
    assert line["request_id"] == answer.headers["x-request-id"]
    assert (line["status"], line["org"], line["method"]) == (200, "default", "GET")
    assert "hunter22" not in path.read_text()
    assert tokens["access_token"] not in path.read_text()


def test_a_log_that_is_not_taken_is_dropped_and_counted(tmp_path: Path) -> None:
    log = AccessLog(str(tmp_path / "log"))
    log._writer = object()  # type: ignore[assignment]  # nobody writes
    for number in range(10_050):
        log.write(f'{{"number": {number}}}')
    assert log.dropped == 50
    log._writer = None
    log.close()


async def test_readiness_tells_what_is_wrong(tmp_path: Path) -> None:
    async with inside(tmp_path) as app:
        assert (await app.call("GET", "/health/live")).json() == {"status": "live"}
        assert (await app.call("GET", "/health/ready")).json()["status"] == "ready"
        app.state.drain.begun = True
        told = await app.call("GET", "/health/ready")
        assert (told.status_code, told.json()["status"]) == (503, "draining")
        app.state.drain.begun = False
        await app.state.database.close()
        (tmp_path / "service.db").unlink()
        (tmp_path / "service.db").mkdir()
        broken = await app.call("GET", "/health/ready")
        assert (broken.status_code, broken.json()["database"]) == (503, "cannot be reached")
        (tmp_path / "service.db").rmdir()


async def test_headers_hosts_and_bodies_have_limits(tmp_path: Path) -> None:
    given: dict[str, Any] = {"max_body_bytes": 2048, "max_header_bytes": 2048}
    async with inside(tmp_path, allowed_hosts=("dure.example",), **given) as app:
        assert (await app.call("GET", "/health/live", host="dure.example")).status_code == 200
        assert (await app.call("GET", "/health/live", host="evil.example")).status_code == 403
        long = await app.call("GET", "/health/live", x_long="y" * 3000)
        assert (long.status_code, long.json()["error"]["code"]) == (431, "too_large")
        large = await app.call("POST", "/api/auth/login", {"email": "x" * 3000, "password": "y"})
        assert large.status_code == 413


async def test_browsers_of_named_origins_only_may_call(tmp_path: Path) -> None:
    origin = "https://portal.example"
    async with inside(tmp_path, cors_origins=(origin,)) as app:
        asked = {"access_control_request_method": "POST"}
        good = await app.call("OPTIONS", "/v1/chat/completions", origin=origin, **asked)
        assert good.headers["access-control-allow-origin"] == origin
        other = await app.call("OPTIONS", "/v1/models", origin="https://evil.example", **asked)
        assert "access-control-allow-origin" not in other.headers
        assert (await app.call("GET", "/health/live")).headers["x-frame-options"] == "DENY"


async def test_rates_are_of_a_caller_and_of_an_address(tmp_path: Path) -> None:
    async with inside(tmp_path, rate_chat="2/hour", rate_address="40/hour") as app:
        admin = (await app.first())["access_token"]
        body = {"messages": CHAT["messages"]}
        first = [(await app.call("POST", "/chat", body, admin)).status_code for _ in range(3)]
        assert first == [200, 200, 429]
        assert (await app.call("POST", "/chat/stream", body, admin)).status_code == 429
        assert (await app.call("POST", "/v1/chat/completions", CHAT, admin)).status_code == 200
        statuses = [(await app.call("GET", "/health/live")).status_code for _ in range(40)]
        assert statuses[-1] == 429


async def test_a_reload_takes_new_rates_and_keeps_the_last_good_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with inside(tmp_path) as app:
        limits, before = app.app.state.limits, app.state.client
        monkeypatch.setenv("DURE_RATE_CHAT", "7/minute")
        await reload(app.app)
        assert limits.rate_chat == "7/minute"
        prices = tmp_path / "prices.json"
        monkeypatch.setenv("DURE_PRICES", str(prices))
        prices.write_text(json.dumps({"gpt-4o-mini": {"input": "0.001", "output": "0"}}))
        await reload(app.app)
        assert app.state.client is not before, "new calls have the new prices"
        admin = (await app.first())["access_token"]
        answer = await app.call("POST", "/v1/chat/completions", CHAT, admin)
        tokens = answer.json()["usage"]["prompt_tokens"]
        assert Decimal(answer.headers["x-dure-cost-usd"]) == Decimal(tokens).scaleb(-9)
        good = app.state.client
        for name, wrong in (("DURE_RATE_CHAT", "nonsense"), ("DURE_PRICES", "/no/such/file")):
            with monkeypatch.context() as patch:
                patch.setenv(name, wrong)
                await reload(app.app)
            assert limits.rate_chat == "7/minute"
            assert app.state.client is good, name


async def test_gzip_is_for_answers_and_never_for_streams(one: Inside) -> None:
    admin = (await one.first())["access_token"]
    listed = await one.call("GET", "/api/models", key=admin, accept_encoding="gzip")
    assert listed.headers["content-encoding"] == "gzip"
    body = {**CHAT, "stream": True}
    streamed = await one.call("POST", "/v1/chat/completions", body, admin, accept_encoding="gzip")
    assert "content-encoding" not in streamed.headers
    assert streamed.text.endswith("data: [DONE]\n\n")


async def drive(stream: EventStream, *, leave_after: int | None = None) -> list[bytes]:
    """Run a stream as a server would; the client leaves after some parts."""
    parts: list[bytes] = []
    left = asyncio.Event()

    async def receive() -> Any:
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body" and message["body"]:
            parts.append(message["body"])
            if leave_after is not None and len(parts) >= leave_after:
                left.set()

    await stream({"type": "http"}, receive, send)
    return parts


async def test_a_stream_pings_while_nothing_comes_and_ends_with_its_client() -> None:
    ended = asyncio.Event()

    async def slow() -> AsyncGenerator[bytes]:
        try:
            yield b"data: 1\n\n"
            await asyncio.sleep(3600)
            yield b"data: 2\n\n"
        finally:
            ended.set()

    parts = await asyncio.wait_for(drive(EventStream(slow(), ping=0.01), leave_after=3), 10)
    assert parts[0] == b"data: 1\n\n"
    assert parts[1] == parts[2] == b": ping\n\n"
    assert ended.is_set()


async def test_no_piece_is_held_back() -> None:
    turn = asyncio.Event()
    seen: list[bytes] = []

    async def ticking() -> AsyncGenerator[bytes]:
        for number in range(5):
            yield b"data: %d\n\n" % number
            assert len(seen) == number + 1, "it left before the next one was made"
            turn.set()

    stream = EventStream(ticking())

    async def send(message: Any) -> None:
        if message.get("body"):
            seen.append(message["body"])

    async def receive() -> Any:
        await asyncio.sleep(3600)

    await stream({"type": "http"}, receive, send)
    assert len(seen) == 5


@pytest.mark.parametrize("text", ["a\nb", "a\rb", "a\r\nb"])
def test_a_line_break_inside_a_piece_breaks_no_frame(text: str) -> None:
    assert frame(text) == b"data: a\ndata: b\n\n"


async def test_a_client_that_leaves_cancels_its_call(
    one: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hot, "PATIENCE", 0.0)
    admin = (await one.first())["access_token"]
    body = json.dumps(CHAT).encode()
    messages = [{"type": "http.request", "body": body, "more_body": False}]
    begun = asyncio.Event()

    async def receive() -> Any:
        if messages:
            return messages.pop()
        begun.set()
        return {"type": "http.disconnect"}

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/v1/chat/completions",
        "raw_path": b"/v1/chat/completions", "query_string": b"", "scheme": "http",
        "headers": [(b"authorization", f"Bearer {admin}".encode())],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 1), "http_version": "1.1",
    }  # fmt: skip
    await asyncio.wait_for(one.app(scope, receive, send), 20)
    assert begun.is_set()
    assert sent == []


def test_secrets_are_taken_out_of_logs_by_value_and_by_form() -> None:
    redact = Redactor(["hunter22-hunter22", "short"])
    key = "dure_" + "a" * 57
    text = f"hunter22-hunter22 {key} sk-{'b' * 20} eyJhbGciOi.eyJzdWIi.c2ln postgresql://u:pw@h/x"
    shown = redact(text)
    for secret in ("hunter22-", "aaaa", "bbbb", "eyJzdWIi", "u:pw"):
        assert secret not in shown, shown
    assert "short" in redact("short"), "what is that short is a word"


def test_errors_go_to_the_log_and_not_to_the_caller(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        async with inside(tmp_path) as app:
            app.client._transport.raise_app_exceptions = False  # type: ignore[attr-defined]

            def broken() -> Any:
                raise ZeroDivisionError("the reason 0x7fff")

            app.app.state.metrics.of_client = lambda _: broken()
            answer = await app.call("GET", "/metrics")
            assert answer.status_code == 500
            assert "0x7fff" not in answer.text

    with caplog.at_level(logging.ERROR, "dure.service"):
        asyncio.run(run())
    assert "internal error" in caplog.text


def test_rates_are_read_as_people_write_them() -> None:
    assert parse_rate("10/minute") == (10, 60)
    assert parse_rate(" 100 / 5 seconds ") == (100, 5)
    assert parse_rate("1/day") == (1, 86_400)
    for bad in ("", "10", "0/minute", "-1/minute", "10/month", "1e9/second", "10/minute/hour"):
        assert parse_rate(bad) is None, bad
