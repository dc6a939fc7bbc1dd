"""Who may start, who may enter: settings, keys, caps."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from dure.errors import InvalidArgumentError
from dure.service.settings import Settings, is_loopback
from dure.testing import upstream

from .conftest import quiet, wait_until_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from dure.testing.upstream import Upstream

    from .conftest import Served

KEY = "dure-test-key-0123456789"


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.7", "::"])
def test_development_and_no_login_are_for_loopback_only(host: str) -> None:
    with pytest.raises(InvalidArgumentError, match="loopback"):
        Settings(dev=True, host=host)
    with pytest.raises(InvalidArgumentError, match="DURE_AUTH=off is for the loopback"):
        Settings(host=host, auth="off")
    assert Settings(host=host).host == host
    assert Settings(auth="off").auth == "off"


def test_every_fault_is_named_at_once_and_no_secret() -> None:
    with pytest.raises(InvalidArgumentError) as wrong:
        Settings(dev=True, host="0.0.0.0", port=70_000, api_keys=("short-key",))
    for part in ("70000", "loopback", "DURE_API_KEYS"):
        assert part in str(wrong.value)
    assert "short-key" not in str(wrong.value)
    assert KEY not in repr(Settings(api_keys=(KEY,)))


def test_settings_survive_the_way_to_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    first = Settings(dev=True, port=8123, data=Path("/tmp/x"))
    for name, value in first.to_environment().items():
        monkeypatch.setenv(name, value)
    assert Settings() == first
    monkeypatch.setenv("DURE_API_KEYS", f"{KEY}, {KEY}2")
    assert Settings().api_keys == (KEY, KEY + "2")
    monkeypatch.setenv("DURE_PORT", "http")
    with pytest.raises(InvalidArgumentError, match="DURE_PORT"):
        Settings()


def test_settings_come_from_files_too_and_the_nearest_wins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text("chat_model: from-yaml\nembed_model: from-yaml\nport: 1\n")
    monkeypatch.setenv("DURE_SETTINGS", str(tmp_path / "s.yaml"))
    (tmp_path / ".env").write_text("DURE_EMBED_MODEL=from-dotenv\nDURE_PORT=2\nOTHER=1\n")
    (tmp_path / "secret").write_text("x" * 40 + "\n")
    monkeypatch.setenv("DURE_SECRET_KEY_FILE", str(tmp_path / "secret"))
    monkeypatch.setenv("DURE_PORT", "3")
    found = Settings()
    assert (found.chat_model, found.embed_model, found.port) == ("from-yaml", "from-dotenv", 3)
    assert found.secret_key is not None
    assert found.secret_key.get_secret_value() == "x" * 40
    assert "xxx" not in repr(found)
    assert Settings(port=4).port == 4


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("prot: 1", "no settings prot"),
        ("- a\n- b", "no mapping"),
        ("a: [", "line 1 is no YAML"),
        ("a: &x 1\nb: *x", "aliases"),
        ("x: !!python/object/apply:os.system ['true']", "no YAML"),
        (" " * (2 << 20), "larger than"),
    ],
)
def test_a_settings_file_is_data_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, fault: str
) -> None:
    (tmp_path / "s.yaml").write_text(text)
    monkeypatch.setenv("DURE_SETTINGS", str(tmp_path / "s.yaml"))
    with pytest.raises(InvalidArgumentError, match=fault):
        Settings()


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"rate_chat": "ten a minute"}, "no rate"),
        ({"rate_caller": "0/minute"}, "no rate"),
        ({"cors_origins": ("*",)}, "never"),
        ({"trusted_proxies": ("proxy",)}, "no address"),
        ({"secret_key": "short-secret-value"}, "32 characters"),
        ({"database_pool": 0}, "DATABASE_POOL"),
        ({"auth": "maybe"}, "DURE_AUTH"),
    ],
)
def test_settings_that_cannot_work_say_which(given: dict[str, Any], fault: str) -> None:
    with pytest.raises(InvalidArgumentError, match=fault) as wrong:
        Settings(**given)
    assert "short-secret-value" not in str(wrong.value)


@pytest.mark.parametrize("text", ["\udcff" * 20, "a-key-with a-space-in-it", "열쇠" * 10])
def test_a_key_that_no_header_can_carry_is_refused_unshown(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match=r"(?i)API_KEYS") as wrong:
        Settings(api_keys=text)
    assert text not in str(wrong.value)
    with pytest.raises(InvalidArgumentError, match=r"(?i)chat_model"):
        Settings(chat_model="gpt\udcff")


def test_loopback_addresses() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "example.com", "10.0.0.1")))


def test_serve_refuses_to_start_in_the_open(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dure", "serve", "--host", "0.0.0.0", "--data", str(tmp_path)]
    for more, off in (([], "off"), (["--dev"], "on")):
        environment = os.environ | {"DURE_AUTH": off}
        refused = subprocess.run(
            [*command, *more], capture_output=True, text=True, check=False, env=environment
        )
        assert refused.returncode == 1
        assert len(refused.stderr.splitlines()) == 1
        assert "loopback" in refused.stderr


def start(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    known = {k: v for k, v in os.environ.items() if not k.startswith(("OPENAI_", "DURE_"))}
    return subprocess.run(
        [sys.executable, "-m", "dure", "serve", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=known | {"XDG_CONFIG_HOME": tempfile.gettempdir()} | environment,
    )


def test_what_keeps_it_from_starting_is_one_line(tmp_path: Path) -> None:
    data = ("--data", str(tmp_path))
    (tmp_path / "file").write_bytes(b"")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for wanted, done in {
            "set OPENAI_API_KEY": start(*data),
            "--port": start(*data, "--port", port, OPENAI_API_KEY="sk-x"),
            "--data": start("--data", str(tmp_path / "file" / "x"), OPENAI_API_KEY="sk-x"),
        }.items():
            assert done.returncode == 1
            assert len(done.stderr.splitlines()) == 1, done.stderr
            assert wanted in done.stderr
            assert done.stdout == ""
        assert "Traceback" in start(*data, "--debug").stderr


@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_says_where_it_serves_and_ends_in_order(tmp_path: Path, workers: str) -> None:
    arguments = ["--port=0", "--json", "--workers", workers, "--data", str(tmp_path)]
    process = subprocess.Popen(
        [sys.executable, "-m", "dure", "serve", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ
        | quiet(tmp_path)
        | {"OPENAI_API_KEY": "sk-x", "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"},
    )
    try:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "}\n")
        facts = json.loads("".join(lines) + "}")
        assert facts["provider"] == "http://127.0.0.1:9/v1"
        assert facts["data"] == str(tmp_path)
        wait_until_up(facts["address"], process)
        assert ask(facts["address"], "/docs") == 200
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_sigterm_answers_what_is_in_flight(
    tmp_path: Path, serve_process: Callable[..., AbstractContextManager[Served]], workers: str
) -> None:
    with (
        upstream.start(seed=3, delay=0.6) as slow,
        serve_process(
            tmp_path, "--workers", workers, OPENAI_BASE_URL=slow.url, OPENAI_API_KEY="sk-x"
        ) as (url, process),
    ):
        statuses = asyncio.run(asked_while_it_stops(url, process, requests=300))
        assert process.wait(30) == 0
    assert statuses == {"200": 300}


async def asked_while_it_stops(
    url: str, process: subprocess.Popen[bytes], *, requests: int
) -> dict[str, int]:
    """Send all at once, then SIGTERM; return how often each outcome came."""
    at = urlsplit(url)
    body = json.dumps({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 3}).encode()
    head = f"POST /chat HTTP/1.1\r\nhost: {at.netloc}\r\ncontent-type: application/json\r\n"
    sent = asyncio.Semaphore(0)

    async def one() -> str:
        try:
            reader, writer = await asyncio.open_connection(at.hostname, at.port)
            writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            await writer.drain()
            sent.release()
            answer = await asyncio.wait_for(reader.readline(), 30)
            writer.close()
        except OSError as error:
            return type(error).__name__
        return answer.split()[1].decode() if answer else "closed"

    running = [asyncio.create_task(one()) for _ in range(requests)]
    for _ in range(requests):
        await sent.acquire()
    process.terminate()
    return dict(Counter(await asyncio.gather(*running)))


def test_a_second_signal_ends_it_at_once(
    tmp_path: Path, serve_process: Callable[..., AbstractContextManager[Served]]
) -> None:
    with (
        upstream.start(seed=3, delay=20.0) as stuck,
        serve_process(tmp_path, OPENAI_BASE_URL=stuck.url, OPENAI_API_KEY="sk-x") as (url, process),
    ):
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
        body = json.dumps({"messages": [{"role": "user", "content": "hi"}]})
        connection.request("POST", "/chat", body, {"content-type": "application/json"})
        time.sleep(0.5)
        process.terminate()
        time.sleep(0.5)
        assert process.poll() is None, "it waits for the request under way"
        begun = time.monotonic()
        process.terminate()
        process.wait(30)
        assert time.monotonic() - begun < 10
        connection.close()


def ask(url: str, path: str, **headers: str) -> int:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    try:
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def test_keys_are_asked_for_before_anything_else(
    serve: Callable[..., AbstractContextManager[str]], provider: Upstream, tmp_path: Path
) -> None:
    with serve(
        tmp_path,
        OPENAI_BASE_URL=provider.url,
        OPENAI_API_KEY="sk-x",
        DURE_API_KEYS=KEY,
        DURE_AUTH="on",
    ) as url:
        assert ask(url, "/api/models") == 401
        assert ask(url, "/api/models", Authorization=f"Bearer {KEY}x") == 401
        assert ask(url, "/api/models", Authorization=f"Bearer {KEY}") == 200
        assert ask(url, "/docs") == 200, "only this machine can ask"
        assert ask(url, "/api/health") == 200
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
        connection.putrequest("POST", "/v1/chat/completions")
        connection.putheader("content-length", str(10**10))
        connection.endheaders()  # no body byte is ever sent
        assert connection.getresponse().status in {401, 413}
        connection.close()


def test_a_body_without_a_length_is_capped_too(service: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(service).netloc, timeout=20)
    piece = b"x" * 1_000_000

    def body() -> Iterator[bytes]:
        for _ in range(40):
            yield piece

    connection.request(
        "POST", "/chat", body(), {"content-type": "application/json"}, encode_chunked=True
    )
    assert connection.getresponse().status == 413
    connection.close()
