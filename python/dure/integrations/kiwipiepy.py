"""Korean morphemes by `kiwipiepy` (LGPL) as the words of a collection. Extra `kiwipiepy`."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from dure.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["KiwiTokenizer"]

# Sejong tags of what carries meaning: nouns, verbs and adjectives, adverbs, roots, and words in
# other scripts, numbers and addresses. Particles, endings and signs are left out.
_CONTENT = ("N", "V", "MAG", "MM", "XR", "SL", "SN", "SH", "W")


class KiwiTokenizer:
    """Cuts a text into morphemes, in lower case. Thread-safe.

    ::

        store.collection("docs", tokenizer=KiwiTokenizer())
    """

    name = "kiwi"

    def __init__(self, kiwi: Any = None) -> None:  # noqa: ANN401
        """Take `kiwi` (a `kiwipiepy.Kiwi`, perhaps with words of your own), or make one.

        Raises:
            MissingExtraError: kiwipiepy is not installed.
        """
        if kiwi is None:
            try:
                from kiwipiepy import Kiwi
            except ImportError as missing:
                raise MissingExtraError.of("kiwipiepy", "kiwipiepy") from missing
            kiwi = Kiwi()
        self._kiwi = kiwi
        self._lock = threading.Lock()

    def __call__(self, text: str, /) -> Iterable[str]:
        """Return the morphemes that carry meaning, in order."""
        with self._lock:
            found = self._kiwi.tokenize(text)
        return [
            one.form.lower()
            for one in found
            if one.tag.startswith(_CONTENT) and one.tag not in ("VCP", "VCN", "VX")
        ]
