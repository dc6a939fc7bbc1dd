"""The face of `dure.tokens`: what each name gives, and what bad input gets."""

import copy
import pickle
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from dure import tokens
from dure.errors import (
    DisallowedSpecialTokenError,
    InvalidArgumentError,
    InvalidModelError,
    UnsupportedError,
)
from dure.tokens import load, model, registry

TEXT = "Hello 두레, one two  three\r\n\n don't 🙂 def f(x): return x  "


def test_names_are_tiktokens() -> None:
    import tiktoken

    assert tokens.list_encoding_names() == tiktoken.list_encoding_names()
    assert model.MODEL_TO_ENCODING == tiktoken.model.MODEL_TO_ENCODING
    assert list(model.MODEL_PREFIX_TO_ENCODING.items()) == list(
        tiktoken.model.MODEL_PREFIX_TO_ENCODING.items()
    )
    ours = {name for name in dir(tokens.Encoding) if not name.startswith("__")}
    theirs = {name for name in dir(tiktoken.Encoding) if not name.startswith("__")}
    assert theirs - ours == set()


def test_count_is_the_length_of_encode() -> None:
    for name in tokens.list_encoding_names():
        encoding = tokens.get_encoding(name)
        ids = encoding.encode(TEXT)
        assert encoding.count(TEXT) == len(ids) == tokens.count(TEXT, encoding=name)
        assert encoding.decode(ids) == TEXT
        assert encoding.encode_to_numpy(TEXT).tolist() == ids
        assert not encoding.encode_to_numpy(TEXT).flags.writeable


def test_known_ids() -> None:
    o200k = tokens.get_encoding("o200k_base")
    assert o200k.encode(" I'\u017f") == [3413, 70067]
    assert tokens.get_encoding("cl100k_base").encode("\U000323b0's")[-2:] == [6, 82]
    assert tokens.get_encoding("gpt2").encode("hello world") == [31373, 995]
    assert tokens.get_encoding("o200k_harmony").decode([200018]) == "<|endofprompt|>"


def test_encoding_by_model() -> None:
    assert tokens.encoding_for_model("gpt-5.1").name == "o200k_base"
    assert tokens.count("hello", model="gpt-4") == 1
    with pytest.raises(InvalidArgumentError, match="not both"):
        tokens.count("hello", model="gpt-4", encoding="gpt2")


def test_unknown_model_is_a_key_error_that_names_near_ones() -> None:
    with pytest.raises(KeyError, match="Could not automatically map gpt-6-astra") as caught:
        tokens.encoding_for_model("gpt-6-astra")
    assert isinstance(caught.value, InvalidModelError)
    assert "choose_encoding" in str(caught.value)
    assert pickle.loads(pickle.dumps(caught.value)).model == "gpt-6-astra"


def test_an_estimate_only_on_request() -> None:
    assert tokens.choose_encoding("gpt-6-astra")[:2] == ("o200k_base", False)
    assert tokens.choose_encoding("openai/gpt-5")[:2] == ("o200k_base", True)
    assert tokens.choose_encoding("ft:gpt-4.1-mini:acme")[:2] == ("o200k_base", True)
    assert tokens.choose_encoding("gpt-4")[:2] == ("cl100k_base", True)


def test_unknown_encoding_is_a_value_error_that_names_near_ones() -> None:
    with pytest.raises(ValueError, match=r"Unknown encoding o200k_bas\b[\s\S]*o200k_base"):
        tokens.get_encoding("o200k_bas")
    with pytest.raises(ValueError, match="Expected a string in get_encoding"):
        tokens.get_encoding(5)  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [b"bytes", None, 5, ["x"]])
def test_anything_but_str_is_a_type_error(bad: str) -> None:
    encoding = tokens.get_encoding("o200k_base")
    for call in (encoding.count, encoding.encode, encoding.encode_ordinary, tokens.count):
        with pytest.raises(TypeError, match="text must be str, not"):
            call(bad)
    with pytest.raises(TypeError, match="texts must be str, not"):
        encoding.count_batch(["good", bad])


