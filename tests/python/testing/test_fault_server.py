"""The fault server: each kind does what its name says, and the plan is reproducible."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import signal
import socket
import ssl
from time import monotonic
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from dure.errors import InvalidArgumentError
from dure.testing import FaultServer
from dure.testing._child import ChildServer
from dure.testing.fault_server import KINDS
from dure.testing.fault_server.kinds import TLS_KINDS, Plan

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def every() -> Iterator[FaultServer]:
    with FaultServer(seed=3, faults=0.9) as server:
        yield server


def name_of(server: FaultServer, kind: str, *, skip: int = 0) -> str:
    names = (f"r{at}" for at in range(100_000))
    fitting = (name for name in names if server.fault_of(name) == kind)
    return next(name for at, name in enumerate(fitting) if at == skip)


def talk(
    server: FaultServer,
    name: str,
    body: bytes = b"{}",
    *,
    stay: bool = False,
    seconds: float = 20.0,
    most: int = 1 << 30,
) -> bytes:
    """What one request brings, byte for byte, up to the end, or to `most` bytes or seconds.

    Unless we `stay`, the server is told that no other request follows: it closes after its answer.
    """
    place = urlsplit(server.url_of(name))
    data = b""
    until = monotonic() + seconds
    with socket.create_connection((str(place.hostname), int(place.port or 0)), seconds) as end:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nX-Request-Id: {name}\r\n"
        end.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        if not stay:
            end.shutdown(socket.SHUT_WR)
        try:
            while len(data) < most and (left := until - monotonic()) > 0:
                end.settimeout(left)
                if not (part := end.recv(1 << 16)):
                    break
                data += part
        except TimeoutError:
            pass
    return data


def test_a_good_answer_is_what_it_says(every: FaultServer) -> None:
    good = next(f"r{at}" for at in range(1000) if every.fault_of(f"r{at}") is None)
    place = urlsplit(every.url)
    link = http.client.HTTPConnection(str(place.hostname), place.port)
    for _ in range(3):  # kept alive
        link.request("POST", "/v1/chat/completions", b"{}", {"x-request-id": good})
        reply = link.getresponse()
        assert reply.status == 200
        assert reply.read() == FaultServer.body_of(good)
    link.request("POST", "/v1/chat/completions", b'{"stream": true}', {"x-request-id": good})
    assert link.getresponse().read() == b"".join(FaultServer.events_of(good))
    link.close()
    answer = json.loads(FaultServer.body_of(good))
    assert answer["choices"][0]["message"]["content"] == FaultServer.text_of(good)
    assert {line["id"] for line in every.log()} >= {good}


def test_equal_seeds_give_equal_fates_in_shares() -> None:
    one, same, other = (Plan(0.3, seed=seed, tls=True) for seed in (1, 1, 2))
    names = [f"n{at}" for at in range(20_000)]
    fates = [one.fault_of(name) for name in names]
    assert fates == [same.fault_of(name) for name in names]
    assert fates != [other.fault_of(name) for name in names]
    assert 0.28 < sum(fate is not None for fate in fates) / len(fates) < 0.32
    assert set(fates) - {None} == set(KINDS)


@pytest.mark.parametrize("faults", [{"F99": 0.1}, {"F5": 2.0}, {"F5": 0.6, "F6": 0.6}, {"F7": 0.1}])
def test_nonsense_is_refused(faults: dict[str, float]) -> None:
    with pytest.raises(InvalidArgumentError, match="faults"):
        FaultServer(faults=faults)


def test_faults_before_http(every: FaultServer) -> None:
    with pytest.raises(ConnectionRefusedError):
        talk(every, name_of(every, "F1"))
    assert urlsplit(every.url_of(name_of(every, "F2"))).hostname == "-no-such-host.invalid"


@pytest.mark.parametrize("kind", ["F3", "F4", "F5"])
def test_resets(every: FaultServer, kind: str) -> None:
    with pytest.raises(ConnectionResetError):
        talk(every, name_of(every, kind), stay=True)


def test_bodies_that_break_off(every: FaultServer) -> None:
    name = name_of(every, "F6")
    _, _, body = talk(every, name).partition(b"\r\n\r\n")
    assert body
    assert FaultServer.body_of(name).startswith(body)
    assert len(body) < len(FaultServer.body_of(name))
    for kind, off in (("F24", -10), ("F25", 10)):
        name = name_of(every, kind)
        head, _, body = talk(every, name).partition(b"\r\n\r\n")
        assert body == FaultServer.body_of(name)
        assert f"Content-Length: {len(body) + off}".encode() in head


@pytest.mark.parametrize(
    ("kind", "status"), [("F12", 500), ("F13", 502), ("F14", 503), ("F15", 529), ("F11", 429)]
)
def test_statuses(every: FaultServer, kind: str, status: int) -> None:
    head = talk(every, name_of(every, kind)).split(b"\r\n\r\n")[0]
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert (b"etry-" in head) == (kind == "F11")


def test_an_early_refusal_does_not_wait_for_the_body(every: FaultServer) -> None:
    name = name_of(every, "F16")
    place = urlsplit(every.url)
    with socket.create_connection((str(place.hostname), int(place.port or 0)), 5) as end:
        end.sendall(
            b"POST / HTTP/1.1\r\nX-Request-Id: %b\r\nContent-Length: 9999\r\n\r\n" % name.encode()
        )
        assert end.recv(12).split()[1] in (b"401", b"413", b"429")


def test_streams_that_are_spoilt(every: FaultServer) -> None:
    for kind in ("F18", "F19", "F20", "F21"):
        framings = set()
        for skip in range(8):
            name = name_of(every, kind, skip=skip)
            head, _, body = talk(every, name, b'{"stream":true}').partition(b"\r\n\r\n")
            chunked = b"chunked" in head
            framings.add(chunked)
            if chunked:
                size, _, body = body.partition(b"\r\n")
                body = body[: int(size, 16)]
            assert (b"[DONE]" in body) == (kind == "F21")
            if kind == "F19":
                with pytest.raises(UnicodeDecodeError):
                    body.decode()
            assert (b'"error"' in body) == (kind == "F21")
        assert framings == {True, False}


def test_odd_bodies_and_headers(every: FaultServer) -> None:
    def head_and_body(kind: str, skip: int = 0) -> tuple[bytes, bytes]:
        head, _, body = talk(every, name_of(every, kind, skip=skip)).partition(b"\r\n\r\n")
        return head, body

    with pytest.raises(ValueError, match=r"Expecting|delimiter|Unterminated"):
        json.loads(head_and_body("F22")[1])
    assert head_and_body("F23")[1].startswith(b"<!doctype html>")
    head, bomb = head_and_body("F26")
    assert b"Content-Encoding: gzip" in head
    assert len(bomb) < 100_000
    assert gzip.decompress(bomb) == bytes(64 << 20)
    assert b"Location: http://elsewhere.invalid" in head_and_body("F17")[0]
    assert {head_and_body("F29", skip)[0].count(b"Content-Length") for skip in range(6)} == {1, 2}
    assert {len(head_and_body("F30", skip)[0]) > 500_000 for skip in range(6)} == {True, False}
    assert 1 <= len(talk(every, name_of(every, "F28"), stay=True, seconds=1.5)) < 5
    endless = talk(every, name_of(every, "F27"), stay=True, most=50_000)
    assert len(endless) >= 50_000
    assert not endless.endswith(b"0\r\n\r\n")


def test_certificates() -> None:
    pytest.importorskip("trustme")
    with FaultServer(seed=1, faults=dict.fromkeys(TLS_KINDS, 0.2), tls=True) as server:
        context = ssl.create_default_context(cafile=str(server.ca))

        def shake(kind: str | None) -> str:
            name = next(f"r{at}" for at in range(1000) if server.fault_of(f"r{at}") == kind)
            place = urlsplit(server.url_of(name))
            with socket.create_connection((str(place.hostname), int(place.port or 0)), 5) as end:
                try:
                    context.wrap_socket(end, server_hostname=place.hostname).close()
                except OSError as error:
                    return str(error)
            return ""

        assert shake(None) == ""
        assert "expired" in shake("F7")
        assert "mismatch" in shake("F8")
        assert "self-signed" in shake("F9") or "self signed" in shake("F9")
        assert shake("F10") != ""


def test_close_ends_a_server_that_does_not_listen_to_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dure.testing._child.STOP_SECONDS", 0.2)
    server = FaultServer()
    os.kill(server.pid, signal.SIGSTOP)  # SIGTERM waits until it goes on, which it never does
    server.close()
    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)
    server.close()


def test_an_interrupted_start_leaves_no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dure.testing._child.select.poll", interrupted)
    server = ChildServer("dure.testing.upstream")
    with pytest.raises(KeyboardInterrupt):
        server.start(["--child", f"--log={server.log_path}"])
    assert not server.folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)
