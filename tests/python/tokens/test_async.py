"""Coroutines that count on the core's own threads: same results, and nothing is lost or leaked."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading
import weakref
from typing import Any

import pytest
from dure import tokens

TEXTS = [f"text number {n}, 한국어 🙂 " * (n % 400 + 1) for n in range(300)]
LONG = "several words of a long text 한국어\n" * 400_000


async def test_many_at_once() -> None:
    encoding = tokens.get_encoding("o200k_base")
    wanted = [encoding.count(text) for text in TEXTS]
    assert await asyncio.gather(*map(tokens.acount, TEXTS)) == wanted
    assert await asyncio.gather(*map(encoding.acount, TEXTS)) == wanted
    counts = await encoding.acount_batch(TEXTS, threads=2)
    assert counts.tolist() == wanted
    assert (await tokens.acount_batch(iter(TEXTS[:3]))).tolist() == wanted[:3]  # type: ignore[arg-type]
    assert (await tokens.acount_batch([])).tolist() == []


async def test_the_loop_goes_on() -> None:
    counting = asyncio.ensure_future(tokens.acount(LONG))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not counting.done()
    assert await counting == tokens.count(LONG)


async def test_surrogates_and_other_patterns() -> None:
    broken = "한\ud83d" * 3000
    assert await tokens.acount(broken) == tokens.count(broken)
    assert (await tokens.acount_batch([broken, "a"])).tolist() == [tokens.count(broken), 1]
    gpt2 = tokens.get_encoding("gpt2")
    odd = tokens.Encoding(
        "odd", pat_str=r"\S+|\s+", mergeable_ranks=gpt2._mergeable_ranks, special_tokens={}
    )
    assert await odd.acount(TEXTS[5]) == odd.count(TEXTS[5])
    assert (await odd.acount_batch(TEXTS[:2])).tolist() == odd.count_batch(TEXTS[:2]).tolist()


@pytest.mark.parametrize("bad", [None, b"bytes", 5])
async def test_wrong_types(bad: Any) -> None:  # noqa: ANN401
    with pytest.raises(TypeError, match="text must be str"):
        await tokens.acount(bad)
    with pytest.raises(TypeError, match="texts must be str"):
        await tokens.acount_batch(["a", bad])
    with pytest.raises(ValueError, match="threads must be at least 1"):
        await tokens.acount_batch(["a"], threads=0)


class Text(str):
    """A str that can be watched."""

    __slots__ = ("__weakref__",)


async def test_the_text_is_held_while_it_is_read_and_no_longer() -> None:
    text = Text(LONG)
    seen = weakref.ref(text)
    counting = asyncio.ensure_future(tokens.acount(text))
    await asyncio.sleep(0)
    counting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await counting
    del text, counting
    assert seen() is not None  # a thread is still reading
    while seen() is not None:  # and the next calls release it
        await tokens.acount("x" * 5000)
        await asyncio.sleep(0.01)


async def test_batches_from_everywhere_at_once() -> None:
    """Loops that share the pool's threads: each ends, and each has its own counts."""
    encoding = tokens.get_encoding("o200k_base")
    batches = [[f"text {i} of {n} " * (40 + 13 * i) for i in range(60)] for n in range(6)]
    wanted = [[encoding.count(text) for text in batch] for batch in batches]
    found: list[list[int]] = []

    def count(batch: list[str], threads: int) -> None:
        found.extend(encoding.count_batch(batch, threads=threads).tolist() for _ in range(4))
        found.extend([len(ids) for ids in encoding.encode_ordinary_batch(batch)] for _ in range(2))

    threads = [
        threading.Thread(target=count, args=(batch, 1 + n % 4)) for n, batch in enumerate(batches)
    ]
    for thread in threads:
        thread.start()
    again = await asyncio.gather(*(encoding.acount_batch(batch) for batch in batches * 4))
    for thread in threads:
        thread.join()
    assert [counts.tolist() for counts in again] == wanted * 4
    assert sorted(found) == sorted(wanted * 6)


def test_a_loop_that_closes_first() -> None:
    async def start() -> None:
        asyncio.ensure_future(tokens.acount(LONG))  # noqa: RUF006 (left alone on purpose)
        await asyncio.sleep(0)

    for _ in range(3):
        asyncio.run(start())
    assert asyncio.run(tokens.acount(TEXTS[9] * 20)) == tokens.count(TEXTS[9] * 20)


def test_loops_in_several_threads() -> None:
    wanted = tokens.count_batch(TEXTS).tolist()
    found: list[list[int]] = []

    async def work() -> list[int]:
        return list(await asyncio.gather(*map(tokens.acount, TEXTS)))

    threads = [threading.Thread(target=lambda: found.append(asyncio.run(work()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [wanted] * 4


def run(code: str) -> str:
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code)]
    return subprocess.check_output(command, text=True, timeout=60)


def test_a_process_that_ends_while_counting() -> None:
    out = run(
        """
        import asyncio
        from dure import tokens

        async def main():
            asyncio.ensure_future(tokens.acount("some words " * 4_000_000))
            await asyncio.sleep(0)

        asyncio.run(main())
        print("ended")
        """
    )
    assert out == "ended\n"


def test_the_child_of_a_fork_counts_too() -> None:
    out = run(
        """
        import asyncio, os
        from dure import tokens

        text = "some words " * 2000

        async def count():
            return await tokens.acount(text)

        before = asyncio.run(count())
        child = os.fork()
        after = asyncio.run(count())
        if child == 0:
            os._exit(0 if after == before else 1)
        assert os.waitpid(child, 0)[1] == 0
        print(before == after)
        """
    )
    assert out == "True\n"
