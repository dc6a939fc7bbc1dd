"""Rates of a data folder: one limit for all its processes."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import dure
import pytest
from dure import errors
from dure.testing import upstream

from .conftest import CHAT, HELLO

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Scripted

WORKER = """
import sys
import dure
url, data = sys.argv[1:]
client = dure.Client(base_url=url, api_key="k", data=data)
call = dure.Call(org="acme", deadline=1.5)
done = 0
for _ in range(20):
    try:
        client.chat.completions.create(
            model="gpt-4o-mini", messages=[{"role": "user", "content": "hi"}], dure=call
        )
        done += 1
    except dure.errors.RateLimitError as refused:
        assert refused.retry_after > 0
print(done)
"""


def test_three_processes_keep_one_rate(tmp_path: Path) -> None:
    with upstream.start(seed=3) as server:
        client = dure.Client(base_url=server.url, api_key="k", data=tmp_path)
        client.rates.set("org:acme", rpm=10, burst_seconds=60)  # one every six seconds after ten
        workers = [
            subprocess.Popen(
                [sys.executable, "-c", WORKER, server.url, str(tmp_path)],
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(3)
        ]
        done = [int(worker.communicate(timeout=50)[0]) for worker in workers]
        sent = len(server.log())
    assert sum(done) == sent
    assert 10 <= sent <= 10 + 6, done  # half a minute of refills at most


def test_rates_are_read_changed_and_taken_away(scripted: Scripted) -> None:
    client = scripted.client()
    assert client.rates.read("org:a") == client.rates.read("user:b")
    client.rates.set("org:a", rpm=60, tpm=6000, burst_seconds=1)
    rate = client.rates.read("org:a")
    assert (rate.rpm, rate.tpm, rate.requests_left, rate.tokens_left) == (60, 6000, 1, 100)
    call = dure.Call(org="a", deadline=0.5)
    scripted.answer(CHAT)
    client.chat.completions.create(**HELLO, max_tokens=20, dure=call)
    assert client.rates.read("org:a").tokens_left == pytest.approx(90), "as the answer used"
    with pytest.raises(errors.RateLimitError) as caught:
        client.chat.completions.create(**HELLO, max_tokens=20, dure=call)
    assert caught.value.retry_after == pytest.approx(1.0)
    with pytest.raises(errors.InvalidArgumentError) as never:
        client.chat.completions.create(**HELLO, max_tokens=200, dure=call)
    assert never.value.code == "request_exceeds_rate"
    client.rates.set("org:a", rpm=0, tpm=0)
    scripted.answer(CHAT)
    client.chat.completions.create(**HELLO, max_tokens=200, dure=call)
    assert client.rates.read("org:a").rpm is None


@pytest.mark.parametrize("wrong", [{"rpm": -1}, {"rpm": 1e13}, {"rpm": 1, "burst_seconds": 0}])
def test_wrong_rates_are_refused(scripted: Scripted, wrong: dict[str, float]) -> None:
    with pytest.raises(errors.InvalidArgumentError):
        scripted.client().rates.set("org:a", **wrong)
    with pytest.raises(errors.InvalidArgumentError):
        scripted.client().rates.set("acme", rpm=1)
