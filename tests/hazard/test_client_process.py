"""The client under exit, fork, Ctrl-C and kill: no hang, no abort, every hold accounted for."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import dure
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PRELUDE = """
import asyncio, atexit, os, signal, sys, threading, time
atexit.register(time.sleep, 0.1)  # after the core's own hook: threads that come back show it
import dure
url, data = sys.argv[1:3]
messages = [{"role": "user", "content": "Hello?"}]
ask = {"model": "gpt-4o-mini", "messages": messages, "max_tokens": 50}
"""


@pytest.fixture(scope="module")
def slow() -> Iterator[str]:
    """The real upstream, 2 s a reply: whatever is sent stays in flight."""
    with dure.testing.upstream.start(delay=2.0) as upstream:
        yield upstream.url


@pytest.fixture(scope="module")
def quick() -> Iterator[str]:
    with dure.testing.upstream.start() as upstream:
        yield upstream.url


def start(code: str, url: str, data: Path) -> subprocess.Popen[str]:
    program = PRELUDE + textwrap.dedent(code)
    command = [sys.executable, "-W", "error", "-X", "faulthandler", "-c", program, url, str(data)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str], *, timeout: float = 60) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


EXITS = {
    "tasks left behind": """
        client = dure.AsyncClient(base_url=url, data=data)
        async def main():
            for _ in range(20):
                asyncio.ensure_future(client.chat.completions.create(**ask))
            await asyncio.sleep(0.2)
        asyncio.run(main())
    """,
    "a batch in a daemon thread": """
        client = dure.Client(base_url=url, data=data)
        def work():
            client.map([ask] * 50, limit=16)
        threading.Thread(target=work, daemon=True).start()
        time.sleep(0.3)
    """,
    "a stream half read": """
        client = dure.Client(base_url=url, data=data)
        stream = client.chat.completions.create(**ask, stream=True)
    """,
    "sync calls in daemon threads": """
        client = dure.Client(base_url=url, data=data)
        for _ in range(8):
            threading.Thread(
                target=lambda: client.chat.completions.create(**ask), daemon=True
            ).start()
        time.sleep(0.3)
    """,
    "daemon threads that catch everything": """
        client = dure.Client(base_url=url, data=data)
        def go_on():
            while True:
                try: client.chat.completions.create(**ask)
                except Exception as error: print("came back:", error, file=sys.stderr, flush=True)
        for _ in range(8):
            threading.Thread(target=go_on, daemon=True).start()
        time.sleep(0.3)
    """,
}


@pytest.mark.parametrize("state", EXITS)
def test_exit_in_flight_is_quiet_and_settled(state: str, slow: str, tmp_path: Path) -> None:
    for _ in range(3):
        code, _, err = finish(start(EXITS[state], slow, tmp_path))
        assert code == 0, err
        assert "Fatal" not in err
        assert "came back" not in err
    report = dure.verify_ledger(tmp_path)
    assert report.ok, report


def test_kill_in_flight_leaves_no_open_hold(slow: str, tmp_path: Path) -> None:
    code = """
        client = dure.AsyncClient(base_url=url, data=data)
        client_sync = dure.Client(base_url=url, data=data)
        async def main():
            batch = asyncio.ensure_future(client.map([ask] * 100, limit=32))
            await asyncio.sleep(0.5)
            print("sent", flush=True)
            await batch
        asyncio.run(main())
    """
    process = start(code, slow, tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "sent\n"
    process.kill()
    process.wait()
    process.stdout.close()
    assert process.stderr is not None
    process.stderr.close()
    # The next process on this data folder finds the dead one and settles what it held.
    again = """
        client = dure.Client(base_url=url, data=data)
        client.budgets.set("org:kill", limit="1.00", window="day")
        left = client.budgets.read("org:kill")
        print(left.held)
    """
    code_, out, err = finish(start(again, slow, tmp_path))
    assert code_ == 0, err
    assert out.strip() in {"0", "0.00", "0E-12"}
    report = dure.verify_ledger(tmp_path)
    assert report.ok, report


def test_ctrl_c_ends_a_sync_call_and_the_client_goes_on(slow: str, tmp_path: Path) -> None:
    code = """
        client = dure.Client(base_url=url, data=data)
        for _ in range(5):
            threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
            begun = time.monotonic()
            try:
                client.chat.completions.create(**ask)
            except KeyboardInterrupt:
                print(round(time.monotonic() - begun - 0.2, 3))
            else:
                raise SystemExit("not interrupted")
        print(client.chat.completions.create(**ask).usage.completion_tokens > 0)
    """
    status, out, err = finish(start(code, slow, tmp_path))
    assert status == 0, err
    *delays, alive = out.split()
    assert alive == "True"
    assert len(delays) == 5
    assert all(float(delay) < 1.0 for delay in delays), "the bar is 200 ms; the rest is the machine"


def test_a_forked_child_uses_the_client_it_inherited(quick: str, tmp_path: Path) -> None:
    code = """
        client = dure.Client(base_url=url, data=data)
        client.chat.completions.create(**ask)
        child = os.fork()
        if child == 0:
            ok = client.chat.completions.create(**ask).usage.completion_tokens > 0
            os._exit(0 if ok else 1)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert client.chat.completions.create(**ask).usage.completion_tokens > 0
        report = dure.verify_ledger(data)
        assert report.ok, report
    """
    status, _, err = finish(start(code, quick, tmp_path))
    assert status == 0, err


@pytest.mark.forks_busy
def test_fork_with_calls_in_flight(slow: str, tmp_path: Path) -> None:
    code = """
        client = dure.Client(base_url=url, data=data)
        worker = threading.Thread(target=lambda: print(
            sum(not isinstance(r, Exception) for r in client.map([ask] * 8, limit=8)), flush=True))
        worker.start()
        time.sleep(0.5)
        child = os.fork()
        if child == 0:
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        worker.join()
        assert dure.verify_ledger(data).ok
    """
    status, out, err = finish(start(code, slow, tmp_path))
    assert status == 0, err
    assert out.strip() == "8", "the parent's calls survive a fork"


HALF_A_STREAM = """
        import json, socket, warnings
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: fork beside threads, on purpose
        from dure.errors import UnavailableError
        listener = socket.create_server(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        forked = threading.Event()
        def chunk(text, reason=None):
            choice = {"index": 0, "delta": {"content": text}, "finish_reason": reason}
            whole = {"id": "x", "object": "chat.completion.chunk", "created": 1,
                     "model": "gpt-4o-mini", "choices": [choice]}
            return b"data: " + json.dumps(whole).encode() + b"\\n\\n"
        def serve():
            peer, _ = listener.accept()
            peer.recv(1 << 16)
            peer.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Type: text/event-stream\\r\\n\\r\\n")
            peer.sendall(chunk("one"))
            forked.wait(20)
            peer.sendall(chunk("two", "stop") + b"data: [DONE]\\n\\n")
            peer.close()
        threading.Thread(target=serve, daemon=True).start()
        def is_refused(use):
            signal.alarm(10)
            try:
                use()
            except UnavailableError as error:
                return error.stage == "fork"
            return False
        def parent(child):
            status = os.waitpid(child, 0)[1]
            assert os.waitstatus_to_exitcode(status) == 0, status
            forked.set()
"""


@pytest.mark.forks_busy
def test_a_stream_of_the_parent_is_refused_in_the_child(slow: str, tmp_path: Path) -> None:
    code = (
        HALF_A_STREAM
        + """
        client = dure.Client(base_url=url, data=data)
        stream = client.chat.completions.create(**ask, stream=True)
        texts = [next(stream).choices[0].delta.content]
        child = os.fork()
        if child == 0:
            ok = is_refused(lambda: next(stream)) and is_refused(lambda: next(stream))
            stream.close()
            os._exit(0 if ok else 1)
        parent(child)
        texts += [chunk.choices[0].delta.content for chunk in stream]
        assert texts == ["one", "two"], texts
        assert dure.verify_ledger(data).ok
    """
    )
    status, _, err = finish(start(code, slow, tmp_path))
    assert status == 0, err


@pytest.mark.forks_busy
def test_a_batch_of_the_parent_is_refused_in_the_child(slow: str, tmp_path: Path) -> None:
    code = """
        import warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        from dure.errors import UnavailableError
        client = dure.Client(base_url=url, data=data)
        children = []
        def progress(done, total, unit):
            if not children:
                children.append(os.fork())
                if children[0] == 0:
                    signal.alarm(20)
        me = os.getpid()
        try:
            answers = client.map([ask] * 4, limit=4, progress=progress)
        except UnavailableError as error:
            os._exit(0 if os.getpid() != me and error.stage == "fork" else 1)
        if os.getpid() != me:
            os._exit(2)
        _, status = os.waitpid(children[0], 0)
        assert os.waitstatus_to_exitcode(status) == 0, status
        assert not any(isinstance(answer, Exception) for answer in answers)
        assert dure.verify_ledger(data).ok
    """
    status, _, err = finish(start(code, slow, tmp_path))
    assert status == 0, err


@pytest.mark.forks_busy
def test_a_call_whose_signal_handler_forks_is_refused_in_the_child(
    slow: str, tmp_path: Path
) -> None:
    code = """
        import warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        from dure.errors import UnavailableError
        client = dure.Client(base_url=url, data=data)
        children = []
        signal.signal(signal.SIGUSR1, lambda *_: children.append(os.fork()))
        threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGUSR1)).start()
        try:
            answer = client.chat.completions.create(**ask)
        except UnavailableError as error:
            os._exit(0 if children == [0] and error.stage == "fork" else 1)
        if children == [0]:
            os._exit(2)
        _, status = os.waitpid(children[0], 0)
        assert os.waitstatus_to_exitcode(status) == 0, status
        assert answer.usage.completion_tokens > 0
    """
    status, _, err = finish(start(code, slow, tmp_path))
    assert status == 0, err


def test_one_client_many_processes_never_overspend(quick: str, tmp_path: Path) -> None:
    """Four processes share one budget; what is settled and held stays within it."""
    setup = dure.Client(base_url=quick, data=tmp_path)
    setup.budgets.set("org:all", limit="0.002", window="lifetime")
    code = """
        client = dure.Client(base_url=url, data=data)
        requests = [dict(ask, dure=dure.Call(org="all")) for _ in range(60)]
        results = client.map(requests, limit=16)
        refused = [r for r in results if isinstance(r, dure.errors.BudgetExceededError)]
        others = [r for r in results if isinstance(r, Exception) and r not in refused]
        assert not others, others[0]
        print(sum(r.dure.cost_pico for r in results if not isinstance(r, Exception)), len(refused))
    """
    processes = [start(code, quick, tmp_path) for _ in range(4)]
    spent = refused = 0
    for process in processes:
        status, out, err = finish(process)
        assert status == 0, err
        pico, count = map(int, out.split())
        spent += pico
        refused += count
    budget = setup.budgets.read("org:all")
    assert refused > 0, "the limit must have been reached"
    assert spent <= 2_000_000_000
    assert int(budget.used * 10**12) == spent
    assert budget.held == 0
    assert dure.verify_ledger(tmp_path).ok


def test_a_hundred_loops_in_threads(quick: str, tmp_path: Path) -> None:
    code = """
        client = dure.AsyncClient(base_url=url, data=data)
        async def once():
            return (await client.chat.completions.create(**ask)).usage.completion_tokens > 0
        def many():
            for _ in range(10):
                assert asyncio.run(once())
        threads = [threading.Thread(target=many) for _ in range(4)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
    """
    status, _, err = finish(start(code, quick, tmp_path))
    assert status == 0, err
