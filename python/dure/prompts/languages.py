"""Which script or language a text is in, as a check of answers."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

from dure.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["in_language", "in_script"]

SCRIPTS = {
    "arabic": ("ARABIC",),
    "bengali": ("BENGALI",),
    "cyrillic": ("CYRILLIC",),
    "devanagari": ("DEVANAGARI",),
    "greek": ("GREEK",),
    "han": ("CJK UNIFIED", "CJK COMPATIBILITY"),
    "hangul": ("HANGUL",),
    "hebrew": ("HEBREW",),
    "hiragana": ("HIRAGANA",),
    "katakana": ("KATAKANA", "HALFWIDTH KATAKANA"),
    "latin": ("LATIN",),
    "tamil": ("TAMIL",),
    "thai": ("THAI",),
}
LANGUAGES = {  # by script
    "ar": ("arabic",),
    "bn": ("bengali",),
    "el": ("greek",),
    "he": ("hebrew",),
    "hi": ("devanagari",),
    "ja": ("hiragana", "katakana", "han"),
    "ko": ("hangul",),
    "ru": ("cyrillic",),
    "ta": ("tamil",),
    "th": ("thai",),
    "zh": ("han",),
}
WORDS = {  # of one script: by their smallest words
    "de": "der die das und ist nicht ein eine zu mit auf für den dem von sich auch wird sind",
    "en": "the and is of to in that it for was on are with as be this at by not have",
    "es": "el la los las de que y en un una es por con para no se del al lo como",
    "fr": "le la les de des et est un une que qui dans pour pas sur au avec ce il du",
    "it": "il la di che e un una per non con del della sono come si da nel gli le è",
    "nl": "de het een en van is dat niet op te zijn met voor in er aan ook als bij",
    "pt": "o a os as de que e em um uma do da não para com por no na se é",
}


def in_script(script: str, *, share: float = 0.5) -> Callable[[str], str | None]:
    """Return a check: at least this share of the answer's letters is of a script.

    Args:
        script: For example `hangul`, `latin`, `cyrillic`; upper or lower case.
        share: Above 0, at most 1.

    Raises:
        InvalidArgumentError: a script that is not known, a share out of range.
    """
    if script.lower() not in SCRIPTS:
        raise InvalidArgumentError(
            f"script {script!r} is unknown: one of {', '.join(SCRIPTS)}", argument="script"
        )
    return _of_scripts((script.lower(),), share, f"it must be written in {script}")


def in_language(language: str, *, share: float = 0.5) -> Callable[[str], str | None]:
    """Return a check: the answer is in a language, as far as script and small words tell.

    Args:
        language: For example `ko`, `ja`, `en`, `de`; what follows a hyphen says nothing.
        share: Of the letters that must be of the language's script.

    Raises:
        InvalidArgumentError: a language that is not known.
    """
    code = language.lower().partition("-")[0]
    wish = f"it must be written in the language {language}"
    if code in LANGUAGES:
        return _of_scripts(LANGUAGES[code], share, wish)
    if code not in WORDS:
        known = ", ".join(sorted([*LANGUAGES, *WORDS]))
        raise InvalidArgumentError(
            f"language {language!r} is unknown: one of {known}", argument="language"
        )
    latin = _of_scripts(("latin",), share, wish)

    def check(text: str) -> str | None:
        words = re.findall(r"\w+", text.lower())
        counts = {
            name: sum(w in set(small.split()) for w in words) for name, small in WORDS.items()
        }
        spoken = len(words) < 8 or counts[code] == max(counts.values()) > 0
        return latin(text) or (None if spoken else wish)

    return check


def _of_scripts(scripts: tuple[str, ...], share: float, wish: str) -> Callable[[str], str | None]:
    if not 0 < share <= 1:
        raise InvalidArgumentError("share must be above 0, at most 1", argument="share")
    names = tuple(name for script in scripts for name in SCRIPTS[script])

    def check(text: str) -> str | None:
        letters = [sign for sign in text if sign.isalpha()]
        ours = sum(unicodedata.name(sign, "").startswith(names) for sign in letters)
        return None if letters and ours >= share * len(letters) else wish

    return check