def test_special_tokens_follow_the_policy() -> None:
    encoding = tokens.get_encoding("cl100k_base")
    text = "é <|endoftext|> <|fim_prefix|>"
    with pytest.raises(DisallowedSpecialTokenError) as caught:
        encoding.encode(text)
    assert (caught.value.token, caught.value.position) == ("<|endoftext|>", 2)
    assert isinstance(caught.value, ValueError)
    with pytest.raises(DisallowedSpecialTokenError, match="fim_prefix"):
        encoding.encode(text, allowed_special={"<|endoftext|>"})
    assert 100257 in encoding.encode(text, allowed_special="all")
    some = encoding.encode(text, allowed_special={"<|endoftext|>"}, disallowed_special=())
    assert 100257 in some
    assert 100258 not in some
    with pytest.raises(DisallowedSpecialTokenError, match="plain word"):
        encoding.encode("a plain word", disallowed_special={"plain word"})


def test_lone_surrogates() -> None:
    encoding = tokens.get_encoding("cl100k_base")
    assert encoding.encode("\ud83d\udc4d") == encoding.encode("👍")
    assert encoding.encode("a\ud83d") == encoding.encode("a�")
    assert encoding.count("a\ud83d") == encoding.count("a�")
    assert encoding.count_batch(["a\ud83d"]).tolist() == [encoding.count("a�")]
    with pytest.raises(UnicodeEncodeError):
        encoding.encode_to_numpy("\ud83d")


def test_limits() -> None:
    encoding = tokens.get_encoding("o200k_base")
    total = encoding.count(TEXT)
    assert encoding.fits(TEXT, total)
    assert not encoding.fits(TEXT, total - 1)
    assert encoding.count_up_to(TEXT, total) == total
    assert encoding.count_up_to(TEXT, total - 1) is None
    for limit in range(total + 2):
        part = tokens.truncate(TEXT, limit)
        assert TEXT.startswith(part)
        best = max(n for n in range(len(TEXT) + 1) if encoding.count(TEXT[:n]) <= limit)
        assert len(part) == best
    with pytest.raises(InvalidArgumentError, match="max_tokens must not be negative"):
        encoding.truncate(TEXT, -1)


def test_split_at_covers_the_text_within_the_cap() -> None:
    encoding = tokens.get_encoding("o200k_base")
    text = TEXT * 20
    parts = encoding.split_at(text, 16)
    assert "".join(parts) == text
    assert max(map(encoding.count, parts)) <= 16
    overlapping = encoding.split_at(text, 16, overlap=6)
    assert max(map(encoding.count, overlapping)) <= 16
    at = 0
    for before, after in pairwise(overlapping):
        start = next(n for n in range(len(before) + 1) if text[at + n :].startswith(after))
        assert encoding.count(before[start:]) <= 6
        at += start
    assert at + len(overlapping[-1]) == len(text)
    with pytest.raises(InvalidArgumentError, match="overlap must be less"):
        encoding.split_at(text, 5, overlap=5)
    with pytest.raises(InvalidArgumentError, match="a character needs"):
        tokens.get_encoding("gpt2").split_at("🙂", 1)


def test_batches_are_the_single_calls() -> None:
    encoding = tokens.get_encoding("o200k_base")
    texts = [TEXT * n for n in range(40)] + ["", "x" * 100_000]
    wanted = [encoding.encode_ordinary(text) for text in texts]
    assert encoding.encode_ordinary_batch(texts) == wanted
    assert encoding.encode_batch(texts, num_threads=2) == wanted
    assert encoding.count_batch(texts, threads=2).tolist() == [len(ids) for ids in wanted]
    ids, offsets = encoding.encode_to_numpy_batch(texts)
    assert offsets.dtype == np.int64
    assert [ids[a:b].tolist() for a, b in pairwise(offsets)] == wanted
    assert tokens.count_batch([]).tolist() == []
    with pytest.raises(DisallowedSpecialTokenError):
        encoding.encode_batch([*texts, "<|endoftext|>"])
    assert encoding.decode_batch(wanted) == texts
    assert encoding.decode_bytes_batch(wanted) == [text.encode() for text in texts]


async def test_coroutines() -> None:
    assert await tokens.acount(TEXT) == tokens.count(TEXT)
    assert (await tokens.acount_batch([TEXT, "a"])).tolist() == [tokens.count(TEXT), 1]


def test_unknown_ids() -> None:
    encoding = tokens.get_encoding("r50k_base")
    for call in (encoding.decode, encoding.decode_bytes):
        with pytest.raises(KeyError, match="Invalid token for decoding: 60000"):
            call([60_000])
    for wrong in (-1, 2**33):
        with pytest.raises(OverflowError):
            encoding.decode([wrong])
    with pytest.raises(KeyError, match="60000"):
        encoding.decode_tokens_bytes([60_000])
    with pytest.raises(KeyError, match="no such"):
        encoding.encode_single_token("no such token")


