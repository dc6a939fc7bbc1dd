"""TLS is always verified: the right certificate passes, every wrong one is UnavailableError."""

import asyncio
import os
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme
from dure.aio import HttpClient
from dure.errors import DureError, UnavailableError


@asynccontextmanager
async def serving(
    cert: trustme.LeafCert, *, clients: trustme.CA | None = None
) -> AsyncIterator[str]:
    """Run a TLS server that answers "ok"; with `clients` it demands a certificate of that CA."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    cert.configure_cert(context)
    if clients is not None:
        clients.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            writer.close()

    asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # refused handshakes
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    try:
        yield f"https://localhost:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()


def pem(authority: trustme.CA, folder: Path, name: str = "ca.pem") -> Path:
    path = folder / name
    authority.cert_pem.write_to_path(path)
    return path


async def refused(url: str, ca: Path) -> UnavailableError:
    client = HttpClient(ca=ca)
    with pytest.raises(UnavailableError) as caught:
        await client.request("GET", url, headers={"Authorization": "Bearer sk-canary"})
    client.close()
    assert caught.value.stage == "tls"
    assert caught.value.host == "localhost"
    assert "sk-canary" not in str(caught.value.to_dict())
    return caught.value


async def test_a_good_certificate(tmp_path: Path) -> None:
    authority = trustme.CA()
    async with serving(authority.issue_cert("localhost")) as url:
        client = HttpClient(ca=pem(authority, tmp_path))
        replies = await asyncio.gather(*(client.request("GET", url) for _ in range(20)))
        assert [reply.content for reply in replies] == [b"ok"] * 20
        assert (await client.request("GET", url)).reused_connection
        client.close()


async def test_wrong_certificates(tmp_path: Path) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    trusted = pem(authority, tmp_path)
    past = datetime(2020, 1, 1, tzinfo=UTC)
    for cert in (
        authority.issue_cert("other.test"),
        authority.issue_cert("localhost", not_before=past, not_after=past.replace(year=2021)),
        stranger.issue_cert("localhost"),
    ):
        async with serving(cert) as url:
            await refused(url, trusted)


async def test_a_handshake_cut_short(tmp_path: Path) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    await refused(
        f"https://localhost:{server.sockets[0].getsockname()[1]}/", pem(trustme.CA(), tmp_path)
    )
    server.close()


async def test_authorities_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    folder = tmp_path / "certs"
    folder.mkdir()
    pem(trustme.CA(), folder, "stranger.pem")
    pem(authority, folder)
    for name in ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (("SSL_CERT_FILE", folder / "ca.pem"), ("SSL_CERT_DIR", folder)):
        monkeypatch.setenv(name, str(value))
        async with serving(authority.issue_cert("localhost")) as url:
            client = HttpClient()
            assert (await client.request("GET", url)).content == b"ok"
            client.close()
        monkeypatch.delenv(name)


async def test_both_sides_show_certificates(tmp_path: Path) -> None:
    authority = trustme.CA()
    mine = authority.issue_cert("me@example.org")
    bundle = tmp_path / "me.pem"
    mine.private_key_and_cert_chain_pem.write_to_path(bundle)
    trusted = pem(authority, tmp_path)
    async with serving(authority.issue_cert("localhost"), clients=authority) as url:
        client = HttpClient(ca=trusted, cert=bundle)
        assert (await client.request("GET", url)).content == b"ok"
        client.close()
        without = HttpClient(ca=trusted)
        with pytest.raises(DureError):
            await without.request("GET", url)
        without.close()


async def test_a_new_verified_connection_is_cheap(tmp_path: Path) -> None:
    """Twenty cold ones: with a directory of authorities each would cost tens of milliseconds."""
    authority = trustme.CA()
    trusted = pem(authority, tmp_path)
    system = Path("/etc/ssl/certs/ca-certificates.crt")
    if system.exists():
        trusted.write_bytes(trusted.read_bytes() + b"\n" + system.read_bytes())
    async with serving(authority.issue_cert("localhost")) as url:
        client = HttpClient(ca=trusted)
        await client.request("GET", url)
        loop = asyncio.get_running_loop()
        begin = loop.time()
        await asyncio.gather(*(client.request("GET", url) for _ in range(21)))
        assert loop.time() - begin < 1.0
        client.close()


BARE = """
import asyncio, sys, dure
from dure.aio import HttpClient
from dure.errors import UnavailableError

async def main():
    words = [{"role": "user", "content": "x"}]
    ask = dict(model="gpt-4o-mini", messages=words, max_tokens=1, dure=dure.Call(max_attempts=1))
    client = dure.AsyncClient(base_url="https://127.0.0.1:1/v1", api_key="k", data=sys.argv[1])
    calls = [HttpClient().request("GET", "https://127.0.0.1:1/"),
             client.chat.completions.create(**ask)]
    for call in calls:
        try:
            await call
        except UnavailableError as error:
            print(error.stage)

asyncio.run(main())
"""


def test_a_machine_without_authorities_falls_back_to_certifi(tmp_path: Path) -> None:
    pytest.importorskip("certifi")
    hide = "for d in /etc/ssl /etc/pki; do [ ! -d $d ] || mount -t tmpfs none $d; done"
    alone = ["unshare", "--map-root-user", "--mount", "sh", "-ec"]
    try:
        able = subprocess.run([*alone, hide], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        able = False
    if not able:
        pytest.skip("nothing can be hidden here: no mount namespaces")
    run = f'{hide}; exec "$0" -c "$1" "$2"'
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SSL_CERT")}
    ended = subprocess.run(
        [*alone, run, sys.executable, BARE, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=environment,
    )
    assert ended.stdout.split() == ["connect", "connect"], "trust was found, nobody listened"
