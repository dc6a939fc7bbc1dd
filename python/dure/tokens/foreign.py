"""Encodings with a pattern that the core does not know: done by tiktoken, if it is installed."""

from __future__ import annotations

from dure.errors import InvalidArgumentError, UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet
    from types import ModuleType
    from typing import Literal

    import numpy as np
    import numpy.typing as npt
    import tiktoken

    Allowed = Literal[True] | AbstractSet[str] | None


def _require_tiktoken(pat_str: str) -> ModuleType:
    from importlib import import_module

    try:
        import_module("tiktoken._tiktoken")  # a folder of ours may have that name, without it
        return import_module("tiktoken")
    except ImportError:
        raise UnsupportedError(
            f"only the patterns of OpenAI's encodings are built in; for the pattern {pat_str!r} "
            "install tiktoken, which then does the work",
            backend="tiktoken",
        ) from None


class ByWholes:
    """What follows from encoding whole texts: the rest of the core's interface, without a core."""

    def encode_ordinary_batch(self, texts: Sequence[str], threads: int | None) -> list[list[int]]:
        """As `Encoding.encode_ordinary_batch`; made by each library."""
        raise NotImplementedError

    def encode_ordinary(self, text: str) -> list[int]:
        """As `Encoding.encode_ordinary`; made by each library."""
        raise NotImplementedError

    def encode_to_numpy_batch(
        self, texts: Sequence[str], threads: int | None
    ) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
        """As `Encoding.encode_to_numpy_batch`."""
        import numpy as np

        lists = self.encode_ordinary_batch(texts, threads)
        offsets = np.cumsum([0, *map(len, lists)], dtype=np.int64)
        flat = np.fromiter((one for ids in lists for one in ids), np.uint32, int(offsets[-1]))
        return flat, offsets

    def count(self, text: str) -> int:
        """As `Encoding.count`."""
        return len(self.encode_ordinary(text))

    def count_batch(self, texts: Sequence[str], threads: int | None) -> npt.NDArray[np.int64]:
        """As `Encoding.count_batch`."""
        import numpy as np

        return np.array([len(ids) for ids in self.encode_ordinary_batch(texts, threads)], np.int64)

    async def acount(self, text: str) -> int:
        """As `Encoding.acount`, on a thread of the interpreter's."""
        import asyncio

        return await asyncio.to_thread(self.count, text)

    async def acount_batch(
        self, texts: Sequence[str], threads: int | None
    ) -> npt.NDArray[np.int64]:
        """As `Encoding.acount_batch`, on a thread of the interpreter's."""
        import asyncio

        return await asyncio.to_thread(self.count_batch, texts, threads)

    def count_up_to(self, text: str, max_tokens: int) -> int | None:
        """As `Encoding.count_up_to`."""
        _check_limit(max_tokens)
        tokens = self.count(text)
        return tokens if tokens <= max_tokens else None

    def truncate(self, text: str, max_tokens: int) -> str:
        """As `Encoding.truncate`: the longest start that fits and is found by bisection.

        Of an unknown pattern a longer start may count less, so a start beyond it may fit too.
        """
        _check_limit(max_tokens)
        fits, too_long = 0, len(text) + 1
        while too_long - fits > 1:
            middle = (fits + too_long) // 2
            if self.count(text[:middle]) <= max_tokens:
                fits = middle
            else:
                too_long = middle
        return text[:fits]

    def split_at(self, text: str, max_tokens: int, overlap: int) -> list[str]:
        """As `Encoding.split_at`, without overlap."""
        if overlap:
            raise UnsupportedError("overlap needs a built-in pattern", backend="python")
        parts = []
        while text:
            # No token of these libraries has more than some dozens of characters.
            part = self.truncate(text[: 64 * (max_tokens + 1)], max_tokens)
            if not part:
                raise InvalidArgumentError(
                    "a character needs more than max_tokens tokens", argument="max_tokens"
                )
            parts.append(part)
            text = text[len(part) :]
        return parts


class ForeignEncoding(ByWholes):
    """The core's interface over an encoding of tiktoken's."""

    def __init__(
        self, name: str, pat_str: str, ranks: dict[bytes, int], special_tokens: dict[str, int]
    ) -> None:
        """Hand the parts to tiktoken."""
        make = _require_tiktoken(pat_str).Encoding
        self._other: tiktoken.Encoding = make(
            name, pat_str=pat_str, mergeable_ranks=ranks, special_tokens=special_tokens
        )

    def _names(self, allowed: Allowed) -> AbstractSet[str] | Literal["all"]:
        return "all" if allowed is True else allowed or set()

    def encode_ordinary(self, text: str) -> list[int]:
        """As `Encoding.encode_ordinary`."""
        return self._other.encode_ordinary(text)

    def encode(self, text: str, allowed: Allowed, check: bool) -> list[int]:
        """As `Encoding.encode`."""
        return self._other.encode(
            text, allowed_special=self._names(allowed), disallowed_special="all" if check else ()
        )

    def encode_to_numpy(
        self,
        text: str,
        allowed: Allowed,
        check: bool,
    ) -> npt.NDArray[np.uint32]:
        """As `Encoding.encode_to_numpy`."""
        return self._other.encode_to_numpy(
            text, allowed_special=self._names(allowed), disallowed_special="all" if check else ()
        )

    def encode_ordinary_batch(self, texts: Sequence[str], threads: int | None) -> list[list[int]]:
        """As `Encoding.encode_ordinary_batch`."""
        return self._other.encode_ordinary_batch(list(texts), num_threads=threads or 8)

    def encode_batch(
        self,
        texts: Sequence[str],
        allowed: Allowed,
        check: bool,
        threads: int | None,
    ) -> list[list[int]]:
        """As `Encoding.encode_batch`."""
        return self._other.encode_batch(
            list(texts),
            num_threads=threads or 8,
            allowed_special=self._names(allowed),
            disallowed_special="all" if check else (),
        )

    def encode_with_unstable(
        self, text: str, allowed: Allowed
    ) -> tuple[list[int], list[list[int]]]:
        """As `Encoding.encode_with_unstable`."""
        return self._other.encode_with_unstable(
            text, allowed_special=self._names(allowed), disallowed_special=()
        )

    def encode_bytes(self, data: bytes) -> list[int]:
        """As tiktoken's `_encode_bytes`."""
        return self._other._encode_bytes(data)

    def encode_single_piece(self, piece: bytes) -> list[int]:
        """As tiktoken's `_encode_single_piece`."""
        return self._other._encode_single_piece(piece)

    def encode_single_token(self, data: bytes) -> int:
        """As `Encoding.encode_single_token`."""
        return self._other.encode_single_token(data)

    def decode_bytes(self, tokens: Sequence[int]) -> bytes:
        """As `Encoding.decode_bytes`."""
        return self._other.decode_bytes(tokens)

    def decode(self, tokens: Sequence[int], errors: str) -> str:
        """As `Encoding.decode`."""
        return self._other.decode(tokens, errors=errors)

    def decode_single_token_bytes(self, token: int) -> bytes:
        """As `Encoding.decode_single_token_bytes`."""
        return self._other.decode_single_token_bytes(token)

    def token_byte_values(self) -> list[bytes]:
        """As `Encoding.token_byte_values`."""
        return self._other.token_byte_values()


def _check_limit(max_tokens: int) -> None:
    if max_tokens < 0:
        raise InvalidArgumentError("max_tokens must not be negative", argument="max_tokens")
