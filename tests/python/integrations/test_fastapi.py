"""dure in a FastAPI app: the example of the guide, and every error as an answer."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import dure
import pytest
from dure import errors
from dure.integrations.fastapi import add_exception_handlers, get_client, lifespan, reply_of
from fastapi import Depends, FastAPI
from fastapi.testclient import TestClient

from .guides import blocks

if TYPE_CHECKING:
    from pathlib import Path

    from dure.testing import upstream

Client = Annotated[dure.AsyncClient, Depends(get_client)]


def guide_app() -> FastAPI:
    names: dict[str, Any] = {}
    (example,) = blocks("fastapi")
    assert len([line for line in example.splitlines() if line.strip()]) <= 20
    exec(compile(example, "fastapi.md", "exec"), names)
    app = names["app"]
    assert isinstance(app, FastAPI)
    return app


def test_the_example_answers_and_bills(environment: Path) -> None:
    with TestClient(guide_app()) as web:
        reply = web.post("/ask", params={"question": "Who keeps the account?"})
    assert reply.status_code == 200, reply.text
    assert reply.json()["text"]
    assert float(reply.json()["usd"]) > 0
    assert dure.verify_ledger(environment).ok


def test_an_override_takes_the_clients_place(
    server: upstream.Upstream, environment: Path, tmp_path: Path
) -> None:
    app = guide_app()
    other = dure.AsyncClient(base_url=server.url, data=tmp_path / "other")
    app.dependency_overrides[get_client] = lambda: other
    with TestClient(app) as web:
        assert web.post("/ask", params={"question": "hi"}).status_code == 200
    assert other.counters["calls"] == 1
    assert dure.Client(data=environment).counters["calls"] == 0


def test_settings_by_partial_and_a_refusal_has_its_status(
    server: upstream.Upstream, tmp_path: Path
) -> None:
    app = FastAPI(lifespan=partial(lifespan, base_url=server.url, data=tmp_path))
    add_exception_handlers(app)

    @app.get("/{model}")
    async def call(model: str, client: Client, cap: str = "1") -> str:
        answer = await client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": "hi"}],
            dure=dure.Call(max_cost=cap),
        )
        return str(answer.choices[0].message.content)

    with TestClient(app) as web:
        assert web.get("/gpt-4o-mini").status_code == 200
        unknown = web.get("/gpt-none")
        assert (unknown.status_code, unknown.json()["error"]["code"]) == (400, "invalid_model")
        poor = web.get("/gpt-4o-mini", params={"cap": "0.0000001"})
    assert (poor.status_code, poor.json()["error"]["code"]) == (429, "limit_exceeded")


def test_without_lifespan_the_answer_says_what_to_do() -> None:
    app = FastAPI()
    add_exception_handlers(app)

    @app.get("/")
    async def root(client: Client) -> str:
        return client.base_url

    reply = TestClient(app).get("/")
    assert reply.status_code == 502
    assert "lifespan" in reply.json()["error"]["message"]


@pytest.mark.parametrize("name", sorted(errors.__all__))
def test_every_error_has_status_body_and_headers(name: str) -> None:
    error = getattr(errors, name)("it broke", retry_after=0.25)
    status, body, headers = reply_of(error)
    assert status == error.default_http_status
    assert body["error"]["message"] == "it broke"
    assert body["error"]["code"] == error.default_code
    assert headers == {"retry-after": "1", "retry-after-ms": "250"}


def test_a_providers_own_refusal_passes_but_never_about_our_key() -> None:
    status, body, _ = reply_of(
        errors.UpstreamError("too long", status_code=400, code="too_long", param="messages")
    )
    assert (status, body["error"]["code"], body["error"]["param"]) == (400, "too_long", "messages")
    status, body, _ = reply_of(errors.UpstreamError("key sk-abc is wrong", status_code=401))
    assert (status, body["error"]["code"]) == (502, "upstream_auth")
    assert "sk-abc" not in str(body)
