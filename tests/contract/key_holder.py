"""Sends requests with a key from its standard input, closes, erases its own copies, and waits.

Whoever started it searches its memory for the key: `python key_holder.py ENGINE URL`.
"""

from __future__ import annotations

import asyncio
import ctypes
import sys

SIZE = 64  # bytes of the key


def erase(text: str) -> None:
    """Overwrite the characters of an ASCII str: only they, and only here."""
    ctypes.memset(id(text) + sys.getsizeof(text) - len(text) - 1, 0, len(text))


def say_and_wait(word: str) -> None:
    sys.stdout.write(word + "\n")
    sys.stdout.flush()
    sys.stdin.buffer.raw.read(1)  # type: ignore[union-attr]


async def main(engine: str, url: str) -> None:
    from dure.aio import HttpClient

    key = bytearray(SIZE)
    assert sys.stdin.buffer.raw.readinto(key) == SIZE  # type: ignore[union-attr]
    text = key.decode("ascii")
    client = HttpClient(transport=engine)
    for _ in range(5):
        calls = [client.request("GET", url, headers={"Authorization": text}) for _ in range(8)]
        for reply in await asyncio.gather(*calls):
            assert reply.status == 200, reply.status
    calls = []
    say_and_wait("sent")
    await client.aclose()
    erase(text)
    key[:] = bytes(SIZE)
    say_and_wait("closed")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
