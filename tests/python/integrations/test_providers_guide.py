"""The examples about Anthropic, Azure and fallbacks run, against a server with their wires."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dure
import pytest

from .guides import blocks

if TYPE_CHECKING:
    from collections.abc import Iterator

STREAM = Path(__file__).parents[2] / "data/anthropic/text.sse"
MESSAGE = {
    "id": "msg_1",
    "role": "assistant",
    "model": "claude-sonnet-4-5",
    "content": [{"type": "text", "text": "The village does."}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 20, "cache_read_input_tokens": 3, "output_tokens": 4},
}
CHAT = {
    "id": "c",
    "object": "chat.completion",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "All."}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10},
}


class Provider(BaseHTTPRequestHandler):
    """Answers as each API does; `gpt-4o` is not there."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path == "/v1/messages" and body.get("stream"):
            self.reply(200, STREAM.read_bytes(), "text/event-stream")
        elif self.path == "/v1/messages":
            self.reply(200, json.dumps(MESSAGE).encode())
        elif body["model"] == "gpt-4o":
            error = {"message": "no such model", "type": "x", "param": None, "code": "x"}
            self.reply(404, json.dumps({"error": error}).encode())
        else:
            azure = "/openai/deployments/team-mini/chat/completions?api-version=2026-02-01"
            assert self.path in {azure, "/v1/chat/completions"}
            self.reply(200, json.dumps(CHAT).encode())

    def reply(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def address() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Provider) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("index", range(len(blocks("providers"))))
def test_the_examples_run(
    index: int,
    address: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in {
        "ANTHROPIC_BASE_URL": address,
        "ANTHROPIC_API_KEY": "sk-ant",
        "AZURE_OPENAI_ENDPOINT": address,
        "AZURE_OPENAI_API_KEY": "az",
        "OPENAI_BASE_URL": f"{address}/v1",
        "OPENAI_API_KEY": "sk",
        "DURE_DATA": str(tmp_path),
    }.items():
        monkeypatch.setenv(name, value)
    names: dict[str, Any] = {}
    exec(compile(blocks("providers")[index], "providers.md", "exec"), names)
    shown = capsys.readouterr().out
    assert shown.startswith(("The village does.\n3 0.00", "All. gpt-4o-mini 0.00", "gpt-4o-mini 2"))
    if index == 0:
        assert "소금은 짜다." in shown
    names["client"].close()
    report = dure.verify_ledger(tmp_path)
    assert report.ok
    assert report.open_holds == 0
