"""Work that others' text decides on, in a child process with little memory and time."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from dure.errors import InvalidArgumentError

__all__ = ["Sandbox"]

_CHILD = str(Path(__file__).parent / "child.py")
_SECONDS = 10.0  # of the clock on the wall; the child's own limit is a second of work
_MOST = 8 * 1024 * 1024  # bytes of an answer: a character may take six
_AT_ONCE = 2


class Sandbox:
    """Does such work, two jobs at once. Task-safe within one event loop."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def render(self, text: str, variables: dict[str, Any]) -> str:
        """Return a Jinja2 template's text.

        Raises:
            InvalidArgumentError: it cannot be rendered within its limits; the text says why.
        """
        job = {"do": "render", "text": text, "variables": variables}
        return str((await self._asked(job, "template"))["text"])

    async def variables_of(self, text: str) -> list[str]:
        """Return the names of a Jinja2 template's variables.

        Raises:
            InvalidArgumentError: it is no template.
        """
        found = await self._asked({"do": "variables", "text": text}, "template")
        return list(found["variables"])

    async def search(self, pattern: str, texts: list[str]) -> list[bool]:
        """Return for each text whether the pattern is in it.

        Raises:
            InvalidArgumentError: it is no pattern, or takes too long.
        """
        job = {"do": "search", "pattern": pattern, "texts": texts}
        return list((await self._asked(job, "pattern"))["found"])

    async def _asked(self, job: dict[str, Any], what: str) -> dict[str, Any]:
        async with self._slots:
            answer = await _answered(json.dumps(job).encode())
        try:
            found = json.loads(answer)
        except ValueError:  # it was ended by its limits
            found = {"error": "it needs too much time or memory"}
        if "error" in found:
            raise InvalidArgumentError(f"{what}: {found['error']}", argument=what, http_status=422)
        return dict(found)


async def _answered(job: bytes) -> bytes:
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        _CHILD,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={},
        limit=_MOST,
    )
    try:
        answer, _ = await asyncio.wait_for(child.communicate(job), _SECONDS)
    except TimeoutError:
        return b""
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    return answer if len(answer) <= _MOST else b""