def test_counter_counts_the_whole() -> None:
    counter = tokens.Counter("o200k_base")
    for n in range(len(TEXT)):
        assert counter.append(TEXT[n]) == tokens.count(TEXT[: n + 1]) == counter.count
    assert counter.fits(counter.count)
    counter.reset()
    assert counter.count == 0


def test_prefix_counts_count_any_span() -> None:
    spans = tokens.PrefixCounts(TEXT, "cl100k_base")
    for start in range(len(TEXT)):
        for end in range(start, len(TEXT) + 1):
            assert spans.count(start, end) == tokens.count(TEXT[start:end], encoding="cl100k_base")
    assert spans.count_bytes(0, 5) == 1
    with pytest.raises(InvalidArgumentError, match="start <= end"):
        spans.count(3, 2)


def test_stream_decoder_holds_parts_of_characters() -> None:
    decoder = tokens.StreamDecoder("gpt2")
    ids = tokens.get_encoding("gpt2").encode(TEXT)
    parts = [decoder.feed([one]) for one in ids]
    assert "".join(parts) + decoder.finish() == TEXT
    assert all("�" not in part for part in parts)
    decoder.feed(tokens.get_encoding("gpt2").encode("🙂")[:1])
    assert decoder.finish() == "�"


def test_pickles() -> None:
    encoding = tokens.get_encoding("r50k_base")
    assert pickle.loads(pickle.dumps(encoding)) is encoding
    assert copy.copy(encoding) is encoding
    own = tokens.Encoding(
        "own",
        pat_str=encoding._pat_str,
        mergeable_ranks=encoding._mergeable_ranks,
        special_tokens={"<|x|>": 100_000},
    )
    again = pickle.loads(pickle.dumps(own))
    assert again.encode("hello<|x|>", allowed_special="all") == [31373, 100_000]
    assert again.name == "own"


def test_a_foreign_pattern_is_tiktokens_work() -> None:
    base = tokens.get_encoding("gpt2")
    odd = tokens.Encoding(
        "odd", pat_str=r"\S+|\s+", mergeable_ranks=base._mergeable_ranks, special_tokens={}
    )
    assert odd.decode(odd.encode("hello  world")) == "hello  world"
    assert odd.count("hello  world") == len(odd.encode("hello  world"))
    assert odd.count_batch(["hello", ""]).tolist() == [1, 0]
    with pytest.raises(UnsupportedError, match="pattern of its own"):
        tokens.Counter(odd)


def test_rank_files(tmp_path: Path) -> None:
    path = tmp_path / "mine.tiktoken"
    gpt2 = tokens.get_encoding("gpt2")
    load.dump_tiktoken_bpe(gpt2._mergeable_ranks, str(path))
    mine = tokens.Encoding.from_tiktoken_file(path, "gpt2")
    assert mine.name == "mine"
    assert mine.encode(TEXT) == gpt2.encode(TEXT)
    with pytest.raises(InvalidArgumentError, match=r"its SHA-256 is .*, not 1234"):
        load.load_tiktoken_bpe(str(path), "1234")
    assert path.exists()
    path.write_bytes(b"no pair\nx")
    with pytest.raises(ValueError, match="Error parsing line"):
        load.load_tiktoken_bpe(str(path))


def test_nothing_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    with pytest.raises(LookupError, match="is not fetched"):
        load.load_tiktoken_bpe("https://example.com/x.tiktoken")


def test_the_registry_keeps_one_object() -> None:
    assert tokens.get_encoding("gpt2") is registry.ENCODINGS["gpt2"]


def test_batches_hold_items_that_are_made_as_they_are_asked_for() -> None:
    class Lazy:
        """A sequence whose items nobody else holds."""

        def __len__(self) -> int:
            return 500

        def __getitem__(self, index: int) -> str:
            if index >= len(self):
                raise IndexError(index)
            return f"한글 text number {index} " * 20

    encoding = tokens.get_encoding("o200k_base")
    texts = list(Lazy())  # type: ignore[call-overload]
    want = [len(ids) for ids in encoding.encode_ordinary_batch(texts)]
    assert [len(ids) for ids in encoding.encode_batch(Lazy())] == want  # type: ignore[arg-type]
    counted = tokens.count_batch(np.array(texts))  # type: ignore[arg-type]
    assert list(counted) == want
    with pytest.raises(TypeError, match="list of str"):
        tokens.count_batch("one text")
