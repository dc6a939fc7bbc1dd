"""The same call, right or wrong, on tiktoken and on `dure.tokens`: the same value or error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from dure import tokens

from tests.quality import tiktoken_oracle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import tiktoken

CL100K, R50K = "cl100k_base", "r50k_base"
MISSING = 100_284  # an id above every one of both
Call = tuple[str, tuple[Any, ...], dict[str, Any]]


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tiktoken.Encoding]:
    return tiktoken_oracle.load(tmp_path_factory.mktemp("tiktoken"))


class Lazy:
    """A sequence that is neither list nor tuple."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, at: int) -> str:
        return ["a", "b c"][at]


TEXTS = [
    "",
    "a",
    "한국",
    "<|endoftext|>",
    "x<|fim_prefix|>y<|endoftext|>",
    "\ud83d",
    "\ud83d<|endoftext|>",
    np.str_("np text"),
    b"a",
    bytearray(b"a"),
    None,
    5,
    1.5,
    ["a"],
    object(),
]
POLICIES: list[dict[str, Any]] = [
    {"allowed_special": "all"},
    {"allowed_special": {"<|endoftext|>"}},
    {"allowed_special": {"no such token"}},
    {"allowed_special": frozenset({"<|endoftext|>"}), "disallowed_special": frozenset()},
    {"allowed_special": {"<|endoftext|>"}, "disallowed_special": {"<|endoftext|>"}},
    {"allowed_special": "all", "disallowed_special": {"y"}},
    {"allowed_special": {"y"}, "disallowed_special": ()},
    {"disallowed_special": ()},
    {"disallowed_special": []},
    {"disallowed_special": "<|endoftext|>"},
    {"disallowed_special": {"y"}},
    {"disallowed_special": {""}},
    {"disallowed_special": ["x"]},
    {"disallowed_special": {5}},
    {"disallowed_special": 5},
    {"allowed_special": ["<|endoftext|>"]},
    {"allowed_special": ("<|endoftext|>",)},
    {"allowed_special": "<|endoftext|>"},
    {"allowed_special": None},
    {"allowed_special": 5},
    {"bogus": 1},
]
BATCHES = [
    [],
    ["a"],
    ("a", "b"),
    "abc",
    {"a": 1},
    Lazy(),
    np.array(["a", "b c"]),
    ["\ud83d"],
    ["<|endoftext|>"],
    ["a", None],
    [b"a"],
    [5],
    None,
    5,
]
THREADS: list[dict[str, Any]] = [
    {},
    {"num_threads": 1},
    {"num_threads": None},
    {"num_threads": 0},
    {"num_threads": -1},
    {"num_threads": "2"},
]
IDS = [
    [],
    [1, 2],
    (1, 2),
    range(3),
    b"\x01\x02",
    [True],
    [np.int64(3)],
    np.array([1, 2]),
    np.array([1, 2], np.uint32),
    [1, MISSING],
    [-1],
    np.array([-1]),
    [2**32],
    [2**33],
    [2**64],
    [1.5],
    np.array([1.5]),
    ["x"],
    [None],
    [[1]],
    "12",
    {1: 2},
    {1},
    None,
    5,
]
ID_BATCHES = [[], [[]], [[1], [MISSING]], [[MISSING], [-1]], [[1.5]], ["ab"], [None], [5], None, 5]


