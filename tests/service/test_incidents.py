"""What has happened to others: each incident that docs/security-audit.md names, tried here."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from dure.service.auth import api_keys
from dure.testing import upstream
from sqlalchemy import event

from tests.service.inside import inside

if TYPE_CHECKING:
    from tests.service.inside import Inside

SOURCES = Path(__file__).parents[2] / "python/dure"
CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}
INJECTED = (
    "dure_' OR 1=1 --",
    "dure_" + "a" * 8 + "' UNION SELECT * FROM api_keys --",
    "' OR ''='",
    "dure_\x00",
)


@pytest.mark.parametrize("credential", INJECTED)
async def test_sql_in_a_credential_is_text(app: Inside, credential: str) -> None:
    await app.first()
    answer = await app.client.request(
        "GET", "/api/models", headers=[(b"x-api-key", credential.encode())]
    )
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] in {"invalid_api_key", "invalid_token"}


async def test_a_key_is_looked_up_by_a_bound_parameter(app: Inside) -> None:
    root = (await app.first())["access_token"]
    key = await app.key(root)
    seen: list[tuple[str, Any]] = []

    def look(_c: Any, _cursor: Any, statement: str, parameters: Any, *_more: Any) -> None:
        seen.append((statement, parameters))

    engine = app.state.database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", look)
    parts = api_keys.parse(key)
    assert parts is not None
    assert (await app.call("GET", "/api/models", key=key)).status_code == 200
    assert any(parts.id in str(parameters) for _, parameters in seen)
    assert not any(parts.id in statement for statement, _ in seen)
    assert parts.secret not in str(seen)


async def test_the_host_header_moves_no_decision(app: Inside) -> None:
    await app.first()
    for host in ("testserver/docs", "evil.example", "testserver/health/live?", "a@b/health/live"):
        answer = await app.client.get("/api/models", headers={"host": host})
        assert answer.status_code in {401, 403}, host


async def test_no_body_names_a_provider(app: Inside, provider: upstream.Upstream) -> None:
    root = (await app.first())["access_token"]
    with upstream.start(seed=9) as theirs:
        for name in ("base_url", "api_base", "api_key", "organization", "proxy"):
            body = {**CHAT, name: f"{theirs.url}"}
            await app.call("POST", "/v1/chat/completions", body, root)
            await app.call("POST", "/chat", {"messages": CHAT["messages"], name: theirs.url}, root)
        assert theirs.log() == [], "nothing of ours went there"
    assert provider.log(), "it went where the settings say"


async def test_a_name_that_stands_twice_is_read_one_way(app: Inside) -> None:
    root = (await app.first())["access_token"]
    key = await app.key(root, models=["gpt-4o-mini"])
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    rest = '"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5'
    names = ("gpt-4o", "gpt-4o-mini")
    both = [f'{{"model": "{one}", "model": "{other}", %s}}' for one in names for other in names]
    for text in both:
        answer = await app.client.post("/v1/chat/completions", content=text % rest, headers=headers)
        if answer.status_code == 200:
            assert answer.headers["x-dure-model"].startswith("gpt-4o-mini")
        else:
            assert answer.status_code == 403


def calls_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text("utf-8"))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            found.add(ast.unparse(node.func))
        elif isinstance(node, ast.Import):
            found |= {f"import {one.name}" for one in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(f"import {node.module}")
    return found


def test_no_code_is_made_from_data() -> None:
    banned = {
        "eval", "exec", "compile", "__import__", "yaml.load", "yaml.unsafe_load",
        "import pickle", "import marshal", "import shelve", "import dill", "os.system",
        "subprocess.getoutput", "importlib.import_module", "import_module",
    }  # fmt: skip
    paths = [*(SOURCES / "service").rglob("*.py"), *(SOURCES / "db").rglob("*.py")]
    assert len(paths) > 60
    for path in paths:
        assert calls_in(path) & banned == set(), path


def test_every_raise_from_a_library_hides_its_cause() -> None:
    """A traceback that reaches a log must not carry SQL, paths or bodies of others."""
    for path in (SOURCES / "service").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ExceptHandler) and node.name is None:
                raises = [one for one in ast.walk(node) if isinstance(one, ast.Raise) and one.exc]
                for one in raises:
                    assert one.cause is not None, f"{path}:{one.lineno}: raise ... from None"


@pytest.mark.parametrize("status", [401, 402, 403])
async def test_a_providers_refusal_of_our_key_says_nothing_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
    from threading import Thread

    class Refusing(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            key = self.headers["authorization"]
            body = json.dumps({"error": {"message": f"wrong key {key}", "code": "x"}}).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-our-own-secret-key")
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{server.server_port}/v1")
    try:
        async with inside(tmp_path) as app:
            root = (await app.first())["access_token"]
            answer = await app.call("POST", "/v1/chat/completions", CHAT, root)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_auth")
    assert "sk-our-own-secret-key" not in answer.text
    assert "wrong key" not in answer.text


async def test_a_redirect_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
    from threading import Thread

    asked: list[str] = []

    class Redirecting(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(307)
            self.send_header("location", f"http://127.0.0.1:{server.server_port}/elsewhere")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Redirecting)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-our-own-secret-key")
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{server.server_port}/v1")
    try:
        async with inside(tmp_path) as app:
            root = (await app.first())["access_token"]
            answer = await app.call("POST", "/v1/chat/completions", CHAT, root)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert answer.status_code == 502
    assert set(asked) == {"/v1/chat/completions"}


async def test_a_person_who_leaves_keeps_their_rows(app: Inside) -> None:
    root = (await app.first())["access_token"]
    user_id, kim = await app.add(root, "kim@example.com", "user")
    assert (await app.call("POST", "/v1/chat/completions", CHAT, kim)).status_code == 200
    from dure.service.usage.poster import LedgerPoster

    await LedgerPoster(app.state.database, app.data).post()
    path = f"/api/admin/users/{user_id}"
    assert (await app.call("PATCH", path, {"disabled": True}, root)).status_code == 200
    assert (await app.call("GET", "/api/models", key=kim)).status_code == 401
    detail = await app.call("GET", f"/api/admin/usage/users/{user_id}", key=root)
    assert detail.json()["user"]["calls"] == 1


async def test_a_call_of_a_known_caller_asks_no_database(app: Inside) -> None:
    """Rows wait in the ledger until the database is there."""
    root = (await app.first())["access_token"]
    key = await app.key(root)
    assert (await app.call("POST", "/v1/chat/completions", CHAT, key)).status_code == 200
    before = len((await app.call("GET", "/api/keys", key=root)).json()["keys"])
    with app.statements() as statements:
        for _ in range(5):
            answer = await app.call("POST", "/v1/chat/completions", CHAT, key)
            assert answer.status_code == 200
    assert statements == []
    assert before >= 1
