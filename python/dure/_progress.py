"""Progress on a terminal: one line on stderr, redrawn at most ten times a second."""

from __future__ import annotations

import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    Report = Callable[[int, int | None, str], object]

__all__ = ["Bar", "reporter"]

MIN_SECONDS = 0.1
WIDTH = 28
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def reporter(progress: bool | Report | None, *, label: str = "") -> Report | None:
    """Return what a `progress=` argument asks for: nothing, a bar on stderr, or the callable."""
    if progress is None or progress is False:
        return None
    return Bar(label) if progress is True else progress


class Bar:
    """Draws `label ███▌   1,234/5,000 files  812 files/s`. One thread at a time.

    Draws nothing unless `out` is a terminal. The last state is drawn by `close()`, or as soon as
    `done` reaches `total`.
    """

    def __init__(self, label: str = "", *, out: TextIO | None = None) -> None:
        self._label = label
        self._out = out or sys.stderr
        self._live = self._out.isatty()
        self._start = time.monotonic()
        self._drawn_at = 0.0
        self._last: tuple[int, int | None, str] | None = None

    def __call__(self, done: int, total: int | None, unit: str) -> None:
        """Take a new state; draw it if it is time or the end."""
        self._last = (done, total, unit)
        if not self._live:
            return
        now = time.monotonic()
        if now - self._drawn_at >= MIN_SECONDS or done == total:
            self._drawn_at = now
            self._draw(end=done == total)

    def close(self) -> None:
        """Draw the last state and leave the line."""
        if self._live and self._last is not None:
            self._draw(end=True)

    def _draw(self, *, end: bool) -> None:
        assert self._last is not None
        self._out.write("\r\x1b[2K" + render(self._label, *self._last, self._seconds()))
        if end:
            self._out.write("\n")
            self._live = False
        self._out.flush()

    def _seconds(self) -> float:
        return time.monotonic() - self._start


def render(label: str, done: int, total: int | None, unit: str, seconds: float) -> str:
    """Return the line for one state."""
    rate = f"{done / seconds:,.0f} {unit}/s" if seconds > 0.05 else ""
    if not total:
        return f"{label} {done:,} {unit}  {rate}".strip()
    eighths = min(WIDTH * 8, done * WIDTH * 8 // total)
    bar = "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")
    return f"{label} {bar:<{WIDTH}} {done:,}/{total:,} {unit}  {rate}".strip()
