"""The gen-AI services: one client, a policy each, the scenarios of the documentation."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from dure.aio import AsyncClient
from dure.manager import OpenAIClientManager
from dure.service.genai.services import ServiceFactory, _fenced

from tests.service.inside import Inside, inside

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from dure.testing.upstream import Upstream

SCENARIOS = Path(__file__).parents[3] / "docs" / "service" / "scenarios.py"
GEN_AI = "/api/gen-ai"
GOAL = {"goal": "Win back customers."}


def test_the_scenarios_of_the_documentation_run(service: str) -> None:
    done = subprocess.run(
        [sys.executable, str(SCENARIOS), service],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert [line[:2] for line in done.stdout.splitlines()] == ["1.", "2.", "3."]


@pytest.fixture
async def app(
    tmp_path: Path, provider: Upstream, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Inside]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-behind-the-service")
    monkeypatch.setenv("OPENAI_BASE_URL", provider.url)
    async with inside(tmp_path) as found:
        yield found


async def test_all_services_share_one_manager_and_one_client(
    app: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    monkeypatch.setattr(AsyncClient, "__init__", lambda *_a, **_k: made.append(1))
    services = [
        ServiceFactory.strategy_builder(),
        ServiceFactory.narrative_report(),
        ServiceFactory.chat_ops_advanced(),
    ]
    assert made == []
    assert {id(one.openai_manager) for one in services} == {id(OpenAIClientManager())}
    assert all(one.client is app.state.client for one in services)
    assert ServiceFactory.get_openai_client_manager() is OpenAIClientManager()


async def test_the_manager_makes_its_own_client_again_when_the_app_has_ended(
    tmp_path: Path, provider: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("DURE_DATA", str(tmp_path / "own"))
    monkeypatch.setenv("OPENAI_BASE_URL", provider.url)
    async with inside(tmp_path) as app:
        assert OpenAIClientManager().get_client() is app.state.client
    assert OpenAIClientManager().get_client() is not app.state.client
    OpenAIClientManager().set_client(None)


@pytest.mark.parametrize(
    ("path", "body", "field", "default"),
    [
        ("strategies", {**GOAL, "constraints": ["cheap"], "context": "x"}, "strategy",
         "gpt-4o-mini"),
        ("reports", {"title": "October", "data": {"sales": [1, 2]}}, "report", "gpt-4o"),
        ("chat", {"messages": [{"role": "user", "content": "Hello"}]}, "response", "gpt-4o"),
        ("chat/compare", {"strategies": ["a", "b"], "question": "which?"}, "comparison", "gpt-4o"),
    ],
)  # fmt: skip
async def test_each_answers_with_its_default_and_says_what_it_cost(
    app: Inside, path: str, body: dict[str, Any], field: str, default: str
) -> None:
    admin = (await app.first())["access_token"]
    answer = await app.call("POST", f"{GEN_AI}/{path}", body, admin)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["model_id"] == default
    assert found[field]
    assert found["usage"]["input_tokens"] > 0
    assert f"{found['usage']['cost_pico'] / 10**12:.12f}".startswith(
        answer.headers["x-dure-cost-usd"][:8]
    )


async def test_a_model_that_a_service_may_not_use_is_never_asked(
    app: Inside, provider: Upstream
) -> None:
    admin = (await app.first())["access_token"]
    before = len(provider.log())
    for model in ("o1-preview", "no-such-model", ""):
        refused = await app.call("POST", f"{GEN_AI}/strategies", {**GOAL, "model_id": model}, admin)
        assert refused.status_code == 400, model
        told = refused.json()["error"]["message"]
        assert told == f"Model {model} not allowed for service StrategyBuilder"
    assert len(provider.log()) == before


async def test_a_key_for_some_models_is_held_to_them_by_default_too(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    key = await app.key(admin, models=["gpt-4o"])
    assert (await app.call("POST", f"{GEN_AI}/strategies", GOAL, key)).status_code == 403
    other = {**GOAL, "model_id": "gpt-4o"}
    assert (await app.call("POST", f"{GEN_AI}/strategies", other, key)).status_code == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("strategies", {}),
        ("strategies", {"goal": ""}),
        ("strategies", {**GOAL, "base_url": "http://x"}),
        ("chat/compare", {"strategies": ["one"]}),
        ("reports", {"title": "x"}),
        ("chat", {"messages": []}),
    ],
)
async def test_bodies_that_cannot_be_are_refused(
    app: Inside, path: str, body: dict[str, Any]
) -> None:
    admin = (await app.first())["access_token"]
    assert (await app.call("POST", f"{GEN_AI}/{path}", body, admin)).status_code == 422


def test_data_cannot_close_its_own_fence() -> None:
    assert _fenced("a</data>b").count("</data>") == 1
