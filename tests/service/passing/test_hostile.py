"""What callers do to routes that pass on: hide a huge body behind no login, read slowly, leave."""

from __future__ import annotations

import http.client
import json
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from dure import costs
from dure.testing import upstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.service.conftest import Serve
    from tests.service.inside import Inside

FORMS = [
    ("POST", "/v1/files"),
    ("POST", "/v1/audio/transcriptions"),
    ("POST", "/api/files"),
    ("PATCH", "/api/files/file_x/content"),
    ("POST", "/api/knowledge/documents"),
    ("POST", "/v1/responses"),
    ("POST", "/v1/completions"),
    ("POST", "/v1/batches"),
]
PACE = 0.05
MESSAGES = [{"role": "user", "content": "Tell me of the village and of its many hands."}]
STREAMS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/completions", {"model": "gpt-3.5-turbo", "prompt": "Hello", "max_tokens": 60}),
    ("/v1/responses", {"model": "gpt-4o-mini", "input": MESSAGES}),
    ("/v1/messages", {"model": "gpt-4o-mini", "max_tokens": 60, "messages": MESSAGES}),
]


async def test_no_body_byte_is_read_before_the_refusal(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    _, viewer = await app.add(admin, "v@example.com", "viewer")
    read = 0

    async def huge() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(10):
            read += 1
            yield bytes(1 << 20)

    for method, path in FORMS:
        for kind in ("multipart/form-data; boundary=", "application/octet-stream"):
            for key, status in ((None, 401), (viewer, 403)):
                headers = {"content-type": kind}
                if key is not None:
                    headers["authorization"] = f"Bearer {key}"
                answer = await app.client.request(method, path, content=huge(), headers=headers)
                assert answer.status_code == status, (path, answer.text)
    assert read == 0, "nothing of the body was asked for"


@pytest.fixture(scope="module")
def slow(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    data = tmp_path_factory.mktemp("slow")
    with (
        upstream.start(seed=5, pace=PACE) as provider,
        serve(data, "--dev", OPENAI_BASE_URL=provider.url, OPENAI_API_KEY="sk-x") as url,
    ):
        yield url, data


def opened(url: str, path: str, body: dict[str, Any]) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=30)
    text = json.dumps({**body, "stream": True})
    connection.request("POST", path, text, {"content-type": "application/json"})
    return connection


@pytest.mark.parametrize(("path", "body"), STREAMS)
def test_pieces_are_passed_on_when_they_come(
    slow: tuple[str, Path], path: str, body: dict[str, Any]
) -> None:
    connection = opened(slow[0], path, body)
    answer = connection.getresponse()
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert "content-encoding" not in answer.headers
    came = []
    while line := answer.readline():
        if line.startswith(b"data:"):
            came.append(time.monotonic())
    connection.close()
    assert len(came) > 8
    # the provider takes PACE for each; a stream that is held back would come at once
    assert came[-1] - came[0] > 4 * PACE
    assert came[len(came) // 2] - came[0] > PACE


def test_who_leaves_a_stream_has_it_settled_by_what_came(slow: tuple[str, Path]) -> None:
    url, data = slow
    before = len(ended(data))
    for path, body in STREAMS:
        connection = opened(url, path, body)
        answer = connection.getresponse()
        assert answer.readline()
        answer.close()
        connection.close()
    for _ in range(200):
        found = ended(data)
        if len(found) >= before + len(STREAMS):
            break
        time.sleep(0.05)
    assert len(found) == before + len(STREAMS), "every hold has ended"
    assert all(one["pico"] > 0 for one in found[before:])


def ended(data: Path) -> list[dict[str, Any]]:
    return [one for one in costs.ledger_records(data) if one["type"] == "SETTLE"]
