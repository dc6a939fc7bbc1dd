"""A pytest plugin: openai-python's own tests, run with dure's `OpenAI` and `AsyncOpenAI`.

`scripts/conformance` loads it with `-p`. The suite asks for made-up models, so calls are not
metered here; everything else is the transport as users have it.

The tests of binary answers put a mock under httpx's own transport, which is not ours. What they
mock is served by a real server here, and the routes it does not have are passed on to Steady.
"""

from __future__ import annotations

import os
import tempfile
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import dure
import openai
import pytest
from dure.integrations import openai as ours

DATA = tempfile.mkdtemp(prefix="dure-conformance-")
CALL = dure.Call(metered=False)


class AsyncOpenAI(ours.AsyncOpenAI):
    """Takes no other transport than ours, whatever the suite hands it."""

    def __init__(self, *, http_client: object = None, **options: Any) -> None:  # noqa: ANN401, ARG002
        super().__init__(**{"call": CALL, "data": DATA, **options})


class OpenAI(ours.OpenAI):
    """Likewise."""

    def __init__(self, *, http_client: object = None, **options: Any) -> None:  # noqa: ANN401, ARG002
        super().__init__(**{"call": CALL, "data": DATA, **options})


class Front(BaseHTTPRequestHandler):
    """Answers the routes that the running test has mocked; passes on all others."""

    protocol_version = "HTTP/1.1"
    routes: ClassVar[dict[tuple[str, str], Any]] = {}
    behind = ""

    def answer(self) -> None:
        """Answer one request."""
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        mocked = self.routes.get((self.command, self.path.partition("?")[0]))
        if mocked is None:
            return self.send(*self.passed_on(body))
        mocked.called = True
        return self.send(
            mocked.response.status_code, mocked.response.headers, mocked.response.content
        )

    do_GET = do_POST = do_DELETE = answer

    def passed_on(self, body: bytes) -> tuple[int, Any, bytes]:
        """Return what the server behind says."""
        headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
        request = urllib.request.Request(
            self.behind + self.path, body or None, headers, method=self.command
        )
        try:
            with urllib.request.urlopen(request) as reply:
                return reply.status, reply.headers, reply.read()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.headers, refused.read()

    def send(self, status: int, headers: Any, body: bytes) -> None:  # noqa: ANN401
        """Send a whole answer."""
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in {"content-length", "transfer-encoding", "connection"}:
                self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Route:
    """What `respx2_mock.get(path)` gives: `.mock(return_value=)`."""

    def __init__(self, method: str, path: str) -> None:
        self.key, self.called, self.response = (method, path), False, None

    def mock(self, *, return_value: Any) -> Route:  # noqa: ANN401
        """Serve this answer."""
        return_value.read()
        self.response = return_value
        Front.routes[self.key] = self
        return self


class Router:
    """What the tests need of respx, over a real server."""

    def get(self, path: str) -> Route:
        """Serve GET."""
        return Route("GET", path)

    def post(self, path: str) -> Route:
        """Serve POST."""
        return Route("POST", path)


class Late:
    """Fixtures that stand before the suite's own."""

    @pytest.fixture
    def respx2_mock(self) -> Any:  # noqa: ANN401
        """Serve what the test mocks; each route must be asked for, as respx has it."""
        yield Router()
        routes = list(Front.routes.values())
        Front.routes.clear()
        assert routes
        assert all(route.called for route in routes)


def start_front(behind: str, port: int = 0) -> str:
    """Stand before Steady; return the URL."""
    Front.behind = behind
    server = ThreadingHTTPServer(("127.0.0.1", port), Front)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


if os.environ.get("DURE_CONFORMANCE") == "dure":
    openai.AsyncOpenAI = AsyncOpenAI  # type: ignore[misc]
    openai.OpenAI = OpenAI  # type: ignore[misc]
    os.environ["TEST_API_BASE_URL"] = start_front(os.environ["TEST_API_BASE_URL"])


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Register late: of equal names, the last fixture wins."""
    if os.environ.get("DURE_CONFORMANCE") == "dure":
        session.config.pluginmanager.register(Late(), "dure-late")


def pytest_terminal_summary(terminalreporter: Any) -> None:  # noqa: ANN401
    """Say how many calls went through dure, or a run without it would look the same."""
    calls = dure.Client(base_url="http://127.0.0.1:9", data=DATA).counters["calls"]
    terminalreporter.write_line(f"dure calls: {calls}")
