"""What a type checker sees of the public surface: mypy reads this file, pytest runs it."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, assert_type

import dure

if TYPE_CHECKING:
    import numpy as np


def test_tokens() -> None:
    assert_type(dure.tokens.count("two words"), int)
    assert_type(dure.tokens.fits("two words", 5), bool)
    assert_type(dure.tokens.count_up_to("two words", 5), int | None)
    assert_type(dure.tokens.truncate("two words", 1), str)
    assert_type(dure.tokens.get_encoding("o200k_base").encode_ordinary("two words"), list[int])


def test_money() -> None:
    cost = dure.cost({"prompt_tokens": 1000, "completion_tokens": 500}, model="gpt-4o-mini")
    assert_type(cost.pico, int)
    assert_type(cost.usd, Decimal)
    assert cost.pico == 450_000_000
    assert cost.usd == Decimal("0.00045")
    assert_type(dure.MODEL_CATALOG["gpt-4o"], dure.ModelConfig)


def test_chunks() -> None:
    chunks = dure.Chunker(max_tokens=64).chunk("One sentence. Another one.")
    assert_type(chunks, dure.chunks.Chunks)
    starts: np.ndarray[tuple[int, ...], np.dtype[np.int64]] = chunks.char_start
    assert starts[0] == 0


def test_errors_are_typed() -> None:
    assert issubclass(dure.InvalidModelError, dure.DureError)
