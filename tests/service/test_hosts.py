"""Two hosts, each with its own data folder, on one PostgreSQL and one Redis."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.service.conftest import running
from tests.service.test_workers import PASSWORD, call

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dure.testing.upstream import Upstream

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
LIMIT = 20_000


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    if shutil.which("redis-server") is None:
        pytest.skip("no redis-server on this machine")
    folder = tempfile.mkdtemp(prefix="rd")
    path = Path(folder, "s")
    arguments = ["--port", "0", "--unixsocket", str(path), "--save", "", "--dir", folder]
    server = subprocess.Popen(["redis-server", *arguments], stdout=subprocess.DEVNULL)
    while not path.exists():
        assert server.poll() is None
        time.sleep(0.02)
    try:
        yield f"unix://{path}"
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(folder)


@pytest.mark.parametrize("store", ["redis", "postgresql"])
def test_two_hosts_share_people_limits_and_figures(
    tmp_path: Path,
    provider: Upstream,
    postgres_url: str,
    request: pytest.FixtureRequest,
    store: str,
) -> None:
    fleet = request.getfixturevalue("redis_url") if store == "redis" else postgres_url
    own = {
        "OPENAI_BASE_URL": provider.url,
        "OPENAI_API_KEY": "sk-b",
        "DURE_AUTH": "on",
        "DURE_DATABASE_URL": postgres_url,
        "DURE_DATABASE_SCHEMA": f"hosts_{store}",
        "DURE_FLEET_URL": fleet,
        "DURE_SECRET_KEY": "the secret of all hosts of this fleet",
    }
    before = len(provider.log())
    with (
        running(tmp_path / "one", **own, DURE_FLEET_HOST=f"one-{store}") as (one, _),
        running(tmp_path / "two", **own, DURE_FLEET_HOST=f"two-{store}") as (two, _),
    ):
        first = (tmp_path / "one/first-start-token").read_text().split()[0]
        person = {"email": "root@example.com", "password": PASSWORD}
        root = call(f"{one}/api/auth/first-start", {"token": first, **person})[1]["access_token"]
        assert call(f"{two}/api/auth/me", token=root)[1]["email"] == person["email"]
        key = call(f"{one}/api/keys", {"name": "both"}, root)[1]["key"]
        pool = {"max_tokens": LIMIT, "policy": "block"}
        assert call(f"{one}/api/admin/usage/limits/pool", pool, root, "PUT")[0] == 200
        time.sleep(3)  # the other host has heard of it
        statuses: dict[str, list[int]] = {one: [], two: []}
        body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}

        def load(url: str) -> None:
            refused = 0
            while refused < 3:
                status, _ = call(f"{url}/v1/chat/completions", {**body, "max_tokens": 40}, key)
                statuses[url].append(status)
                refused += status == 429

        threads = [threading.Thread(target=load, args=(url,)) for url in (one, two) * 4]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(240)
        assert set(statuses[one]) == set(statuses[two]) == {200, 429}
        answered = statuses[one].count(200) + statuses[two].count(200)
        deadline = time.monotonic() + 30
        while True:
            shown = [
                call(f"{url}/api/admin/usage/limits", token=root)[1]["pool"] for url in (one, two)
            ]
            stats = call(f"{two}/api/admin/usage/statistics", token=root)[1]["windows"]["month"]
            if (
                shown[0]["used"] == shown[1]["used"] == stats["tokens"]
                and stats["calls"] == answered
            ):
                break
            assert time.monotonic() < deadline, (shown, stats, answered)
            time.sleep(0.5)
        assert LIMIT * 0.8 < stats["tokens"] <= LIMIT
    assert len(provider.log()) - before == answered
