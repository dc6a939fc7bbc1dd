"""Zero differences from the installed tiktoken, for all of its encodings."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from dure import tokens
from hypothesis import given
from hypothesis import strategies as st

from tests.quality import corpora, fuzz_texts, tiktoken_oracle, token_digest
from tests.quality.token_campaign import (
    DISTINCT,
    NAMES,
    SCALARS,
    TEMPLATES,
    blocks_of,
    compare_long,
    compare_many,
    in_a_row,
    short_strings,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import tiktoken


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tiktoken.Encoding]:
    return tiktoken_oracle.load(tmp_path_factory.mktemp("tiktoken"))


@pytest.mark.parametrize("name", NAMES)
def test_vocabulary(name: str, oracle: dict[str, tiktoken.Encoding]) -> None:
    ours, theirs = tokens.get_encoding(name), oracle[name]
    assert ours._mergeable_ranks == theirs._mergeable_ranks
    assert ours._special_tokens == theirs._special_tokens
    assert ours._pat_str == theirs._pat_str
    assert ours.token_byte_values() == theirs.token_byte_values()
    for field in ("name", "n_vocab", "max_token_value", "eot_token", "special_tokens_set"):
        assert getattr(ours, field) == getattr(theirs, field)
    assert repr(ours) == repr(theirs)
    ids = [rank for rank in range(theirs.n_vocab) if rank not in {50256, 200018}]
    known = [
        one for one in ids if theirs.is_special_token(one) or one < len(theirs._mergeable_ranks)
    ]
    assert ours.decode_tokens_bytes(known) == theirs.decode_tokens_bytes(known)


@pytest.mark.parametrize("name", NAMES)
def test_grammar_fuzz(name: str, oracle: dict[str, tiktoken.Encoding]) -> None:
    number = 160_000 if name in DISTINCT else 40_000
    compare_many(name, oracle[name], fuzz_texts.grammar_fuzz(number, seed=NAMES.index(name)))


@pytest.mark.parametrize("name", DISTINCT)
def test_cuts_of_real_text(name: str, oracle: dict[str, tiktoken.Encoding]) -> None:
    compare_many(name, oracle[name], short_strings(20_000, seed=DISTINCT.index(name)))


ROTATED = {  # the nightly campaign takes all for each encoding
    "r50k_base": TEMPLATES[0::4],
    "p50k_base": TEMPLATES[2::4],
    "cl100k_base": TEMPLATES[1::3],
    "o200k_base": TEMPLATES[0::3],
}


@pytest.mark.parametrize("name", ROTATED)
def test_every_scalar(name: str, oracle: dict[str, tiktoken.Encoding]) -> None:
    for template in ROTATED[name]:
        compare_long(name, oracle[name], in_a_row(template))


@pytest.mark.parametrize("name", ["cl100k_base", "o200k_base"])
def test_letters_of_the_basic_plane_alone(name: str, oracle: dict[str, tiktoken.Encoding]) -> None:
    texts = [template.replace("{}", one) for template in TEMPLATES for one in SCALARS[:0x3000]]
    compare_many(name, oracle[name], texts)


def test_twenty_megabytes(oracle: dict[str, tiktoken.Encoding]) -> None:
    """Of each of the four vocabularies, two fifths in other scripts than Latin."""
    done = 0
    for block, _ in blocks_of(corpora.new_text(20_000_000), 2_000_000):
        done += len(block.encode())
        for name in DISTINCT:
            compare_long(name, oracle[name], block)
    assert done >= 20_000_000


@pytest.mark.parametrize("name", DISTINCT)
def test_made_up_text(name: str, oracle: dict[str, tiktoken.Encoding]) -> None:
    theirs = oracle[name]
    for seed, (first, last, space) in enumerate(fuzz_texts.SCRIPTS.values()):
        text = fuzz_texts.script_text(first, last, 60_000, seed=seed, space=space)
        compare_long(name, theirs, text)
    text = fuzz_texts.mixed_text(200_000, seed=8)
    compare_long(name, theirs, text)
    chance = random.Random(5)
    starts = chance.choices(range(len(text)), k=3000)
    compare_many(name, theirs, [text[at : at + chance.randint(1, 300)] for at in starts])


@pytest.mark.parametrize("name", DISTINCT)
def test_pieces_of_every_length(name: str, oracle: dict[str, tiktoken.Encoding]) -> None:
    """Table and stack limits lie at 15, 16, 31, 32, 96, 100 and 128 bytes."""
    chance = random.Random(3)
    texts = []
    for length in [*range(1, 140), 255, 256, 257, 1000, 3001]:
        texts += ["".join(chance.choices("abcxyz", k=length)), "가" * length, " " * length + "x"]
        texts += ["=" * length, "\n" * length + " x", "0" * length, "a " * length, "é" * length]
        texts += ["".join(chance.choices("한국어는", k=length)), "\u0301" * length, "A" * length]
    compare_many(name, oracle[name], texts)


@pytest.mark.parametrize("name", NAMES)
def test_special_tokens(name: str, oracle: dict[str, tiktoken.Encoding]) -> None:
    ours, theirs = tokens.get_encoding(name), oracle[name]
    chance = random.Random(2)
    specials = sorted(theirs.special_tokens_set)[:40]
    words = [*specials, "<|", "|>", "<|endof", "a", " ", "한", "\n", "<|endoftext|"]
    # tiktoken builds a pattern of all special tokens for each new set: slow with a thousand
    for _ in range(30 if len(ours._special_tokens) > 100 else 800):
        text = "".join(chance.choices(words, k=chance.randint(0, 6)))
        some = set(chance.sample(specials, chance.randint(0, min(3, len(specials)))))
        policies: list[dict[str, object]] = [
            {"allowed_special": "all"},
            {"disallowed_special": ()},
            {"allowed_special": some, "disallowed_special": ()},
            {"allowed_special": some},
            {"allowed_special": some, "disallowed_special": {"a"}},
            {},
        ]
        for policy in policies:
            assert outcome(ours.encode, text, **policy) == outcome(theirs.encode, text, **policy)
        plain = theirs.encode(text, allowed_special=some, disallowed_special=())
        array = ours.encode_to_numpy(text, allowed_special=some, disallowed_special=())
        assert array.tolist() == plain
        batch = ours.encode_batch([text, "b"], allowed_special=some, disallowed_special=())
        assert batch == [plain, theirs.encode("b")]


def outcome(call: Callable[..., object], *args: object, **keywords: object) -> object:
    """What a call gives: its value, or its error's class and text."""
    try:
        return call(*args, **keywords)
    except ValueError as error:
        return "ValueError", str(error)
    except KeyError as error:
        return "KeyError", error.args
    except OverflowError as error:
        return "OverflowError", str(error)
    except TypeError:
        return "TypeError"


