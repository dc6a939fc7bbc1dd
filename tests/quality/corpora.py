"""Real text that a machine has, and endless new text made of its words.

Real: Python source of the interpreter and of the installed packages, documentation in
/usr/share/doc, C headers, and the message catalogues of the installed programs (some hundred
languages). Endless: words drawn from the real text as often as they stand there, in new orders,
here and there changed; in many scripts. Where a machine has no catalogue of a script, words made
up of its letters stand in.
"""

from __future__ import annotations

import gzip
import random
import re
import struct
import sysconfig
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from tests.quality import fuzz_texts

if TYPE_CHECKING:
    from collections.abc import Iterator

CATALOGUES = Path("/usr/share/locale")
SCRIPTS = {  # name: languages of its catalogues, its letters, what is between words
    "hangul": (("ko",), (0xAC00, 0xD7A3), " "),
    "kana": (("ja",), (0x3041, 0x30FA), ""),
    "simplified": (("zh_CN",), (0x4E00, 0x9FA5), ""),
    "traditional": (("zh_TW", "zh_HK"), (0x4E00, 0x9FA5), ""),
    "cyrillic": (("ru", "uk", "bg", "sr", "be", "mk", "kk", "mn"), (0x0410, 0x044F), " "),
    "greek": (("el",), (0x03B1, 0x03C9), " "),
    "hebrew": (("he",), (0x05D0, 0x05EA), " "),
    "arabic": (("ar", "fa", "ur", "ug"), (0x0620, 0x064A), " "),
    "devanagari": (("hi", "mr", "ne"), (0x0904, 0x094D), " "),
    "bengali": (("bn", "bn_IN", "as"), (0x0985, 0x09CD), " "),
    "tamil": (("ta", "te", "kn", "ml"), (0x0B85, 0x0BCD), " "),
    "gujarati": (("gu", "pa", "or", "si"), (0x0A85, 0x0ACD), " "),
    "thai": (("th", "lo", "km", "my"), (0x0E01, 0x0E4C), ""),
    "georgian": (("ka", "hy", "am"), (0x10D0, 0x10FF), " "),
}
LATIN = ("de", "fr", "es", "pt_BR", "it", "pl", "cs", "hu", "tr", "vi", "sv", "fi", "lt", "ro")
NOT_LATIN = re.compile("[^\x00-\u024f\u1e00-\u1eff\u2000-\u2bff\ufeff\ufffd]")


def messages(path: Path) -> str:
    """The translations in a compiled catalogue (GNU gettext's .mo)."""
    raw = path.read_bytes()
    if len(raw) < 20 or raw[:4] != b"\xde\x12\x04\x95":
        return ""
    count, _, table = struct.unpack_from("<3I", raw, 8)
    parts = []
    for i in range(count):
        size, at = struct.unpack_from("<2I", raw, table + 8 * i)
        parts.append(raw[at : at + size].replace(b"\0", b"\n"))
    return b"\n".join(parts).decode("utf-8", "replace")


def language_text(language: str) -> str:
    """All translations into a language."""
    folder = CATALOGUES / language / "LC_MESSAGES"
    return "\n".join(messages(path) for path in sorted(folder.glob("*.mo")))


@cache
def script_words(script: str, limit: int = 2_000_000) -> list[str]:
    """Words of a script as they follow each other, each with the blanks before it."""
    languages, (first, last), space = SCRIPTS[script]
    text = "\n".join(language_text(one)[: limit // len(languages)] for one in languages)
    if len(NOT_LATIN.findall(text)) < 1000:
        text = fuzz_texts.script_text(first, last, 200_000, seed=len(script), space=space)
    words = re.findall(r"\s*\S{1,12}", text)
    return [word for word in words if NOT_LATIN.search(word)] + words[:: 1 if space else 4]


@cache
def latin_words(limit: int = 3_000_000) -> list[str]:
    """Words of western languages and of source code."""
    text = "\n".join(language_text(one)[: limit // len(LATIN)] for one in LATIN)
    return re.findall(r"\s*\S{1,24}", text + fuzz_texts.library_text(limit))


def recombined(words: list[str], size: int, *, seed: int) -> str:
    """About `size` characters of new text: words drawn as often as they stand in the list."""
    chance = random.Random(seed)
    mean = sum(map(len, words[:5000])) / min(5000, len(words))
    drawn = chance.choices(words, k=int(size / mean))
    seams = [one for one in fuzz_texts.ALPHABET if not one.isspace()]
    for at in chance.choices(range(len(drawn)), k=len(drawn) // 50):
        word = drawn[at]
        cut = chance.randint(0, len(word))
        drawn[at] = word[:cut] + chance.choice(seams) + word[cut:]
    return "".join(drawn)


def is_latin(text: str) -> bool:
    """Whether fewer than three tenths of the letters are of another script."""
    letters = sum(map(str.isalpha, text[:50_000]))
    return len(NOT_LATIN.findall(text[:50_000])) < 0.3 * letters


def real_texts() -> Iterator[str]:
    """Every text of the machine, in sorted order."""
    for folder in (CATALOGUES,) if CATALOGUES.exists() else ():
        for language in sorted(path.name for path in folder.iterdir() if path.is_dir()):
            yield language_text(language)
    for name in ("stdlib", "purelib", "include"):
        for path in sorted(Path(sysconfig.get_path(name)).rglob("*")):
            if path.suffix in {".py", ".pyi", ".md", ".rst", ".txt", ".json", ".h"}:
                yield path.read_text("utf-8", "replace")
    for path in sorted(Path("/usr/share/doc").rglob("*")):
        if path.suffix == ".gz" and path.is_file():
            yield gzip.decompress(path.read_bytes()).decode("utf-8", "replace")
    for path in sorted(Path("/usr/include").rglob("*.h*")):
        if path.is_file():
            yield path.read_text("utf-8", "replace")


def distinct_text(size: int, *, share: float = 0.4, seed: int = 1) -> Iterator[tuple[str, bool]]:
    """Blocks of text, each with whether it is Latin, until `size` bytes of UTF-8 have come.

    The real text first, each distinct file once; then new text, a `share` of it in other scripts.
    """
    done = 0
    seen = set()
    for text in real_texts():
        if not text or hash(text) in seen:
            continue
        seen.add(hash(text))
        yield text, is_latin(text)
        done += len(text.encode())
        if done > size // 2:
            break
    yield from new_text(size - done, share=share, seed=seed)


def new_text(size: int, *, share: float = 0.4, seed: int = 1) -> Iterator[tuple[str, bool]]:
    """Blocks of recombined words, `share` of the bytes in other scripts than Latin."""
    chance = random.Random(seed)
    while size > 0:
        latin = chance.random() > share
        words = latin_words() if latin else script_words(chance.choice(list(SCRIPTS)))
        text = recombined(words, 500_000 if latin else 200_000, seed=chance.getrandbits(40))
        yield text, latin
        size -= len(text.encode())
