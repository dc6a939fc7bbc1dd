"""LangChain's standard tests of chat models and embeddings, against a real server.

Run by `scripts/conformance-langchain`, which brings `langchain-tests`. The server's model quotes
and calls no tools, so what needs a model's tool calls is left to the scripted tests below.
"""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

import dure
import pytest  # noqa: TC002 - the suites read annotations
from dure._testing import FakeClock, FakeRandom, FakeTransport
from dure.integrations.langchain import ChatDure, DureEmbeddings
from dure.testing import upstream
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_tests.integration_tests import ChatModelIntegrationTests, EmbeddingsIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests, EmbeddingsUnitTests
from pydantic import BaseModel

SERVER = upstream.start()
DATA = tempfile.mkdtemp(prefix="dure-langchain-")
GUIDE = Path(__file__).parents[2] / "docs/guides/langchain.md"


class Chat:
    """What the chat suites are run with."""

    @property
    def chat_model_class(self) -> type[ChatDure]:
        return ChatDure

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "gpt-4o-mini", "base_url": SERVER.url, "data": DATA}


class TestChatUnit(Chat, ChatModelUnitTests):
    """Construction, parameters, tools, schemas."""


class TestChat(Chat, ChatModelIntegrationTests):
    """Calls, streams, batches, usage."""

    has_tool_calling = False
    has_structured_output = False
    supports_model_override = True
    model_override_value = "gpt-4o"


class Vectors:
    """What the embeddings suites are run with."""

    @property
    def embeddings_class(self) -> type[DureEmbeddings]:
        return DureEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"model": "text-embedding-3-small", "base_url": SERVER.url, "data": DATA}


class TestEmbeddingsUnit(Vectors, EmbeddingsUnitTests):
    """Construction."""


class TestEmbeddings(Vectors, EmbeddingsIntegrationTests):
    """Vectors, both faces."""


class Weather(BaseModel):
    """Where and when."""

    city: str


def scripted(tmp_path: Path, message: dict[str, Any]) -> tuple[ChatDure, FakeTransport]:
    """Return a model whose provider says `message`."""
    clock = FakeClock()
    net = FakeTransport(clock)
    body = {
        "id": "c",
        "object": "chat.completion",
        "model": "gpt-4o-mini",
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8},
    }
    net.reply([json.dumps(body)])
    model = ChatDure(model="gpt-4o-mini")
    model.__dict__["_client"] = dure.Client(
        base_url="http://127.0.0.1/v1",
        data=tmp_path,
        transport=net,
        clock=clock,
        random=FakeRandom(1),
    )
    return model, net


def call(name: str, arguments: str) -> dict[str, Any]:
    made = {"id": "t1", "type": "function", "function": {"name": name, "arguments": arguments}}
    return {"role": "assistant", "content": None, "tool_calls": [made]}


def test_structured_output_is_a_tool_call(tmp_path: Path) -> None:
    model, net = scripted(tmp_path, call("Weather", '{"city":"Seoul"}'))
    found = model.with_structured_output(Weather).invoke("Where?")
    assert found == Weather(city="Seoul")
    sent = json.loads(net.requests[0]["body"])
    assert sent["tools"][0]["function"]["name"] == "Weather"
    assert sent["tool_choice"] == {"type": "function", "function": {"name": "Weather"}} or (
        sent["tool_choice"] == "required"
    )


def test_arguments_that_are_no_object_are_an_invalid_call(tmp_path: Path) -> None:
    model, _ = scripted(tmp_path, call("Weather", "[1"))
    answer = model.bind_tools([Weather]).invoke("Where?")
    assert answer.tool_calls == []
    assert answer.invalid_tool_calls[0]["args"] == "[1"


def test_a_history_with_tools_goes_out_as_the_api_has_it(tmp_path: Path) -> None:
    model, net = scripted(tmp_path, {"role": "assistant", "content": "warm"})
    made = {"name": "Weather", "args": {"city": "Seoul"}, "id": "t1", "type": "tool_call"}
    answer = model.invoke(
        [
            HumanMessage("Is it warm?"),
            AIMessage("", tool_calls=[made]),  # type: ignore[list-item]
            ToolMessage("30 C", tool_call_id="t1"),
        ]
    )
    sent = json.loads(net.requests[0]["body"])["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "tool"]
    assert sent[1]["tool_calls"][0]["function"]["name"] == "Weather"
    assert answer.response_metadata["dure"]["cost_pico"] == 5 * 150_000 + 3 * 600_000


def test_the_guide_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", SERVER.url)
    monkeypatch.setenv("DURE_DATA", str(tmp_path))
    (example,) = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(), re.DOTALL | re.MULTILINE)
    exec(compile(example, "langchain.md", "exec"), {})
    assert "1536" in capsys.readouterr().out
    report = dure.verify_ledger(tmp_path)
    assert report.ok
    assert report.spent_pico > 0
