"""What a service's policy lets a request ask for beside an answer; keys known to all workers."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import dure
import pytest
from dure import models
from dure._core import policy
from dure.testing import upstream

from .conftest import HELLO

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .conftest import Scripted

PLAIN: dict[str, Any] = {"allowed_tiers": ["mini"], "default_model": "gpt-4o-mini"}
ASKED: dict[str, Any] = {"model": "gpt-4o-mini", "input": "hi", "max_output_tokens": 8}
MCP: dict[str, Any] = {"tools": [{"type": "mcp", "server_label": "x", "server_url": "https://x"}]}


@pytest.fixture(autouse=True)
def _policies() -> Iterator[None]:
    yield
    policy.reset()


@pytest.mark.parametrize(
    ("more", "allowed"),
    [
        ({"store": True}, {"store": True}),
        ({"service_tier": "priority"}, {"service_tiers": ["priority"]}),
        (MCP, {"remote_mcp": True}),
    ],
)
def test_what_a_policy_does_not_allow_is_named(
    scripted: Scripted, more: dict[str, Any], allowed: dict[str, Any]
) -> None:
    models.load_policies({"S": PLAIN, "T": {**PLAIN, **allowed}})
    client = scripted.client()
    with pytest.raises(dure.errors.InvalidArgumentError, match="not allowed for this") as no:
        client.responses.create(**ASKED, **more, dure=dure.Call(service="S"))
    assert no.value.path == next(iter(more))
    assert scripted.net.requests == []
    for call in (dure.Call(service="T"), dure.Call()):  # without a service: as the API has it
        scripted.answer({"error": {"message": "sent"}}, status=400)
        with pytest.raises(dure.DureError) as sent:  # by the network, or by a tier without a price
            client.responses.create(**ASKED, **more, dure=call)
        assert "not allowed" not in str(sent.value)


def test_a_services_answers_are_not_stored_unless_it_says_so(scripted: Scripted) -> None:
    models.load_policies({"S": PLAIN, "T": {**PLAIN, "store": True}})
    client = scripted.client()
    for service in ("S", "T"):
        scripted.answer({"error": {}}, status=400)
        with pytest.raises(dure.errors.UpstreamError):
            client.responses.create(**ASKED, dure=dure.Call(service=service))
    first, second = (json.loads(bytes(one["body"])) for one in scripted.net.requests)
    assert first["store"] is False
    assert "store" not in second


def test_unknown_parameters_pass_where_the_policy_says_so(scripted: Scripted) -> None:
    models.load_policies({"S": PLAIN, "T": {**PLAIN, "unknown_parameters": "pass"}})
    client = scripted.client()
    with pytest.raises(dure.errors.InvalidArgumentError, match="top_k"):
        client.chat.completions.create(**HELLO, top_k=3, dure=dure.Call(service="S"))
    scripted.answer()
    client.chat.completions.create(**HELLO, top_k=3, dure=dure.Call(service="T"))
    assert json.loads(bytes(scripted.net.requests[0]["body"]))["top_k"] == 3


def test_the_fields_are_read_checked_and_told() -> None:
    models.load_policies({"T": {**PLAIN, "store": True, "service_tiers": ["flex"]}})
    found = models.policies()["T"]
    assert (found.store, found.remote_mcp, found.server_tools) == (True, False, True)
    assert found.service_tiers == ("flex",)
    models.load_policies({"T": found})
    assert models.policies()["T"] == found
    for name, value in (("store", "yes"), ("unknown_parameters", "maybe"), ("service_tiers", "x")):
        with pytest.raises(dure.errors.InvalidArgumentError) as wrong:
            models.load_policies({"T": {**PLAIN, name: value}})
        assert wrong.value.path == f"T.{name}"
    assert models.policies()["T"] == found


WORKER = """
import sys
import dure
url, data = sys.argv[1:]
with dure.Client(base_url=url, api_key=["wrong", "right"], data=data) as client:
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(4):
        client.chat.completions.create(
            model="gpt-4o-mini", messages=[{"role": "user", "content": "hi"}]
        )
    print(sum(key.state == "parked" for key in client.keys.list()))
"""


def test_a_key_that_one_worker_parked_no_other_tries(tmp_path: Path) -> None:
    with upstream.start(api_key="right") as server:
        command = [sys.executable, "-c", WORKER, server.url, str(tmp_path)]
        workers = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(3)
        ]
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        # One after the other: what the first learns the others know.
        parked = [int(worker.communicate("go\n", timeout=60)[0]) for worker in workers]
        refused = [hit for hit in server.log() if hit["status"] == 401]
    assert parked == [1, 1, 1]
    assert len(refused) == 1
