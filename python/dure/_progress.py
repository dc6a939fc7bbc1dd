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
LEAST_WIDTH = 6  # a shorter bar says nothing
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
        self._out.write("\r\x1b[2K" + self._line())
        if end:
            self._out.write("\n")
            self._live = False
        self._out.flush()

    def _line(self) -> str:
        assert self._last is not None
        seconds = time.monotonic() - self._start
        return render(self._label, *self._last, seconds, columns=self._columns())

    def _columns(self) -> int:
        import os

        try:
            return os.get_terminal_size(self._out.fileno()).columns or 80
        except (OSError, ValueError):  # no terminal of the system's, for example a test's
            return 80


def render(
    label: str, done: int, total: int | None, unit: str, seconds: float, *, columns: int = 80
) -> str:
    """Return the line for one state, within `columns`: bar and rate give way on a narrow one."""
    rate = f"{done / seconds:,.0f} {unit}/s" if seconds > 0.05 else ""
    if not total:
        return _within(columns, f"{label} {done:,} {unit}", rate).strip()
    share = f"{done:,}/{total:,} {unit}"
    for more in (rate, ""):
        width = min(WIDTH, columns - 1 - len(f"{label}  {share}  {more}"))
        if width >= LEAST_WIDTH:
            return f"{label} {_bar(done, total, width)} {share}  {more}".strip()
    return _within(columns, f"{label} {share}", rate).strip()


def _bar(done: int, total: int, width: int) -> str:
    eighths = min(width * 8, done * width * 8 // total)
    bar = "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")
    return f"{bar:<{width}}"


def _within(columns: int, text: str, more: str) -> str:
    """Return both, or the text alone, or its start: shorter than `columns` in any case."""
    both = f"{text}  {more}"
    return (both if len(both) < columns else text)[: max(columns - 1, 0)]
