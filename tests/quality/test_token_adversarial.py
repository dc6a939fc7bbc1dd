"""Long runs: linear, never an error, and right where tiktoken answers and where it panics."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np
import pytest
from dure import tokens

from tests.quality import fuzz_texts, reference, tiktoken_oracle
from tests.quality.token_campaign import DISTINCT, compare_long

if TYPE_CHECKING:
    import tiktoken

MILLION = 1_000_000
PANICS = {  # tiktoken's regular expressions run out of their stack here
    "a megabyte of spaces": ("o200k_base", " " * MILLION),
    "spaces and a letter, gpt2": ("r50k_base", " " * MILLION + "x"),
    "spaces and a letter, cl100k": ("cl100k_base", " " * MILLION + "x"),
    "spaces and a letter, o200k": ("o200k_base", " " * MILLION + "x"),
    "tabs and spaces": ("o200k_base", "\t " * (MILLION // 2)),
}
LONG = {
    "one letter": "x" * MILLION,
    "capitals": "A" * MILLION,
    "digits": "0" * MILLION,
    "line feeds": "\n" * MILLION,
    "signs": "!" * MILLION,
    "slashes": "/\n" * (MILLION // 2),
    "combining marks": "\u0301" * (MILLION // 2),
    "hangul": "가" * (MILLION // 3),
    "the pattern's seams": "^0a's \n" * 10_000,
    "random letters": "".join(random.Random(6).choices("abcdefghijklmnopqrstuvwxyz", k=100_000)),
}


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tiktoken.Encoding]:
    return tiktoken_oracle.load(tmp_path_factory.mktemp("tiktoken"))


@pytest.mark.parametrize("name", DISTINCT)
def test_the_slow_reference_is_tiktoken(name: str, oracle: dict[str, tiktoken.Encoding]) -> None:
    """Where both answer: so the reference may speak where tiktoken does not."""
    theirs = oracle[name]
    texts = fuzz_texts.grammar_fuzz(4000, seed=51)
    texts += ["x" * 3000, " " * 3000, " " * 3000 + "x", "\t " * 900, "0" * 999, "=-" * 700]
    young = set(fuzz_texts.UNASSIGNED)
    for text in texts:
        if not young & set(text):
            found = reference.encode(text, theirs._pat_str, theirs._mergeable_ranks)
            assert found == theirs.encode_ordinary(text), repr(text[:50])


@pytest.mark.parametrize("case", PANICS)
def test_where_tiktoken_panics(case: str, oracle: dict[str, tiktoken.Encoding]) -> None:
    name, text = PANICS[case]
    ours, theirs = tokens.get_encoding(name), oracle[name]
    with pytest.raises(BaseException, match="StackOverflow") as caught:
        theirs.encode_ordinary(text)
    assert not isinstance(caught.value, Exception)
    wanted = reference.encode(text, theirs._pat_str, theirs._mergeable_ranks)
    assert ours.encode_ordinary(text) == wanted
    assert ours.encode(text) == wanted
    assert ours.encode_to_numpy(text).tolist() == wanted
    assert ours.count(text) == len(wanted)
    assert ours.decode(wanted) == text


@pytest.mark.parametrize("case", LONG)
def test_long_runs(case: str, oracle: dict[str, tiktoken.Encoding]) -> None:
    name = ("r50k_base", "cl100k_base", "o200k_base")[list(LONG).index(case) % 3]
    compare_long(name, oracle[name], LONG[case])


@pytest.mark.slow
@pytest.mark.parametrize("case", LONG)
@pytest.mark.parametrize("name", DISTINCT)
def test_long_runs_of_each(name: str, case: str, oracle: dict[str, tiktoken.Encoding]) -> None:
    compare_long(name, oracle[name], LONG[case])


@pytest.mark.parametrize(
    ("name", "unit"), [("gpt2", "x"), ("cl100k_base", " "), ("o200k_base", "\u0301")]
)
def test_ten_megabytes_come_back(name: str, unit: str) -> None:
    ours = tokens.get_encoding(name)
    text = unit * (10 * MILLION // len(unit.encode()))
    ids = ours.encode_to_numpy(text)
    assert ours.count(text) == len(ids)
    assert ours.decode_bytes(ids) == text.encode()  # type: ignore[arg-type]


def test_limits_of_long_runs() -> None:
    """Stopping early, cutting and counting spans, where a piece has a million bytes."""
    ours = tokens.get_encoding("o200k_base")
    for text in (" " * MILLION, "x" * MILLION, "가" * (MILLION // 3)):
        total = ours.count(text)
        assert ours.fits(text, total)
        assert not ours.fits(text, total - 1)
        assert ours.count_up_to(text, 10) is None
        part = ours.truncate(text, 100)
        assert ours.count(part) <= 100
        spans = tokens.PrefixCounts(text, ours)
        chance = random.Random(9)
        for _ in range(5):
            start, end = sorted(chance.choices(range(len(text) + 1), k=2))
            assert spans.count(start, end) == ours.count(text[start:end])


def test_a_batch_of_long_and_short_texts() -> None:
    ours = tokens.get_encoding("cl100k_base")
    texts = ["", "x" * MILLION, "a", " " * MILLION, "한국어"] * 3
    wanted = [ours.encode_ordinary(text) for text in texts]
    for threads in (1, 2, 8):
        ids, offsets = ours.encode_to_numpy_batch(texts, threads=threads)
        assert np.diff(offsets).tolist() == list(map(len, wanted))
        assert ids.tolist() == [one for ids in wanted for one in ids]
        assert ours.encode_ordinary_batch(texts, num_threads=threads) == wanted
