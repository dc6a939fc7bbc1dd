"""`dure saving`: one token log at two models, from a file or from the ledger."""

from __future__ import annotations

import json
import subprocess
import sys
from decimal import Decimal
from typing import TYPE_CHECKING

import dure
import pytest
from dure import errors, models

if TYPE_CHECKING:
    from pathlib import Path

LOG = [{"prompt_tokens": 1000, "completion_tokens": 500}] * 3


def run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dure", "saving", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)


def test_the_saving_is_exact() -> None:
    found = models.saving(LOG, before="gpt-4", after="openai/gpt-4o-mini")
    assert (found.before, found.after, found.calls) == ("gpt-4", "gpt-4o-mini", 3)
    assert found.before_usd == Decimal("0.18")  # 3,000 at $30 and 1,500 at $60 a million
    assert found.after_usd == Decimal("0.00135")
    assert found.percent == Decimal("99.25")
    assert models.saving([], before="gpt-4", after="gpt-4o").percent == 0
    with pytest.raises(errors.InvalidModelError):
        models.saving(LOG, before="gpt-4", after="no-such-model")


def test_a_file_and_stdin(tmp_path: Path) -> None:
    lines = "\n".join(map(json.dumps, LOG)) + "\n\n"
    file = tmp_path / "log.jsonl"
    file.write_text(lines, encoding="utf-8")
    for done in (run(str(file), "--json"), run("-", "--json", stdin=lines)):
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == {
            "calls": 3,
            "before": "gpt-4",
            "after": "gpt-4o-mini",
            "before_usd": "0.18",
            "after_usd": "0.00135",
            "saved_percent": "99.25",
        }
    short = run(str(file), "--after", "gpt-4o", "--at-least", "99")
    assert short.returncode == 1
    assert "less than the 99 %" in short.stderr
    file.write_text("{}\n[]\n", encoding="utf-8")
    bad = run(str(file))
    assert (bad.returncode, len(bad.stderr.splitlines())) == (1, 1)
    assert run(str(file), "--at-least", "many").returncode == 2


def test_the_ledgers_own_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DURE_DATA", str(tmp_path))
    manager = dure.OpenAIClientManager()
    manager.track_usage("gpt-4", 1000, 500, service="StrategyBuilder")
    manager.track_usage("text-embedding-3-small", 9000, 0)  # gives no text: not of the log
    done = run("--data", str(tmp_path), "--json", "--at-least", "30")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["calls"] == 1
    assert json.loads(done.stdout)["before_usd"] == "0.06"
