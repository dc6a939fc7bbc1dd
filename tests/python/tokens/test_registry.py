"""Names of encodings: ours, plugins', those of files; what copies and pickles of them are."""

from __future__ import annotations

import copy
import hashlib
import pickle
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from dure import tokens
from dure.errors import InvalidArgumentError, NotFoundError, UnsupportedError
from dure.tokens import load, registry

if TYPE_CHECKING:
    from pathlib import Path

URL = "https://example.com/encodings/mine.tiktoken"
PLUGIN = f'''
from dure.tokens.load import load_tiktoken_bpe
from dure.tokens import get_encoding

def mine():
    return {{
        "name": "mine",
        "pat_str": get_encoding("cl100k_base")._pat_str,
        "mergeable_ranks": load_tiktoken_bpe("{URL}", expected_hash=HASH),
        "special_tokens": {{"<|mine|>": 70000}},
    }}

ENCODING_CONSTRUCTORS = {{"mine": mine}}
'''


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """tiktoken's cache folder with one file, named as tiktoken names it."""
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(folder))
    file = folder / hashlib.sha1(URL.encode(), usedforsecurity=False).hexdigest()
    load.dump_tiktoken_bpe(tokens.get_encoding("r50k_base")._mergeable_ranks, str(file))
    return file


def add_plugin(folder: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    package = folder / "plugins" / "tiktoken_ext"
    package.mkdir(parents=True)
    (package / f"added_{abs(hash(source))}.py").write_text(source)
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setattr(registry, "ENCODING_CONSTRUCTORS", None)
    monkeypatch.setattr(registry, "ENCODINGS", dict(registry.ENCODINGS))


def test_a_plugin_reads_its_file_from_the_cache(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = hashlib.sha256(cache.read_bytes()).hexdigest()
    add_plugin(tmp_path, PLUGIN.replace("HASH", repr(right)), monkeypatch)
    assert "mine" in tokens.list_encoding_names()
    mine = tokens.get_encoding("mine")
    assert tokens.get_encoding("mine") is mine
    ids = mine.encode("hello<|mine|> world", allowed_special="all")
    assert 70_000 in ids
    assert mine.decode(ids) == "hello<|mine|> world"
    assert pickle.loads(pickle.dumps(mine)) is mine
    assert tokens.count("hello", encoding="mine") == 1


def test_a_damaged_cache_file_is_refused_with_both_hashes(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = hashlib.sha256(cache.read_bytes()).hexdigest()
    cache.write_bytes(cache.read_bytes()[:-3])
    wrong = hashlib.sha256(cache.read_bytes()).hexdigest()
    add_plugin(tmp_path, PLUGIN.replace("HASH", repr(right)), monkeypatch)
    with pytest.raises(InvalidArgumentError, match=rf"SHA-256 is {wrong}, not {right}") as caught:
        tokens.get_encoding("mine")
    assert str(cache) in str(caught.value)
    assert hashlib.sha256(cache.read_bytes()).hexdigest() == wrong  # left as it was


def test_a_file_that_is_not_in_the_cache_is_not_fetched(cache: Path) -> None:
    cache.unlink()
    with pytest.raises(NotFoundError, match="is not fetched"):
        load.load_tiktoken_bpe(URL)


def test_plugins_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_plugin(tmp_path, "# nothing\n", monkeypatch)
    with pytest.raises(ValueError, match="does not define ENCODING_CONSTRUCTORS"):
        tokens.list_encoding_names()


def test_names_that_stand_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_plugin(tmp_path / "a", "ENCODING_CONSTRUCTORS = {'twice': dict}\n", monkeypatch)
    add_plugin(tmp_path / "b", "ENCODING_CONSTRUCTORS = {'twice': dict}\n#\n", monkeypatch)
    with pytest.raises(ValueError, match="Duplicate encoding name twice"):
        tokens.list_encoding_names()


def own(pattern: str | None = None) -> tokens.Encoding:
    gpt2 = tokens.get_encoding("gpt2")
    return tokens.Encoding(
        "own",
        pat_str=pattern or gpt2._pat_str,
        mergeable_ranks=gpt2._mergeable_ranks,
        special_tokens={"<|x|>": 60_000},
    )


@pytest.mark.parametrize("pattern", [None, r"\S+|\s+"])
def test_copies_and_pickles_of_an_own_encoding(pattern: str | None) -> None:
    made = own(pattern)
    for again in (copy.copy(made), copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert again is not made
        assert again.name == "own"
        assert again.encode("hi <|x|>", allowed_special="all") == made.encode(
            "hi <|x|>", allowed_special="all"
        )


def test_equality_is_identity_as_in_tiktoken() -> None:
    import tiktoken

    assert tiktoken.Encoding.__eq__ is object.__eq__
    assert tokens.Encoding.__eq__ is object.__eq__
    assert own() != own()
    r50k = tokens.get_encoding("r50k_base")
    assert {r50k: 1}[tokens.get_encoding("r50k_base")] == 1
    assert copy.copy(r50k) is copy.deepcopy(r50k) is pickle.loads(pickle.dumps(r50k)) is r50k


def test_the_number_of_tokens_is_checked() -> None:
    gpt2 = tokens.get_encoding("gpt2")
    parts: dict[str, Any] = {"pat_str": gpt2._pat_str, "mergeable_ranks": gpt2._mergeable_ranks}
    tokens.Encoding("a", **parts, special_tokens=gpt2._special_tokens, explicit_n_vocab=50_257)
    with pytest.raises(AssertionError):
        tokens.Encoding("a", **parts, special_tokens={}, explicit_n_vocab=50_257)


def test_another_pattern_without_tiktoken_is_a_clear_error() -> None:
    """In a process that has no tiktoken."""
    code = (
        "import sys; sys.modules['tiktoken'] = None\n"
        "from dure import tokens\n"
        "from dure.errors import UnsupportedError\n"
        "gpt2 = tokens.get_encoding('gpt2')\n"
        "parts = dict(mergeable_ranks=gpt2._mergeable_ranks, special_tokens={})\n"
        "tokens.Encoding('known', pat_str=gpt2._pat_str, **parts).encode('works')\n"
        "try:\n"
        "    tokens.Encoding('odd', pat_str=r'\\S+|\\s+', **parts)\n"
        "except UnsupportedError as error:\n"
        "    print(error)\n"
    )
    out = subprocess.check_output([sys.executable, "-W", "error", "-c", code], text=True)
    assert repr(r"\S+|\s+") in out
    assert "install tiktoken" in out


def test_ranks_that_are_no_vocabulary() -> None:
    gpt2 = tokens.get_encoding("gpt2")
    ranks = dict(gpt2._mergeable_ranks)
    del ranks[b"a"]
    with pytest.raises(InvalidArgumentError, match="byte"):
        tokens.Encoding("a", pat_str=gpt2._pat_str, mergeable_ranks=ranks, special_tokens={})
    with pytest.raises(UnsupportedError, match="pattern of its own"):
        tokens.PrefixCounts("text", own(r"\S+|\s+"))


def test_an_added_model_has_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    from dure.tokens import model

    monkeypatch.setattr(model, "_added", {})
    with pytest.raises(KeyError):
        tokens.encoding_for_model("our-tuned")
    tokens.add_model("our-tuned", "cl100k_base", source="our model card")
    assert tokens.encoding_for_model("our-tuned").name == "cl100k_base"
    assert tokens.choose_encoding("our-tuned") == ("cl100k_base", True, "our model card")
    assert tokens.count("hello", model="our-tuned") == 1
    with pytest.raises(InvalidArgumentError, match="Unknown encoding o300k"):
        tokens.add_model("x", "o300k", source="a dream")
    with pytest.raises(InvalidArgumentError, match="where"):
        tokens.add_model("x", "gpt2", source="")