@pytest.mark.parametrize("name", NAMES)
def test_errors_are_tiktokens(name: str, oracle: dict[str, tiktoken.Encoding]) -> None:
    ours, theirs = tokens.get_encoding(name), oracle[name]
    missing = theirs.n_vocab + 7
    for method in (
        "decode",
        "decode_bytes",
        "decode_tokens_bytes",
        "decode_with_offsets",
    ):
        for ids in ([], [1, missing], [missing], [-1], [2**33], ["x"], [1.5], None):
            wanted = outcome(getattr(theirs, method), ids)
            assert outcome(getattr(ours, method), ids) == wanted, (method, ids)
    for one in (missing, -1, 2**33, "x"):
        wanted = outcome(theirs.decode_single_token_bytes, one)
        assert outcome(ours.decode_single_token_bytes, one) == wanted, one
    for word in ("no such token", b"\xff\xff\xff", "", "<|endoftext|>"):
        wanted = outcome(theirs.encode_single_token, word)
        assert outcome(ours.encode_single_token, word) == wanted, word


@pytest.mark.parametrize("name", DISTINCT)
def test_surrogates(name: str, oracle: dict[str, tiktoken.Encoding]) -> None:
    ours, theirs = tokens.get_encoding(name), oracle[name]
    for text in ("\ud83d\udc4d", "a\ud83d", "\udc4d\ud83d", "한\udfffx\ud800"):
        assert ours.encode(text) == theirs.encode(text)
        assert ours.encode_ordinary(text) == theirs.encode_ordinary(text)
        assert ours.encode_ordinary_batch([text]) == [theirs.encode_ordinary(text)]
        assert ours.count(text) == len(theirs.encode(text))
        for method in ("encode_to_numpy", "encode_with_unstable", "encode_single_token"):
            with pytest.raises(UnicodeEncodeError):
                getattr(theirs, method)(text)
            with pytest.raises(UnicodeEncodeError):
                getattr(ours, method)(text)


@pytest.mark.parametrize("name", DISTINCT)
def test_unstable_ends(name: str, oracle: dict[str, tiktoken.Encoding]) -> None:
    ours, theirs = tokens.get_encoding(name), oracle[name]
    known = [
        "hello fanta",
        "",
        "\n\n",
        " ",
        "x\n ",
        "def f():\n    ",
        "한국",
        "🙂",
        "<|endoftext|>",
    ]
    chance = random.Random(11)
    texts = [
        one for one in fuzz_texts.grammar_fuzz(400, seed=9) if len(one.encode()) > 2 and one.strip()
    ]
    for text in [*known, *chance.sample(texts, 25)]:
        stable, completions = ours.encode_with_unstable(text, allowed_special="all")
        wanted = theirs.encode_with_unstable(text, allowed_special="all")
        assert stable == wanted[0], repr(text)
        assert sorted(completions) == sorted(map(list, wanted[1])), repr(text)


