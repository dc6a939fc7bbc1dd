"""Anthropic's own SDK reads the same usage, text and tool calls out of our recorded streams."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dure
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

anthropic = pytest.importorskip("anthropic", reason="scripts/adapters installs it")

STREAMS = sorted(Path(__file__).parents[2].glob("data/anthropic/*.sse"))
WHOLE = [path for path in STREAMS if path.stem != "overloaded"]
QUESTION: dict[str, Any] = {
    "model": "claude-sonnet-5-5",
    "messages": [{"role": "user", "content": "hi"}],
    "max_tokens": 100,
}


@pytest.fixture
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server that answers every request with the stream of the test."""
    body = request.param.read_bytes()

    class Replay(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Replay) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("address", WHOLE, ids=lambda path: path.stem, indirect=True)
def test_the_sdk_reads_the_same(address: str, tmp_path: Path) -> None:
    with (
        anthropic.Anthropic(base_url=address, api_key="k", max_retries=0) as sdk,
        sdk.messages.stream(**QUESTION) as events,
    ):
        theirs = events.get_final_message()
    with dure.Client(
        base_url=address, dialect="anthropic_messages", api_key="k", data=tmp_path
    ) as client:
        (ours,) = client.map([{**QUESTION, "stream": True}])
    assert not isinstance(ours, dure.DureError), ours
    usage, details = ours.usage, ours.usage.prompt_tokens_details
    read = theirs.usage.cache_read_input_tokens or 0
    written = theirs.usage.cache_creation_input_tokens or 0
    assert usage.prompt_tokens == theirs.usage.input_tokens + read + written
    assert usage.completion_tokens == theirs.usage.output_tokens
    assert details.cached_tokens == read
    assert details.cache_write_tokens + details.cache_write_1h_tokens == written
    message = ours.choices[0].message
    text = "".join(block.text for block in theirs.content if block.type == "text")
    assert (message.content or "") == text
    tools = [(b.id, b.name, b.input) for b in theirs.content if b.type == "tool_use"]
    calls = getattr(message, "tool_calls", None) or []
    assert [(c.id, c.function.name, json.loads(c.function.arguments)) for c in calls] == tools
