"""Exit, fork and Ctrl-C with requests in flight: no hang, no abort, and the client goes on."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PRELUDE = """
import asyncio, os, signal, sys, threading, time
from dure import _core
from dure.aio import HttpClient
from dure.errors import UnavailableError
url = sys.argv[1]
client = HttpClient()
"""


def run(code: str, url: str, *, timeout: float = 30) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-X",
            "faulthandler",
            "-c",
            PRELUDE + textwrap.dedent(code),
            url,
        ],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


EXITS = {
    "never used": "",
    "idle thread": "asyncio.run(client.request('GET', url + '/echo'))",
    "closed": "asyncio.run(client.request('GET', url + '/echo')); client.close()",
    "tasks left behind": """
        async def main():
            for _ in range(20):
                asyncio.ensure_future(client.request('GET', url + '/slow'))
            await asyncio.sleep(0.02)
        asyncio.run(main())
    """,
    "the loop was never closed": """
        loop = asyncio.new_event_loop()
        task = loop.create_task(client.request('GET', url + '/slow'))
        loop.run_until_complete(asyncio.sleep(0.02))
        task.cancel()
        loop.run_until_complete(asyncio.wait([task]))
        future, _ = None, None
        async def begin():
            return client._core.request('GET', url + '/slow', [], b'', (5, 0, 0, 9))
        keep = loop.run_until_complete(begin())
        loop.close()
    """,
    "daemon threads wait in native code": """
        core = _core.net.HttpCore('', '', '', '', '', [])
        def wait():
            while True:
                try:
                    core.request_sync('GET', url + '/slow', [], b'', (5, 0, 0, 9))
                except UnavailableError:
                    time.sleep(0.001)
        for _ in range(8):
            threading.Thread(target=wait, daemon=True).start()
        time.sleep(0.1)
    """,
    "daemon threads run loops": """
        def wait():
            try:
                asyncio.run(client.request('GET', url + '/slow'))
            except UnavailableError:
                pass
        for _ in range(4):
            threading.Thread(target=wait, daemon=True).start()
        time.sleep(0.1)
    """,
    "a stream half read": """
        async def main():
            stream = client.stream('GET', url + '/big')
            await stream.__aenter__()
        asyncio.run(main())
    """,
    "sys.exit in a coroutine": """
        async def main():
            asyncio.ensure_future(client.request('GET', url + '/slow'))
            await asyncio.sleep(0.02)
            sys.exit(0)
        asyncio.run(main())
    """,
    "a new request in an exit hook": """
        import atexit
        asyncio.run(client.request('GET', url + '/echo'))
        core = _core.net.HttpCore('', '', '', '', '', [])
        class Late:
            def __del__(self):
                try:
                    core.request_sync('GET', url + '/slow', [], b'', (5, 0, 0, 1))
                except UnavailableError:
                    pass
        late = Late()
    """,
}


@pytest.mark.parametrize("state", EXITS)
def test_exit(state: str, stub_url: str) -> None:
    for _ in range(4):
        ended = run(EXITS[state], stub_url)
        assert ended.returncode == 0, ended.stderr
        assert "Fatal" not in ended.stderr


@pytest.mark.forks_busy
def test_fork_with_requests_in_flight(stub_url: str) -> None:
    ended = run(
        """
        async def child_works():
            reply = await client.request('POST', url + '/echo', body=b'child')
            return reply.content == b'child'

        async def main():
            calls = [client.request('GET', url + '/later') for _ in range(5)]
            pending = [asyncio.ensure_future(call) for call in calls]
            raw, _ = client._core.request('GET', url + '/later', [], b'', (5, 0, 0, 9))
            await asyncio.sleep(0.05)
            pid = os.fork()
            if pid == 0:
                signal.alarm(10)
                failed = isinstance(raw.exception(), UnavailableError) if raw.done() else False
                asyncio._set_running_loop(None)
                os._exit(0 if failed and asyncio.run(child_works()) else 1)
            status = os.waitpid(pid, 0)[1]
            replies = await asyncio.gather(*pending, raw)
            assert status == 0, status
            assert all(reply.status == 200 for reply in replies)

        import warnings
        warnings.simplefilter('ignore', DeprecationWarning)  # 3.12: fork beside threads, on purpose
        for _ in range(10):
            asyncio.run(main())
        """,
        stub_url,
    )
    assert ended.returncode == 0, ended.stderr


@pytest.mark.forks_busy
def test_streams_and_uploads_of_the_parent_are_refused_in_the_child(stub_url: str) -> None:
    ended = run(
        """
        import warnings
        warnings.simplefilter('ignore', DeprecationWarning)  # 3.12: fork beside threads, on purpose

        def stage_of(call):
            try:
                call()
            except UnavailableError as error:
                return error.stage

        async def main():
            async with client.stream('GET', url + '/big') as stream:
                pieces = stream.__aiter__()
                got = len(await pieces.__anext__())
                upload = client._core.upload('POST', url + '/echo', [], 2, (5, 0, 0, 9))
                upload.feed(b'a')
                pid = os.fork()
                if pid == 0:
                    signal.alarm(10)
                    native = stream._native
                    calls = [lambda: next(native.__anext__()), native.wait, native.head]
                    calls.append(lambda: upload.feed(b'b'))
                    upload.cancel()
                    native.cancel()
                    ok = all(stage_of(call) == 'fork' for call in calls)
                    try:
                        async for _ in pieces:
                            pass  # what the parent had already read
                    except UnavailableError as error:
                        os._exit(0 if ok and error.stage == 'fork' else 1)
                    os._exit(2)
                status = os.waitpid(pid, 0)[1]
                assert status == 0, status
                upload.feed(b'b')
                assert (await upload.future).content == b'ab'
                async for piece in pieces:
                    got += len(piece)
                assert got == 8 << 20, got

        asyncio.run(main())
        """,
        stub_url,
    )
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(method: str, stub_url: str) -> None:
    code = f"""
        import multiprocessing, warnings
        warnings.simplefilter('ignore', DeprecationWarning)
        sys.path.insert(0, {str(HERE)!r})
        import transport_worker
        asyncio.run(client.request('GET', url + '/echo'))
        if __name__ == '__main__':
            with multiprocessing.get_context({method!r}).Pool(2) as pool:
                assert pool.map(transport_worker.echo, [url] * 6) == [b'worker'] * 6
            asyncio.run(client.request('GET', url + '/echo'))
    """
    ended = run(code, stub_url)
    assert ended.returncode == 0, ended.stderr


def test_import_construct_and_fork_warn_of_nothing() -> None:
    ended = run("pid = os.fork()\nif pid == 0: os._exit(0)\nassert os.waitpid(pid, 0)[1] == 0", "x")
    assert ended.returncode == 0, ended.stderr


def test_interrupts_raise_soon_and_the_client_goes_on(stub_url: str) -> None:
    ended = run(
        """
        core = _core.net.HttpCore('', '', '', '', '', [])
        slowest = 0.0
        for at in range(10):
            sent = []
            def interrupt():
                sent.append(time.monotonic())
                os.kill(os.getpid(), signal.SIGINT)
            timer = threading.Timer(0.01 + 0.007 * at, interrupt)
            timer.start()
            try:
                core.request_sync('GET', url + '/slow', [], b'', (5, 0, 0, 20))
                raise SystemExit('was not interrupted')
            except KeyboardInterrupt:
                slowest = max(slowest, time.monotonic() - sent[0])
            timer.join()
            assert core.request_sync('POST', url + '/echo', [], b'x', (5, 0, 0, 5)).content == b'x'
        assert slowest < 0.2, slowest
        sent = []
        threading.Timer(0.1, interrupt).start()
        try:
            asyncio.run(client.request('GET', url + '/slow'))
        except KeyboardInterrupt:
            assert time.monotonic() - sent[0] < 0.2
        assert asyncio.run(client.request('POST', url + '/echo', body=b'y')).content == b'y'
        """,
        stub_url,
    )
    assert ended.returncode == 0, ended.stderr
