"""Twenty thousand documents over all modes and options: no broken rule; tiktoken counts again."""

from __future__ import annotations

import random

import pytest
from dure.chunks import Chunker, Chunks

from tests.quality import chunk_campaign


@pytest.mark.parametrize("seed", range(8))
def test_no_rule_is_broken(seed: int) -> None:
    assert chunk_campaign.run(2500, seed=seed) > 10_000


def test_the_cases_reach_every_mode_unit_and_option() -> None:
    cases = [chunk_campaign.case(random.Random(f"0:{i}")) for i in range(2500)]
    assert {one.options["mode"] for one in cases} == set(chunk_campaign.MODES)
    for unit in chunk_campaign.UNITS:
        assert sum(unit in one.options for one in cases) > 500


def test_the_check_sees_what_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunker that cheats on the cap is found."""
    one = chunk_campaign.Case("word " * 50, {"max_chars": 50, **_OPTIONS})
    assert chunk_campaign.check(one) > 1
    honest = Chunker.chunk

    def cheats(self: Chunker, text: str) -> Chunks:
        return honest(Chunker(max_chars=60, mode="text", trim=self._options["trim"]), text)

    monkeypatch.setattr(Chunker, "chunk", cheats)
    with pytest.raises(chunk_campaign.BrokenRule, match="over the cap"):
        chunk_campaign.check(one)


_OPTIONS = {"mode": "text", "overlap": 0, "trim": True, "tokenizer": "o200k_base"}


def test_a_page_that_begins_inside_a_grapheme_is_not_crossed() -> None:
    chunk_campaign.check(chunk_campaign.case(random.Random("20270615:3278")))
