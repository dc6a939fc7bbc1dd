"""tokenizer.json: the library's ids, counts, texts and offsets through `Encoding`."""

from __future__ import annotations

import pickle
import sys
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import tokenizers
from dure import tokens
from dure.errors import InvalidArgumentError, MissingExtraError, UnsupportedError
from tokenizers import decoders, models, pre_tokenizers, trainers

from tests.quality import fuzz_texts

if TYPE_CHECKING:
    from pathlib import Path

TRAINED_ON = fuzz_texts.library_text(150_000) + fuzz_texts.script_text(
    0xAC00, 0xD7A3, 30_000, seed=1
)
TEXTS = [
    "",
    "def f(x):\n    return x  ",
    "한국어 문장과 English, 🙂\u200d e\u0301",
    "<|end|> in a text",
    *fuzz_texts.grammar_fuzz(300, seed=41),
]


def byte_level() -> tokenizers.Tokenizer:
    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=2000,
        special_tokens=["<|end|>", "<|pad|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator([TRAINED_ON], trainer)
    made.enable_truncation(5)  # a file may hold that: it must not cut our texts
    made.enable_padding(length=50)
    return made


def unigram() -> tokenizers.Tokenizer:
    made = tokenizers.Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=800, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False
    )
    made.train_from_iterator(TRAINED_ON[:40_000].splitlines(), trainer)
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizers")
    for name, make in (("bytes", byte_level), ("unigram", unigram)):
        (folder / name).mkdir()
        make().save(str(folder / name / "tokenizer.json"))
    return folder


def library(path: Path) -> tokenizers.Tokenizer:
    made = tokenizers.Tokenizer.from_file(str(path))
    made.no_truncation()
    made.no_padding()
    return made


@pytest.mark.parametrize("name", ["bytes", "unigram"])
def test_ids_counts_and_texts_are_the_librarys(name: str, folder: Path) -> None:
    path = folder / name / "tokenizer.json"
    ours, theirs = tokens.Encoding.from_tokenizer_json(path), library(path)
    assert repr(ours) == f"<Encoding '{name}'>"
    assert ours.n_vocab == theirs.get_vocab_size()
    plain = [text for text in TEXTS if "<|end|>" not in text]
    wanted = [theirs.encode(text, add_special_tokens=False).ids for text in plain]
    assert [ours.encode_ordinary(text) for text in plain] == wanted
    assert [ours.encode(text) for text in plain] == wanted
    assert ours.encode_ordinary_batch(plain) == wanted
    assert [ours.encode_to_numpy(text).tolist() for text in plain] == wanted
    assert [ours.count(text) for text in plain] == list(map(len, wanted))
    assert ours.count_batch(plain).tolist() == list(map(len, wanted))
    flat, offsets = ours.encode_to_numpy_batch(plain)
    assert [flat[a:b].tolist() for a, b in pairwise(offsets)] == wanted
    for ids in wanted:
        assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=False)
    assert tokens.count(plain[1], encoding=ours) == len(wanted[1])


def test_offsets_are_the_librarys(folder: Path) -> None:
    path = folder / "bytes" / "tokenizer.json"
    ours, theirs = tokens.Encoding.from_tokenizer_json(path), library(path)
    for text in ("def f(x):\n  return 1", "한국어 문장", "a 🙂 b", "é è"):
        found = theirs.encode(text, add_special_tokens=False)
        again, starts = ours.decode_with_offsets(found.ids)
        assert again == text
        assert starts == [start for start, _ in found.offsets]
        assert b"".join(ours.decode_tokens_bytes(found.ids)) == text.encode()


def test_special_tokens_follow_the_policy(folder: Path) -> None:
    ours = tokens.Encoding.from_tokenizer_json(folder / "bytes" / "tokenizer.json")
    text = "a<|end|>b"
    special = ours.encode_single_token("<|end|>")
    assert ours.special_tokens_set == {"<|end|>", "<|pad|>"}
    assert ours.is_special_token(special)
    assert special not in ours.encode_ordinary(text)
    assert ours.decode(ours.encode_ordinary(text)) == text
    assert special in ours.encode(text, allowed_special="all")
    assert ours.encode(text, disallowed_special=()) == ours.encode_ordinary(text)
    with pytest.raises(ValueError, match="disallowed special token"):
        ours.encode(text)
    with pytest.raises(UnsupportedError, match="all of its special tokens or none"):
        ours.encode(text, allowed_special={"<|end|>"}, disallowed_special=())


def test_limits_and_parts(folder: Path) -> None:
    ours = tokens.Encoding.from_tokenizer_json(folder / "bytes" / "tokenizer.json")
    text = TEXTS[1] * 30
    total = ours.count(text)
    assert ours.fits(text, total)
    assert not ours.fits(text, total - 1)
    assert ours.count_up_to(text, total - 1) is None
    part = ours.truncate(text, 20)
    assert ours.count(part) <= 20 < ours.count(text[: len(part) + 8])
    parts = ours.split_at(text, 20)
    assert "".join(parts) == text
    assert max(map(ours.count, parts)) <= 20
    with pytest.raises(InvalidArgumentError, match="max_tokens must not be negative"):
        ours.truncate(text, -1)


def test_what_it_cannot_do_says_so(folder: Path) -> None:
    ours = tokens.Encoding.from_tokenizer_json(folder / "unigram" / "tokenizer.json", name="mine")
    assert ours.name == "mine"
    with pytest.raises(UnsupportedError, match="not byte-level"):
        ours.decode_single_token_bytes(3)
    with pytest.raises(UnsupportedError, match="no unstable encoding"):
        ours.encode_with_unstable("a")
    with pytest.raises(UnsupportedError, match="pattern of its own"):
        tokens.Counter(ours)
    with pytest.raises(KeyError, match="Invalid token for decoding: 99999"):
        ours.decode([99_999])
    with pytest.raises(TypeError, match="text must be str, not bytes"):
        ours.count(b"a")  # type: ignore[arg-type]


def test_it_pickles(folder: Path) -> None:
    ours = tokens.Encoding.from_tokenizer_json(folder / "bytes" / "tokenizer.json")
    again = pickle.loads(pickle.dumps(ours))
    assert again.name == "bytes"
    assert again.encode(TEXTS[2]) == ours.encode(TEXTS[2])


def test_a_missing_library_and_a_wrong_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InvalidArgumentError, match=r"no tokenizer\.json"):
        tokens.Encoding.from_tokenizer_json(tmp_path / "tokenizer.json")
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(MissingExtraError, match=r'pip install "dure\[tokenizers\]"'):
        tokens.Encoding.from_tokenizer_json(folder / "bytes" / "tokenizer.json")
