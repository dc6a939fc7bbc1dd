"""What every test starts from; no provider key may be seen in what a run leaves behind."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from .canary import leaks_in_files, leaks_in_text

if TYPE_CHECKING:
    from collections.abc import Generator


def pytest_configure() -> None:
    """Hear Ctrl-C even where the run was started in the background, which ignores it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that printed or logged a provider key."""
    report = yield
    said = "".join(text for _, text in report.sections)
    if report.passed and (found := leaks_in_text(said)):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} shows {len(found)} provider key(s) in its output"
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run that left a provider key in a file: ledgers, stores, logs, caches, cores."""
    factory = getattr(session.config, "_tmp_path_factory", None)
    if factory is None:
        return
    left = list(leaks_in_files(factory.getbasetemp()))
    if left:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        print("\nprovider keys were left in:", *left, sep="\n  ")  # noqa: T201
