"""What counting holds beside the text: a fresh process says."""

import os
import subprocess
import sys

import pytest

MEGABYTE = 1_000_000
# Prints the peak beyond what was held before, in bytes, and the count.
COUNT = """
import sys
from dure import tokens
def kilobytes(field):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field))
unit, size, name = sys.argv[1], int(sys.argv[2]), sys.argv[3]
encoding = tokens.get_encoding(name)
encoding.count("what is held anyway " * 5000 + "\u00e9")
text = unit * size
with open("/proc/self/clear_refs", "w") as clear:
    clear.write("5")  # the peak starts here
before = kilobytes("VmRSS")
count = encoding.count(text)
print((kilobytes("VmHWM") - before) * 1024, count)
"""


def counted(unit: str, size: int, name: str) -> tuple[int, int]:
    """Return (bytes held at the most, tokens) of `unit * size`."""
    command = [sys.executable, "-c", COUNT, unit, str(size), name]
    peak, tokens = subprocess.run(
        command, capture_output=True, check=True, text=True
    ).stdout.split()
    return int(peak), int(tokens)


@pytest.mark.skipif("DURE_ASAN" in os.environ, reason="a sanitizer has memory of its own")
@pytest.mark.parametrize(
    ("unit", "name"),
    [("x", "o200k_base"), (" ", "cl100k_base"), ("\ud55c\uae00", "o200k_base"), ("\u0416", "gpt2")],
)
def test_a_word_without_end_is_not_held(unit: str, name: str) -> None:
    """Its ids alone would take 24 MB and more, its UTF-8 100 MB."""
    size = 100 * MEGABYTE // len(unit.encode())
    peak, tokens = counted(unit, size, name)
    assert peak < 12 * MEGABYTE
    assert tokens > MEGABYTE / 2


@pytest.mark.soak
@pytest.mark.skipif("DURE_ASAN" in os.environ, reason="a sanitizer has memory of its own")
@pytest.mark.parametrize("unit", ["x", "\ud55c\uae00", "word \u00e9 12, "])
def test_a_gigabyte(unit: str) -> None:
    peak, _ = counted(unit, 1000 * MEGABYTE // len(unit.encode()) + 1, "o200k_base")
    assert peak < 64 * MEGABYTE
