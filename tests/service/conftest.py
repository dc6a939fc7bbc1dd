"""A real `dure serve` with the real upstream behind it."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from dure.service.kit.clock import SystemClock
from dure.testing import upstream

from tests.postgres import postgres_server
from tests.service.inside import Hands, inside

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from dure.testing.upstream import Upstream

    from tests.service.inside import Inside


_numbers = itertools.count()

Serve = Callable[..., AbstractContextManager[str]]
Served = tuple[str, subprocess.Popen[bytes]]  # its URL, and itself


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as plug:
        return int(plug.getsockname()[1])


@contextmanager
def serving(data: Path, *arguments: str, **environment: str) -> Iterator[str]:
    """Start `dure serve`, wait until it answers, give its URL, stop it."""
    with running(data, *arguments, **environment) as (url, process):
        yield url
    assert process.returncode == 0


def quiet(data: Path) -> dict[str, str]:
    """Settings of a service whose test is not about login, rates or logs."""
    return {
        "DURE_AUTH": "off",
        "DURE_RATE_CHAT": "1000000/minute",
        "DURE_ACCESS_LOG": "off",
        "XDG_CONFIG_HOME": str(data / "config"),
    }


@contextmanager
def running(data: Path, *arguments: str, **environment: str) -> Iterator[Served]:
    """As `serving`, with the process; it may have ended by itself."""
    named = [int(one.partition("=")[2]) for one in arguments if one.startswith("--port=")]
    port = named[0] if named else free_port()
    command = [sys.executable, "-m", "dure", "serve", f"--port={port}", "--data", str(data)]
    process = subprocess.Popen([*command, *arguments], env=os.environ | quiet(data) | environment)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_up(url, process)
        yield url, process
    finally:
        process.terminate()
        process.wait(20)


def wait_until_up(url: str, process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert process.poll() is None, "dure serve ended at once"
        try:
            with urllib.request.urlopen(f"{url}/api/health", timeout=5):
                return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("dure serve did not come up")


@pytest.fixture(scope="session")
def provider() -> Iterator[Upstream]:
    with upstream.start(seed=5) as running:
        yield running


@pytest.fixture(scope="session")
def service(provider: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    data = tmp_path_factory.mktemp("service")
    with serving(
        data,
        "--dev",
        OPENAI_BASE_URL=provider.url,
        OPENAI_API_KEY="sk-behind-the-service",
        DURE_CALL_PRICES='{"*": {"call": "0.04"}}',
    ) as url:
        yield url


@pytest.fixture(scope="session")
def serve() -> Serve:
    """`with serve(data, *arguments, **environment) as url`: another service."""
    return serving


@pytest.fixture(scope="session")
def serve_process() -> Callable[..., AbstractContextManager[Served]]:
    """`with serve_process(data, ...) as (url, process)`: one that the test may stop."""
    return running


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    with postgres_server() as url:
        yield url


@pytest.fixture
def service_data(tmp_path: Path, provider: Upstream, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for a service inside this process, which calls the provider."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-behind-the-service")
    monkeypatch.setenv("OPENAI_BASE_URL", provider.url)
    return tmp_path


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Settings that name an empty database; a schema of its own for each test."""
    if request.param == "sqlite":
        return {}
    url: str = request.getfixturevalue("postgres_url")
    return {"database_url": url, "database_schema": f"app_{next(_numbers)}"}


@pytest.fixture
async def app(service_data: Path, place: dict[str, Any]) -> AsyncIterator[Inside]:
    """The service inside this process, on each database."""
    async with inside(service_data, core_clock(), **place) as found:
        yield found


@pytest.fixture
async def sqlite_app(service_data: Path) -> AsyncIterator[Inside]:
    """The same on SQLite, for what is alike on every database."""
    async with inside(service_data, core_clock()) as found:
        yield found


def core_clock() -> Hands:
    """Return a clock that begins at the core's time."""
    clock = Hands()
    clock.time = SystemClock().now()
    return clock
