"""What stands between Python and the core: rooms bound on first use, quick calls, shared ints."""

import subprocess
import sys

import pytest
from dure import _core, tokens

ENCODINGS = ("cl100k_base", "o200k_base")


def run(code: str) -> None:
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=120)


def test_counting_binds_no_other_room() -> None:
    run(
        "from dure import tokens, _core\n"
        "assert tokens.count('hello world') == 2\n"
        "assert 'Account' not in vars(_core.money) and 'Account' in dir(_core.money)\n"
        "assert 'Account' in vars(_core.money) and '__getattr__' not in dir(_core.money)\n"
    )


def test_a_name_of_a_later_room_can_be_imported_first() -> None:
    run(
        "from dure._core.client import read_json\n"
        "from dure._core import money\n"
        "import dure._core.catalog as catalog\n"
        "assert callable(read_json) and money.Account and catalog.canonical\n"
    )


def test_threads_that_ask_at_the_same_time_all_get_it() -> None:
    run(
        "import sys, threading\n"
        "sys.setswitchinterval(1e-6)\n"
        "from dure import _core\n"
        "start = threading.Barrier(8)\n"
        "rooms = ['client', 'money', 'index', 'chunk'] * 2\n"
        "names = ['read_json', 'Account', 'HashEmbedder', 'sentences'] * 2\n"
        "seen = []\n"
        "def ask(i):\n"
        "    start.wait()\n"
        "    seen.append(getattr(getattr(_core, rooms[i]), names[i]))\n"
        "threads = [threading.Thread(target=ask, args=(i,)) for i in range(8)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
        "assert len(seen) == 8 and len(set(map(id, seen))) == 4\n"
    )


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"module 'dure\._core\.money' has no attribute 'x'"):
        _ = _core.money.x  # type: ignore[attr-defined]
    assert not hasattr(_core.money, "__path__")


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize("name", ENCODINGS)
def test_quick_counts_are_those_of_all_texts(name: str) -> None:
    encoding = tokens.get_encoding(name)
    for text in (
        "",
        "a",
        "x" * 4095,
        "x" * 4096,
        "x" * 4097,
        "don't " * 700,
        "caf\u00e9",
        "\ud800!",
    ):
        wanted = len(encoding.encode_ordinary(text))
        assert encoding.count(text) == encoding._native.count(Text(text)) == wanted
    for value in (b"bytes", None, 7):
        with pytest.raises(TypeError, match="text must be str"):
            encoding.count(value)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        _core.tokenize.NativeEncoding.count("no encoding", "text")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ENCODINGS)
def test_lists_hold_the_ids_of_arrays(name: str) -> None:
    """Of more different ids than ints are kept of."""
    encoding = tokens.get_encoding(name)
    ids = range(10_000, encoding.n_vocab - 30, 3)
    text = encoding.decode(list(ids))
    for _ in range(2):
        found = encoding.encode_ordinary(text)
        assert found == encoding.encode_to_numpy(text, disallowed_special=()).tolist()
        assert len({token for token in found if token >= 16_384}) > 16_384
    assert all(type(token) is int for token in found)
