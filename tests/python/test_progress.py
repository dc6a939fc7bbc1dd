"""Progress: a line on a terminal, nothing elsewhere."""

from __future__ import annotations

import io

from dure._progress import Bar, render, reporter


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_nothing_is_drawn_into_a_pipe() -> None:
    out = io.StringIO()
    bar = Bar("ingest", out=out)
    bar(10, 10, "files")
    bar.close()
    assert out.getvalue() == ""


def test_drawing_is_bounded_and_ends_with_the_last_state() -> None:
    out = Terminal()
    bar = Bar("ingest", out=out)
    for done in range(1, 10_001):
        bar(done, 10_000, "files")
    drawn = out.getvalue()
    assert drawn.endswith("\n")
    assert "10,000/10,000 files" in drawn
    assert drawn.count("\r") < 50


def test_close_leaves_an_unfinished_line_once() -> None:
    out = Terminal()
    bar = Bar("map", out=out)
    bar(3, 10, "requests")
    bar.close()
    bar.close()
    assert out.getvalue().count("\n") == 1


def test_the_bar_grows_by_eighths() -> None:
    assert "█" * 14 in render("x", 1, 2, "files", 0.0)
    assert "█" * 15 not in render("x", 1, 2, "files", 0.0)
    assert render("x", 5, None, "files", 1.0) == "x 5 files  5 files/s"


def test_a_callable_is_called_itself() -> None:
    seen: list[tuple[int, int | None, str]] = []
    report = reporter(lambda done, total, unit: seen.append((done, total, unit)))
    assert report is not None
    report(1, 2, "files")
    assert seen == [(1, 2, "files")]
    assert reporter(None) is None
    assert isinstance(reporter(True), Bar)


def test_a_narrow_terminal_gets_a_shorter_line() -> None:
    wide = render("ingest", 1234, 5000, "files", 2.0)
    assert wide == f"ingest {'█' * 6 + '▉':<28} 1,234/5,000 files  617 files/s"
    for columns in range(1, 90):
        line = render("ingest", 1234, 5000, "files", 2.0, columns=columns)
        assert len(line) < columns
        assert "1,234/5,000 files" in line or columns < 27
        assert len(render("ingest", 1234, None, "files", 2.0, columns=columns)) < columns
