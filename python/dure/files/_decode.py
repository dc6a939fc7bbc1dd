"""Bytes of a text file into a string: UTF-8, UTF-16 with a mark, CP949, then a guess."""

from __future__ import annotations

import codecs
import re

from dure.errors import MissingExtraError
from dure.files._limits import refuse

_MARKS = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
_SYLLABLES = re.compile("[\uac00-\ud7a3]")
_KOREAN = re.compile("[\uac00-\ud7a3\u3131-\u318e\u4e00-\u9fff\u3000-\u303f\uff00-\uffef]")
_OTHER = re.compile("[^\x00-\x7f]")
_GUESSED_BYTES = 200_000  # what the guess looks at
# What texts are really stored in: the legacy encodings of https://encoding.spec.whatwg.org. Any
# bytes are "text" in the code pages of mainframes and of DOS.
_GUESSED = [
    *("big5", "gb18030", "euc_jp", "shift_jis", "iso2022_jp", "koi8_r", "koi8_u", "cp866", "cp874"),
    *(f"cp{page}" for page in range(1250, 1259)),
    *(f"iso8859_{part}" for part in (2, 3, 4, 5, 6, 7, 8, 10, 13, 14, 15, 16)),
    *("mac_roman", "mac_cyrillic"),
]
# Python's names of what CP949 is a superset of; a file says one and means the other.
_OF_CP949 = {"euc_kr", "cp949"}


def decode(path: str, raw: bytes, *, declared: str | None = None) -> tuple[str, str]:
    """Return the text and the encoding's name, or refuse the file.

    Args:
        path: What a refusal names.
        raw: All bytes of the file.
        declared: What the file itself says, tried after the marks and UTF-8.
    """
    for mark, encoding in _MARKS:
        if raw.startswith(mark):
            return _strict(path, raw[len(mark) :], encoding), encoding
    if b"\x00" in raw:
        raise refuse(path, "binary content: it holds NUL bytes")
    try:
        return raw.decode(), "utf-8"
    except UnicodeDecodeError:
        pass
    if (named := _known(declared)) is not None:
        try:
            return raw.decode(named), named
        except UnicodeDecodeError:
            pass
    try:
        text = raw.decode("cp949")
    except UnicodeDecodeError:
        return _guess(path, raw)
    return (text, "cp949") if _looks_korean(text) else _guess(path, raw)


def _known(name: str | None) -> str | None:
    """Return Python's name of a text encoding that is named in a file."""
    try:
        found = codecs.lookup(name or "")
    except (LookupError, ValueError):
        return None
    if not found._is_text_encoding or found.name.startswith(("utf-16", "utf-32")):
        return None  # without a mark and with ASCII around it, it cannot be
    return "cp949" if found.name in _OF_CP949 else found.name


def _strict(path: str, raw: bytes, encoding: str) -> str:
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as bad:
        raise refuse(path, f"damaged {encoding} at byte {bad.start}") from bad
    if "\0" in text:
        raise refuse(path, "binary content: it holds NUL characters")
    return text


def _looks_korean(text: str) -> bool:
    """Whether most of what is not ASCII is Korean, syllables among it."""
    korean = len(_KOREAN.findall(text))
    return bool(_SYLLABLES.search(text)) and 2 * korean >= len(_OTHER.findall(text))


def _guess(path: str, raw: bytes) -> tuple[str, str]:
    try:
        from charset_normalizer import from_bytes
    except ImportError as missing:
        raise MissingExtraError.of("files", "charset-normalizer") from missing
    best = from_bytes(raw[:_GUESSED_BYTES], cp_isolation=_GUESSED).best()
    if best is None:
        raise refuse(path, "no text in an encoding that can be told: save it as UTF-8")
    return _strict(path, raw, best.encoding), best.encoding
