"""A ledger file of a newer dure hides none of the others."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from dure import _core
from dure.costs import ledger_records, replay_ledger, verify_ledger
from dure.errors import StoreVersionError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_newer_ledger_is_told_and_passed_over(tmp_path: Path) -> None:
    account = _core.money.Account.open(str(tmp_path))
    hold = account.reserve(["org:a"], input_pico=9, input_tokens=1, output_rate=0, max_output=0)
    account.sent(hold)
    account.settle(hold, pico=7, input_tokens=1, output_tokens=0)
    del account
    _core.money.Account.open(str(tmp_path))
    newer = tmp_path / "ledger" / "00000002.ledger"
    with newer.open("r+b") as file:
        file.seek(8)
        file.write(b"\x63")
    told: list[StoreVersionError] = []
    listed = list(ledger_records(tmp_path, newer=told.append))
    assert [one["pico"] for one in listed if one["type"] == "SETTLE"] == [7]
    assert len(told) == 1
    with pytest.raises(StoreVersionError):
        replay_ledger(tmp_path)  # a sum must not leave anything out
    report = verify_ledger(tmp_path)
    assert not report.ok
    assert "newer dure" in str(report.first_difference)
    command = [sys.executable, "-m", "dure", "ledger", "export", "--data", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0
    assert b"newer dure" in done.stderr
    assert any(json.loads(line)["type"] == "SETTLE" for line in done.stdout.splitlines())
