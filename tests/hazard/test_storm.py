"""R1: 20,000 requests, 30 % of them faulty, over both engines; nothing is lost, cut or late.

`scripts/nightly storm` runs a million.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.hazard import storm

if TYPE_CHECKING:
    from pathlib import Path

SEED = 20_261_121
COUNT = 5_000  # a run; four runs


def check(result: storm.Result) -> None:
    assert result.wrong == []
    assert result.late == 0
    assert result.starved <= result.requests // 100, "the machine is too busy to judge"
    assert sum(sum(ends.values()) for ends in result.ends.values()) == result.requests
    faulty = result.requests - sum(result.ends["none"].values())
    assert 0.25 < faulty / result.requests < 0.35


@pytest.mark.parametrize("engine", ["a", "b"])
async def test_every_reply_is_exact_or_a_typed_error(engine: str) -> None:
    check(await storm.transport_storm(engine, COUNT, SEED))


@pytest.mark.parametrize("engine", ["a", "b"])
async def test_every_answer_is_exact_or_a_typed_error_and_paid_for(
    engine: str, tmp_path: Path
) -> None:
    check(await storm.client_storm(engine, COUNT, SEED, tmp_path))
