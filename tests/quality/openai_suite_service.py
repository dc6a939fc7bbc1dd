"""A pytest plugin: openai-python's own tests against `dure serve`, which passes on to Steady.

`scripts/conformance --service` loads it with `-p`. The suite asks for ids that nobody has made, so
each test begins with their rows in `provider_objects`, as if this organisation had made them.
Paths that the service does not serve are left out by name, here and nowhere else. What a test mocks
stands behind the service, where the provider is.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from tests_dure_openai_suite import Late, start_front  # copied beside the suite by the script

DATABASE = Path(os.environ["DURE_CONFORMANCE_DATA"]) / "service.db"
# What the suite names, by kind.
IDS = {
    "file": ["file_id", "string", "input_file_id", "file-abc123", "after"],
    "batch": ["batch_id", "string"],
    "response": [
        "resp_677efb5139a88190b512bc3fef8e535d",
        "response_id",
        "previous_response_id",
        "resp_123",
    ],
    "conversation": ["string", "conversation"],
    "prompt": ["id"],
    "item": ["id"],
}
# Stored chat completions, `models.delete`, edits and variations of images, and compaction.
NOT_SERVED = {
    "chat/test_completions": ("retrieve", "update", "list", "delete"),
    "completions/test_messages": ("list",),
    "test_models": ("delete",),
    "test_images": ("edit", "create_variation"),
    "test_responses": ("compact",),
}


start_front(os.environ["DURE_STEADY"], int(os.environ["DURE_FRONT_PORT"]))


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Register late: of equal names, the last fixture wins."""
    session.config.pluginmanager.register(Late(), "dure-late")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is not served."""
    kept: list[pytest.Item] = []
    left: list[pytest.Item] = []
    for item in items:
        (left if _is_left_out(item) else kept).append(item)
    config.hook.pytest_deselected(items=left)
    items[:] = kept


def _is_left_out(item: pytest.Item) -> bool:
    verb = item.name.removeprefix("test_path_params_")
    for shape in ("method_", "raw_response_", "streaming_response_"):
        verb = verb.removeprefix("test_").removeprefix(shape)
    verb = verb.partition("[")[0].partition("_with")[0].partition("_overload")[0]
    path = item.nodeid.partition("::")[0]
    return any(where in path and verb in verbs for where, verbs in NOT_SERVED.items())


@pytest.fixture(autouse=True)
def _made_before() -> None:
    """Give the organisation what the suite says it has."""
    rows = [(kind, one) for kind, ids in IDS.items() for one in ids]
    with sqlite3.connect(DATABASE, timeout=20) as work:
        work.executemany(
            "INSERT OR IGNORE INTO provider_objects (kind, id, org_id, owner_id, created_at) "
            "VALUES (?, ?, 'default', '', 0)",
            rows,
        )


def pytest_terminal_summary(terminalreporter: Any) -> None:  # noqa: ANN401 - pytest's own
    """Say how many were left out, so that nobody takes the rest for all."""
    left = len(terminalreporter.stats.get("deselected", []))
    terminalreporter.write_line(f"{left} tests of paths that are not served were left out")
