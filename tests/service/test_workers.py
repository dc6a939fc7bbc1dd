"""Several workers, one killed under load: no row is lost, nothing is overspent."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dure
import pytest

from tests.service.conftest import running

if TYPE_CHECKING:
    from dure.testing.upstream import Upstream

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
PASSWORD = "correct horse battery"
LIMIT = 60_000


def call(url: str, body: object = None, token: str = "", method: str | None = None) -> Any:
    headers = {"content-type": "application/json", "authorization": f"Bearer {token}"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        return refused.code, json.loads(refused.read() or b"null")


def children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def workers(pid: int) -> list[int]:
    found = []
    for child in children(pid):
        line = Path(f"/proc/{child}/cmdline").read_bytes()
        if b"spawn_main" in line:
            found.append(child)
    return found


def test_four_workers_lose_no_row_and_overspend_nothing(tmp_path: Path, provider: Upstream) -> None:
    data = tmp_path / "data"
    own = {"OPENAI_BASE_URL": provider.url, "OPENAI_API_KEY": "sk-b", "DURE_AUTH": "on"}
    before = len(provider.log())
    with running(data, "--workers=4", **own) as (url, process):
        first = (data / "first-start-token").read_text().split()[0]
        person = {"email": "root@example.com", "password": PASSWORD}
        root = call(f"{url}/api/auth/first-start", {"token": first, **person})[1]["access_token"]
        key = call(f"{url}/api/keys", {"name": "load"}, root)[1]["key"]
        pool = {"max_tokens": LIMIT, "policy": "block"}
        assert call(f"{url}/api/admin/usage/limits/pool", pool, root, "PUT")[0] == 200
        time.sleep(31)  # every worker has looked the caller up anew
        statuses: list[int] = []
        body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}

        def load() -> None:
            while True:
                try:
                    status, _ = call(f"{url}/v1/chat/completions", {**body, "max_tokens": 40}, key)
                except OSError:  # the worker that was killed
                    statuses.append(0)
                    continue
                statuses.append(status)
                if status == 429:
                    return

        threads = [threading.Thread(target=load) for _ in range(16)]
        for thread in threads:
            thread.start()
        while len(statuses) < 200:
            time.sleep(0.01)
        os.kill(workers(process.pid)[0], signal.SIGKILL)
        for thread in threads:
            thread.join(240)
        assert set(statuses) <= {0, 200, 429}
        deadline = time.monotonic() + 60
        while True:  # the survivors settle what the dead one held, then rows are taken over
            time.sleep(1)
            shown = call(f"{url}/api/admin/usage/limits", token=root)[1]["pool"]
            stats = call(f"{url}/api/admin/usage/statistics", token=root)[1]["windows"]["month"]
            if shown["held"] == 0 and stats["tokens"] == shown["used"]:
                break
            assert time.monotonic() < deadline, (shown, stats)
        assert shown["used"] <= LIMIT
    report = dure.verify_ledger(data)
    assert report.ok, report
    answered = statuses.count(200)
    sent = len(provider.log()) - before
    assert answered <= stats["calls"] <= sent + statuses.count(0)
