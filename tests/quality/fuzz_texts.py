"""Texts that try the seams of the patterns: one character of each class, in all orders."""

from __future__ import annotations

import random
import sysconfig
from functools import cache
from pathlib import Path

# By class of the patterns, some twice, since they stand in a branch of their own.
UPPER = ["A", "S", "T", "L", "É", "Ω", "Ǆ", "\u01c5", "Я"]
LOWER = ["a", "s", "t", "d", "m", "l", "v", "e", "r", "ß", "\u017f", "ω", "я"]
CASELESS = ["亚", "한", "א", "ก", "\u02b0", "々", "ـ", "\U00020000"]
MARK = ["\u0301", "\u0903", "\u20dd", "\u094d"]
NUMBER = ["0", "7", "९", "Ⅷ", "²", "½", "\U0001d7d8"]
SPACE = [
    " ",
    " ",
    " ",
    "\t",
    "\n",
    "\n",
    "\r",
    "\r\n",
    "\x85",
    "\xa0",
    "\u2009",
    "\u2028",
    "\u3000",
]
SYMBOL = ["!", "'", "'", "/", ".", '"', "_", "-", "€", "🙂", "\u200d", "\u200b", "\ufeff", "\ufffd"]
UNASSIGNED = ["\u0378", "\U000323b0", "\U0002b73a", "\u0c5c", "\U00016ea0", "\x00", "\x1c", "\x7f"]
SHORT = ["'s", "'S", "'\u017f", "'ll", "'LL", "'Ve", "'re", "'d", " the", " of", "//", "<|", "|>"]
ALPHABET = [*UPPER, *LOWER, *CASELESS, *MARK, *NUMBER, *SPACE, *SYMBOL, *UNASSIGNED, *SHORT]


def grammar_fuzz(number: int, *, seed: int) -> list[str]:
    """Short strings over the classes."""
    chance = random.Random(seed)
    lengths = chance.choices(range(1, 10), k=number)
    return ["".join(chance.choices(ALPHABET, k=length)) for length in lengths]


@cache
def library_text(limit: int) -> str:
    """Python source of the running interpreter, in sorted order."""
    folder = Path(sysconfig.get_path("stdlib"))
    parts: list[str] = []
    size = 0
    for path in sorted(folder.rglob("*.py")):
        if {"test", "tests", "site-packages", "dist-packages"} & set(path.parts):
            continue
        text = path.read_text("utf-8", "replace")
        parts.append(text)
        size += len(text)
        if size > limit:
            break
    return "".join(parts)[:limit]


def words_of(first: int, last: int, number: int, *, seed: int, longest: int = 6) -> list[str]:
    """Made-up words of a script; some are frequent, as in a language."""
    chance = random.Random(seed)
    word = ["".join(chr(chance.randint(first, last)) for _ in range(chance.randint(1, longest)))]
    word += [
        "".join(chr(chance.randint(first, last)) for _ in range(chance.randint(1, longest)))
        for _ in range(number)
    ]
    return word


def script_text(first: int, last: int, size: int, *, seed: int, space: str = " ") -> str:
    """Text of `size` characters in the script of a range of code points."""
    chance = random.Random(seed)
    words = words_of(first, last, 4000, seed=seed)
    weights = [1 / (rank + 1) for rank in range(len(words))]
    picked = chance.choices(words, weights, k=size // 3)
    ends = chance.choices(
        [space] * 12 + [". ", ", ", "\n", "。", "!\n\n", " (", ") ", "?"], k=len(picked)
    )
    return "".join(a + b for a, b in zip(picked, ends, strict=True))[:size]


SCRIPTS = {  # name: first and last code point of its letters, what is between words
    "korean": (0xAC00, 0xD7A3, " "),
    "chinese": (0x4E00, 0x9FA5, ""),
    "japanese": (0x3041, 0x30FA, ""),
    "arabic": (0x0620, 0x064A, " "),
    "cyrillic": (0x0410, 0x044F, " "),
    "devanagari": (0x0904, 0x094D, " "),
    "thai": (0x0E01, 0x0E4C, ""),
    "emoji": (0x1F300, 0x1F6FF, " "),
    "capitals": (0x0041, 0x005A, " "),
}


def mixed_text(size: int, *, seed: int) -> str:
    """Pieces of everything, cut at random places."""
    chance = random.Random(seed)
    sources = [script_text(a, b, 20_000, seed=seed, space=s) for a, b, s in SCRIPTS.values()]
    sources.append(library_text(200_000))
    sources.append("".join(grammar_fuzz(5000, seed=seed)))
    parts: list[str] = []
    done = 0
    while done < size:
        source = chance.choice(sources)
        at = chance.randrange(len(source))
        parts.append(source[at : at + chance.randint(1, 60)])
        done += len(parts[-1])
    return "".join(parts)[:size]
