"""R4: see `budget_storm`. `scripts/nightly slow`: a million calls of 256 threads in 4 processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.hazard.budget_storm import Bank, storm

if TYPE_CHECKING:
    from pathlib import Path


def test_a_storm_of_32_threads_in_2_processes_overspends_nothing(tmp_path: Path) -> None:
    bank = storm(tmp_path, processes=2, threads=32, calls=150, kills=3, stops=6, seed=1)
    assert bank.wrong == []
    assert bank.seen["compared with the ledger"] == 6
    assert bank.seen["kills"] >= 1


def test_the_auditor_of_the_storm_sees_a_wrong_total(tmp_path: Path) -> None:
    bank = Bank(tmp_path, 1_000)
    bank.compare([])
    assert bank.wrong == []
    hold = bank.account.reserve(
        ["user:1"], input_pico=10, input_tokens=1, output_rate=0, max_output=0
    )
    bank.read()
    assert bank.wrong.pop(0).startswith("wrong total: 0 and 0")
    bank.compare([])
    assert [line[:8] for line in bank.wrong] == ["read 0 a", "wrong to"]
    bank.account.void_hold(hold)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_storm_of_a_million_calls_overspends_nothing(tmp_path: Path) -> None:
    """M3, M4: 256 threads in 4 processes, 40 of which are killed."""
    bank = storm(tmp_path, processes=4, threads=256, calls=1000, kills=40, stops=40, seed=2)
    assert bank.wrong == []
    assert bank.seen["calls"] >= 1_000_000
