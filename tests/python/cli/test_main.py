"""The frame of the command line: usage, errors, interrupts, pipes."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

COMMAND = [sys.executable, "-m", "dure"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False)


def test_versions_are_plain_lines_or_one_document() -> None:
    plain = run("versions")
    assert plain.returncode == 0
    assert "\x1b" not in plain.stdout
    document = json.loads(run("versions", "--json").stdout)
    assert document["version"] == json.loads(run("--json", "versions").stdout)["version"]
    assert document["version"] in plain.stdout


def test_wrong_usage_is_2() -> None:
    for arguments in ((), ("no-such-command",), ("count",), ("versions", "--no-such-flag")):
        wrong = run(*arguments)
        assert wrong.returncode == 2
        assert wrong.stdout == ""


def test_versions_load_nothing_heavy() -> None:
    code = (
        "import sys; from dure.cli import main; main(['versions'])\n"
        "print('HEAVY', *{'numpy', 'asyncio', 'ssl', 'fastapi', 'dure.rag'} & set(sys.modules))"
    )
    seen = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert seen.splitlines()[-1] == "HEAVY"


def test_a_reader_that_leaves_is_no_error() -> None:
    process = subprocess.Popen(
        [*COMMAND, "versions"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    complaint = process.stderr.read()
    process.stderr.close()
    assert process.wait(20) == 0
    assert complaint == ""


def test_a_second_demo_in_the_same_folder_waits_its_turn(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    with (tmp_path / "demo" / "demo.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = run("demo", "--data", str(tmp_path))
    assert second.returncode == 1
    assert "another demo is running" in second.stderr
    assert "--data" in second.stderr
    assert len(second.stderr.splitlines()) == 1


def test_a_closed_stdout_is_a_quiet_failure() -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$0" -m dure versions >&-', sys.executable],
        stderr=subprocess.PIPE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, b"")


def test_each_provider_has_a_demo_store_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    from dure.cli import demo

    names = {demo._store_name()}
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    for url in ("http://127.0.0.1:9/v1", "http://127.0.0.1:10/v1"):
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        names.add(demo._store_name())
    assert len(names) == 3