def calls() -> Iterator[Call]:
    """Every call of the table."""
    strings = ("encode", "encode_ordinary", "encode_to_numpy", "encode_with_unstable")
    for method in (*strings, "encode_single_token", "_encode_bytes", "_encode_only_native_bpe"):
        yield from ((method, (text,), {}) for text in TEXTS)
    for method in ("encode", "encode_to_numpy", "encode_with_unstable"):
        for text in TEXTS[3:7]:
            yield from ((method, (text,), policy) for policy in POLICIES)
    yield from (("encode_batch", (["y", TEXTS[4]],), policy) for policy in POLICIES)
    for method in ("encode_batch", "encode_ordinary_batch"):
        for batch in BATCHES:
            yield from ((method, (batch,), threads) for threads in THREADS)
    for method in ("decode", "decode_bytes", "decode_tokens_bytes", "decode_with_offsets"):
        yield from ((method, (ids,), {}) for ids in IDS)
    for errors in ("strict", "ignore", "replace", "backslashreplace", "bogus", None, 5):
        yield "decode", ([255, 254, 128, 3000],), {"errors": errors}
    for method in ("decode_batch", "decode_bytes_batch"):
        for batch in ID_BATCHES:
            yield from ((method, (batch,), threads) for threads in THREADS)
        yield method, ([[255]],), {"errors": "strict"}
    for one in (1, 100_257, MISSING, -1, 2**33, 2**64, "x", None, 1.5, True, np.int64(100_257)):
        yield "decode_single_token_bytes", (one,), {}
        yield "is_special_token", (one,), {}
    for wrong in (("encode", ()), ("decode", ()), ("encode", ("a", "b")), ("decode_batch", ())):
        yield *wrong, {}


def plain(value: object) -> object:
    """A value that can be compared."""
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.flags.writeable, value.tolist()
    if isinstance(value, tuple) and value and isinstance(value[0], list):  # of unstable ends
        return value[0], sorted(map(tuple, value[1]))
    return value


BUILT_IN = (ValueError, OverflowError, LookupError, AssertionError)


def outcome(call: Callable[..., object], args: tuple[Any, ...], keywords: dict[str, Any]) -> object:
    """The value, or tiktoken's class of error and its text; of a TypeError only the class."""
    try:
        return plain(call(*args, **keywords))
    except TypeError:
        return TypeError
    except KeyError as error:
        return KeyError, error.args
    except UnicodeError as error:
        return type(error), str(error)
    except BUILT_IN as error:
        return next(one for one in BUILT_IN if isinstance(error, one)), str(error)


@pytest.mark.parametrize("name", [CL100K, R50K])
def test_every_call_does_what_tiktokens_does(
    name: str, oracle: dict[str, tiktoken.Encoding]
) -> None:
    ours, theirs = tokens.get_encoding(name), oracle[name]
    number = 0
    for method, args, keywords in calls():
        wanted = outcome(getattr(theirs, method), args, keywords)
        found = outcome(getattr(ours, method), args, keywords)
        assert found == wanted, (method, args, keywords)
        number += 1
    assert number > 600


@pytest.mark.parametrize("bad", [b"a", None, 5, 1.5, ["a"]])
def test_a_wrong_text_is_a_type_error_that_names_the_argument(bad: Any) -> None:  # noqa: ANN401
    ours = tokens.get_encoding(CL100K)
    for method in ("encode", "encode_ordinary", "encode_to_numpy", "encode_with_unstable", "count"):
        with pytest.raises(TypeError, match=f"^text must be str, not {type(bad).__name__}$"):
            getattr(ours, method)(bad)
    for method in ("fits", "count_up_to", "truncate", "split_at"):
        with pytest.raises(TypeError, match=f"^text must be str, not {type(bad).__name__}$"):
            getattr(ours, method)(bad, 5)
    for method in ("encode_batch", "encode_ordinary_batch", "count_batch", "encode_to_numpy_batch"):
        with pytest.raises(TypeError, match=f"^texts must be str, not {type(bad).__name__}$"):
            getattr(ours, method)([bad])
    with pytest.raises(TypeError, match=r"^text must be str"):
        tokens.Counter(CL100K).append(bad)
    with pytest.raises(TypeError, match=r"^text must be str"):
        tokens.PrefixCounts(bad, CL100K)
    with pytest.raises(TypeError, match=r"^text must be str"):
        tokens.count(bad)
    if not isinstance(bad, bytes):
        with pytest.raises(TypeError, match=r"^text_or_bytes must be str or bytes"):
            ours.encode_single_token(bad)


def test_where_tiktoken_panics_there_is_an_answer() -> None:
    assert tokens.get_encoding(CL100K)._encode_single_piece(b"") == []
    assert tokens.get_encoding(CL100K)._encode_single_piece("") == []