@pytest.mark.parametrize("name", DISTINCT)
def test_bytes_that_are_no_text(name: str, oracle: dict[str, tiktoken.Encoding]) -> None:
    ours, theirs = tokens.get_encoding(name), oracle[name]
    chance = random.Random(13)
    assert tokens.get_encoding("cl100k_base")._encode_bytes(b" \xec\x8b\xa4\xed") == [62085]
    for text in fuzz_texts.grammar_fuzz(20_000, seed=4):
        raw = bytearray(text.encode())
        for _ in range(chance.randint(0, 2)):
            raw.insert(chance.randint(0, len(raw)), chance.randrange(0x80, 0x100))
        cut = bytes(raw[: chance.randint(0, len(raw))])
        assert ours._encode_bytes(cut) == theirs._encode_bytes(cut), cut
        if cut:  # tiktoken panics at an empty piece
            assert ours._encode_single_piece(cut) == theirs._encode_single_piece(cut), cut


@pytest.mark.parametrize("name", NAMES)
def test_decoding(name: str, oracle: dict[str, tiktoken.Encoding]) -> None:
    ours, theirs = tokens.get_encoding(name), oracle[name]
    chance = random.Random(17)
    for _ in range(3000):
        ids = chance.choices(range(50_000), k=chance.randint(0, 8))
        assert ours.decode(ids) == theirs.decode(ids)
        assert ours.decode_bytes(ids) == theirs.decode_bytes(ids)
        both = [outcome(one.decode, ids, errors="strict") for one in (ours, theirs)]
        assert both[0] == both[1]
        decoder = tokens.StreamDecoder(name)
        text = "".join(decoder.feed([one]) for one in ids) + decoder.finish()
        assert text == theirs.decode(ids)
    for text in [
        *fuzz_texts.grammar_fuzz(3000, seed=21),
        "நடிகர் சூர்யா",
        " Ġ除",
        "我非常渴望与人工智能一起工作",
    ]:
        ids = theirs.encode_ordinary(text)
        assert ours.decode_with_offsets(ids) == theirs.decode_with_offsets(ids)


@given(st.text())
def test_any_text_comes_back(text: str) -> None:
    for name in DISTINCT:
        encoding = tokens.get_encoding(name)
        assert encoding.decode(encoding.encode_ordinary(text)) == text


@given(st.binary())
def test_any_bytes_come_back(data: bytes) -> None:
    for name in DISTINCT:
        encoding = tokens.get_encoding(name)
        assert encoding.decode_bytes(encoding._encode_bytes(data)) == data


@pytest.mark.parametrize("name", DISTINCT)
def test_spans_of_a_text(name: str, oracle: dict[str, tiktoken.Encoding]) -> None:
    """PrefixCounts, Counter and truncate against the count of each span alone."""
    theirs, ours = oracle[name], tokens.get_encoding(name)
    chance = random.Random(19)
    for text in [fuzz_texts.mixed_text(2000, seed=31), *fuzz_texts.grammar_fuzz(1500, seed=32)]:
        spans = tokens.PrefixCounts(text, name)
        for _ in range(4 if len(text) < 100 else 3000):
            start, end = sorted(chance.choices(range(len(text) + 1), k=2))
            assert spans.count(start, end) == len(theirs.encode_ordinary(text[start:end])), (
                text,
                start,
                end,
            )
        counter = tokens.Counter(name)
        at = 0
        while at < len(text):
            step = chance.randint(1, 5)
            counter.append(text[at : at + step])
            at += step
            assert counter.count == len(theirs.encode_ordinary(text[:at])), text[:at]
    for text in fuzz_texts.grammar_fuzz(500, seed=33):
        counts = [len(theirs.encode_ordinary(text[:n])) for n in range(len(text) + 1)]
        for limit in range(max(counts) + 1):
            longest = max(n for n, tokens_of in enumerate(counts) if tokens_of <= limit)
            assert ours.truncate(text, limit) == text[:longest], (text, limit)


@pytest.mark.parametrize("path", ["scalar", "avx2", "avx512"])
def test_instruction_sets_give_the_same_ids(path: str) -> None:
    """A processor without the named one takes the best that it has."""
    command = [sys.executable, "-m", "tests.quality.token_digest"]
    done = subprocess.run(
        command,
        env={**os.environ, "DURE_SIMD": path},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == token_digest.digest()
