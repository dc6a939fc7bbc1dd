"""R11 at full length, for the nightly run: what test_transport_process shows in a few steps."""

from __future__ import annotations

import http.client
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.hazard.test_transport_process import EXITS, run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
WORKERS = 4


def test_a_thousand_exits_in_ten_states(stub_url: str) -> None:
    states = list(EXITS)
    assert len(states) == 10

    def once(number: int) -> str:
        state = states[number % len(states)]
        ended = run(EXITS[state], stub_url, timeout=120)
        bad = ended.returncode != 0 or "Fatal" in ended.stderr
        return f"{state}: {ended.returncode} {ended.stderr[-300:]}" if bad else ""

    with ThreadPoolExecutor(WORKERS) as pool:
        assert [bad for bad in pool.map(once, range(1000)) if bad] == []


@pytest.mark.forks_busy
def test_a_thousand_forks_with_requests_in_flight(stub_url: str) -> None:
    code = """
        import warnings
        warnings.simplefilter('ignore', DeprecationWarning)  # 3.12: fork beside threads, on purpose

        async def child_works():
            reply = await client.request('POST', url + '/echo', body=b'child')
            return reply.content == b'child'

        async def main():
            busy = [asyncio.ensure_future(client.request('POST', url + '/echo', body=b'x' * 1000))
                    for _ in range(8)]
            await asyncio.sleep(0)
            pid = os.fork()
            if pid == 0:
                signal.alarm(60)
                asyncio._set_running_loop(None)
                os._exit(0 if asyncio.run(child_works()) else 1)
            status = os.waitpid(pid, 0)[1]
            assert status == 0, status
            replies = await asyncio.gather(*busy)
            assert all(reply.content == b'x' * 1000 for reply in replies)

        for _ in range(100):
            asyncio.run(main())
    """

    def once(_: int) -> str:
        ended = run(code, stub_url, timeout=600)
        return "" if ended.returncode == 0 else ended.stderr[-500:]

    with ThreadPoolExecutor(WORKERS) as pool:
        assert [bad for bad in pool.map(once, range(10)) if bad] == []


def test_200_interrupts_at_random(stub_url: str) -> None:
    ended = run(
        """
        import random
        core = _core.net.HttpCore('', '', '', '', '', [])
        chance = random.Random(11)
        delays = []
        for at in range(200):
            sent = []
            def interrupt():
                sent.append(time.monotonic())
                os.kill(os.getpid(), signal.SIGINT)
            timer = threading.Timer(chance.uniform(0.0, 0.12), interrupt)
            try:
                timer.start()
                if at % 2:
                    asyncio.run(client.request('GET', url + '/slow'))
                else:
                    core.request_sync('GET', url + '/slow', [], b'', (5, 0, 0, 20))
                raise SystemExit('was not interrupted')
            except KeyboardInterrupt:
                delays.append(time.monotonic() - sent[0])
            timer.join()
            assert core.request_sync('POST', url + '/echo', [], b'x', (5, 0, 0, 5)).content == b'x'
        late = [delay for delay in delays if delay > 0.2]
        print(len(delays), 'interrupts, the slowest after', round(max(delays), 3), 's')
        assert not late, late
        """,
        stub_url,
        timeout=600,
    )
    assert ended.returncode == 0, ended.stderr
    sys.stdout.write(ended.stdout)


def test_a_hundred_loops_of_one_client(stub_url: str) -> None:
    ended = run(
        """
        async def some():
            replies = await asyncio.gather(*(client.request('POST', url + '/echo', body=b'%d' % at)
                                             for at in range(20)))
            assert [reply.content for reply in replies] == [b'%d' % at for at in range(20)]
        for _ in range(100):
            asyncio.run(some())
        """,
        stub_url,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr


def test_gunicorn_that_preloads(stub_url: str, tmp_path: Path) -> None:
    """The application uses its client before it is forked, and after it in every worker."""
    pytest.importorskip("gunicorn")
    (tmp_path / "preloaded.py").write_text(
        textwrap.dedent(
            f"""
            import asyncio, os
            from dure.aio import HttpClient
            client = HttpClient()
            def ask(word):
                asking = client.request('POST', {stub_url!r} + '/echo', body=word)
                return asyncio.run(asking).content
            assert ask(b'before') == b'before'
            def app(environ, start_response):
                word = environ['PATH_INFO'].encode()
                start_response('200 OK', [('X-Pid', str(os.getpid()))])
                return [ask(word)]
            """
        )
    )
    port = random.Random(os.getpid()).randrange(20000, 40000)
    command = [sys.executable, "-m", "gunicorn", "--preload", "--workers", "3"]
    server = subprocess.Popen(
        [*command, "--bind", f"127.0.0.1:{port}", "preloaded:app"], cwd=tmp_path
    )
    try:
        pids = set()
        for number in range(200):
            pid, word = fetch(port, f"/{number}")
            assert word == f"/{number}".encode()
            pids.add(pid)
        assert len(pids) > 1, "several workers answered"
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0


def fetch(port: int, path: str) -> tuple[str | None, bytes]:
    for _ in range(200):
        link = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            link.request("GET", path)
            reply = link.getresponse()
            return reply.getheader("X-Pid"), reply.read()
        except ConnectionRefusedError:  # not up yet
            time.sleep(0.1)
        finally:
            link.close()
    raise AssertionError("gunicorn did not come up")
