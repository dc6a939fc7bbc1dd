"""Encodings from a tokenizer.json: done by the library `tokenizers` (extra `tokenizers`)."""

from __future__ import annotations

from dure.errors import InvalidArgumentError, MissingExtraError, UnsupportedError
from dure.tokens.foreign import ByWholes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet
    from typing import Any, Literal

    import numpy as np
    import numpy.typing as npt

    Allowed = Literal[True] | AbstractSet[str] | None


class LibraryEncoding(ByWholes):
    """The core's interface over a tokenizer of that library."""

    def __init__(self, json: str) -> None:
        """Read the contents of a tokenizer.json.

        Raises:
            MissingExtraError: The library is not installed.
            InvalidArgumentError: It cannot read them.
        """
        try:
            from tokenizers import Tokenizer
        except ImportError:
            raise MissingExtraError.of("tokenizers", "tokenizers") from None
        try:
            self._plain = Tokenizer.from_str(json)
            self._special = Tokenizer.from_str(json)
        except Exception as error:  # the library raises this very class
            raise InvalidArgumentError(
                f"this is no tokenizer.json: {error}", argument="path"
            ) from error
        for one in (self._plain, self._special):
            one.no_truncation()
            one.no_padding()
        self._plain.encode_special_tokens = True  # a special token in a text is plain text
        added = self._plain.get_added_tokens_decoder()
        self.special_tokens = {one.content: id for id, one in added.items() if one.special}
        self.max_token_value = max(self._plain.get_vocab(with_added_tokens=True).values())
        self._bytes = _bytes_of(self._plain)
        self._json = json

    def __reduce__(self) -> tuple[Any, ...]:
        return LibraryEncoding, (self._json,)

    def encode_ordinary(self, text: str) -> list[int]:
        """As `Encoding.encode_ordinary`."""
        return list(self._plain.encode(_text(text), add_special_tokens=False).ids)

    def encode(self, text: str, allowed: Allowed, check: bool) -> list[int]:
        """As `Encoding.encode`; either all special tokens are allowed, or none."""
        names = set(self.special_tokens)
        if check:
            from dure.tokens.core import _refuse

            _refuse(text, frozenset(names - (allowed if isinstance(allowed, set) else set())))
        if allowed is not True and names & set(allowed or ()) not in (names, set()):
            raise UnsupportedError(
                "a tokenizer.json takes all of its special tokens or none", backend="tokenizers"
            )
        used = self._special if allowed is True or names & set(allowed or ()) else self._plain
        return list(used.encode(_text(text), add_special_tokens=False).ids)

    def encode_to_numpy(self, text: str, allowed: Allowed, check: bool) -> npt.NDArray[np.uint32]:
        """As `Encoding.encode_to_numpy`."""
        import numpy as np

        return np.array(self.encode(text, allowed, check), np.uint32)

    def encode_ordinary_batch(self, texts: Sequence[str], threads: int | None) -> list[list[int]]:
        """As `Encoding.encode_ordinary_batch`; the library has threads of its own."""
        del threads
        for one in texts:
            _text(one, "texts")
        found = self._plain.encode_batch(list(texts), add_special_tokens=False)
        return [list(one.ids) for one in found]

    def encode_batch(
        self, texts: Sequence[str], allowed: Allowed, check: bool, threads: int | None
    ) -> list[list[int]]:
        """As `Encoding.encode_batch`."""
        del threads
        return [self.encode(text, allowed, check) for text in texts]

    def encode_single_token(self, data: bytes) -> int:
        """As `Encoding.encode_single_token`."""
        text = data.decode("utf-8", "replace")
        if text in self.special_tokens:
            return self.special_tokens[text]
        if self._bytes is not None:
            for id, one in self._bytes.items():
                if one == data:
                    return id
        raise KeyError(data)

    def decode(self, tokens: Sequence[int], errors: str) -> str:
        """As `Encoding.decode`."""
        if self._bytes is not None:
            return self.decode_bytes(tokens).decode("utf-8", errors)
        self._known(tokens)
        return str(self._plain.decode(list(tokens), skip_special_tokens=False))

    def decode_bytes(self, tokens: Sequence[int]) -> bytes:
        """As `Encoding.decode_bytes`."""
        self._known(tokens)
        if self._bytes is None:
            return self.decode(tokens, "replace").encode()
        return b"".join(self._bytes[one] for one in tokens)

    def _known(self, tokens: Sequence[int]) -> None:
        for one in tokens:
            if self._plain.id_to_token(one) is None:
                raise KeyError(f"Invalid token for decoding: {one}")

    def decode_single_token_bytes(self, token: int) -> bytes:
        """As `Encoding.decode_single_token_bytes`; for byte-level tokenizers."""
        if self._plain.id_to_token(token) is None:
            raise KeyError(str(token))
        return self._all_bytes()[token]

    def token_byte_values(self) -> list[bytes]:
        """As `Encoding.token_byte_values`."""
        special = set(self.special_tokens.values())
        return sorted(one for id, one in self._all_bytes().items() if id not in special)

    def _all_bytes(self) -> dict[int, bytes]:
        if self._bytes is None:
            raise UnsupportedError(
                "tokens of this tokenizer.json are no byte strings: it is not byte-level; "
                "decode whole texts",
                backend="tokenizers",
            )
        return self._bytes

    def mergeable_ranks(self) -> dict[bytes, int]:
        """As tiktoken's `_mergeable_ranks`."""
        special = set(self.special_tokens.values())
        return {one: id for id, one in self._all_bytes().items() if id not in special}

    def encode_with_unstable(
        self, text: str, allowed: Allowed
    ) -> tuple[list[int], list[list[int]]]:
        """Raise: the library has no such call."""
        del text, allowed
        raise UnsupportedError("a tokenizer.json has no unstable encoding", backend="tokenizers")

    def encode_bytes(self, data: bytes) -> list[int]:
        """As tiktoken's `_encode_bytes`, for bytes that are text."""
        return self.encode_ordinary(data.decode())

    def encode_single_piece(self, piece: bytes) -> list[int]:
        """Raise: the library merges no piece alone."""
        del piece
        raise UnsupportedError("a tokenizer.json merges no piece alone", backend="tokenizers")


def _text(value: object, argument: str = "text") -> str:
    if not isinstance(value, str):
        raise TypeError(f"{argument} must be str, not {type(value).__name__}")
    try:
        value.encode()
    except UnicodeEncodeError:  # as tiktoken mends it
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value


def _bytes_of(tokenizer: Any) -> dict[int, bytes] | None:  # noqa: ANN401
    """Return the bytes of each id if the tokenizer spells bytes as characters (GPT-2's way)."""
    from json import loads

    from dure.tokens.load import byte_characters

    decoder = loads(tokenizer.to_str()).get("decoder") or {}
    if decoder.get("type") != "ByteLevel":
        return None
    byte = byte_characters()
    added = {id: one.content for id, one in tokenizer.get_added_tokens_decoder().items()}
    return {
        id: added[id].encode() if id in added else bytes(byte[one] for one in token)
        for token, id in tokenizer.get_vocab(with_added_tokens=True).items()
    }
