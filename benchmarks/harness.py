"""Interleaved timing of several contenders, equal answers first."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from dataclasses import asdict, dataclass, field
from importlib.metadata import distributions, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.goals import Goals

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Contender:
    """One engine under test.

    `run` takes a fresh input and does the work; it is timed. `answer` turns its result into
    something comparable; None: this contender's answers cannot be compared. `before` is called
    ahead of each run, outside the timing.
    """

    name: str
    run: Callable[[Any], Any]
    answer: Callable[[Any], object] | None = lambda result: result
    before: Callable[[], object] = lambda: None


@dataclass
class Row:
    contender: str
    median: float
    low: float
    high: float
    rate: float
    ratio: float  # how many times faster the first contender is than this one
    equal: bool | None


@dataclass
class Table:
    title: str
    unit: str
    note: str = ""
    rows: list[Row] = field(default_factory=list)

    def show(self) -> None:
        print(f"\n{self.title}" + (f"   ({self.note})" if self.note else ""))
        print(f"  {'':32} {self.unit:>12} {'min..max':>21}  {'dure is':>9}  answers")
        for row in self.rows:
            equal = {True: "equal", False: "DIFFER", None: "-"}[row.equal]
            span = f"{row.low:.4g}..{row.high:.4g}"
            print(
                f"  {row.contender:32} {row.rate:12.4g} {span:>21}  {row.ratio:8.2f}x  {equal}",
                flush=True,
            )


@dataclass(frozen=True)
class Goal:
    """A number that was promised, beside what was measured."""

    name: str
    measured: float
    wanted: float
    unit: str = "x"
    at_most: bool = False

    @property
    def holds(self) -> bool:
        return self.measured <= self.wanted if self.at_most else self.measured >= self.wanted


def verdicts(title: str, goals: list[Goal]) -> Table:
    """Print each goal with its verdict; `rate` of a row is what was measured, `low` the goal."""
    table = Table(title, "goals", "rate: measured; low and high: wanted; equal: holds")
    print(f"\n{title}")
    for goal in goals:
        sign = "<=" if goal.at_most else ">="
        wanted = f"{sign} {goal.wanted:.4g} {goal.unit}"
        verdict = "holds" if goal.holds else "MISSED"
        print(f"  {goal.name:62} {goal.measured:9.4g} {wanted:14} {verdict}", flush=True)
        ratio = goal.wanted / goal.measured if goal.at_most else goal.measured / goal.wanted
        table.rows.append(
            Row(
                goal.name,
                goal.measured,
                goal.wanted,
                goal.wanted,
                goal.measured,
                ratio,
                goal.holds,
            )
        )
    return table


def side_by_side(
    title: str,
    contenders: list[Contender],
    *,
    fresh: Callable[[], Any],
    work: float,
    unit: str,
    rounds: int = 5,
    clock: Callable[[], float] = time.perf_counter,
    note: str = "",
) -> Table:
    """Time `contenders` in turn for `rounds` rounds; the first one is ours.

    Args:
        title: What is measured.
        contenders: Ours first.
        fresh: Makes one new input per run, outside the timing.
        work: How much one run does, in `unit` times seconds (for example megabytes).
        unit: The unit of the rate, for example "MB/s".
        rounds: How often each runs; the median counts.
        clock: Seconds; `time.process_time` where CPU counts instead of wall time.
        note: Shown beside the title.
    """
    times: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    answers: dict[str, object] = {}
    for contender in contenders:  # warm-up, and the answers
        result = contender.run(fresh())
        if contender.answer is not None:
            answers[contender.name] = contender.answer(result)
    for _ in range(rounds):
        for contender in contenders:
            given = fresh()
            contender.before()
            start = clock()
            contender.run(given)
            times[contender.name].append(clock() - start)
    ours = contenders[0].name
    base = statistics.median(times[ours])
    table = Table(title, unit, note)
    for name, seconds in times.items():
        median = statistics.median(seconds)
        equal = answers[name] == answers[ours] if name in answers and ours in answers else None
        table.rows.append(
            Row(
                name,
                median,
                work / max(seconds),
                work / min(seconds),
                work / median,
                median / base,
                equal,
            )
        )
    table.show()
    return table


APART = ("litellm",)  # peers of `requirements-apart.txt`


def python_of(package: str) -> str:
    """Return the interpreter that has a peer."""
    return f"{sys.prefix}-apart/bin/python" if package in APART else sys.executable


def named(package: str, label: str = "") -> str:
    """`package version label` of an installed peer."""
    if package in APART:
        folders = Path(f"{sys.prefix}-apart").glob("lib/python*/site-packages")
        installed = list(distributions(name=package, path=[str(f) for f in folders]))
        found = installed[0].version
    else:
        found = version(package)
    return f"{package} {found}{' ' + label if label else ''}"


def machine() -> dict[str, str]:
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    return {"cpu": model, "cores": str(os.cpu_count()), "python": platform.python_version()}


def write(area: str, tables: Sequence[Table | Goals]) -> None:
    import dure

    RESULTS.mkdir(exist_ok=True)
    record = {
        "area": area,
        "machine": machine(),
        "dure": dure.build_info(),
        "tables": [asdict(table) for table in tables],
    }
    path = RESULTS / f"{area}.json"
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    print(f"\nwritten: benchmarks/results/{path.name}")
