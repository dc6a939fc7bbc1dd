"""One encoding: text to token ids, and back. tiktoken's `core`, and our additions."""

from __future__ import annotations

from dure._check import integer, optional_integer
from dure._core import tokenize as _native
from dure.errors import DisallowedSpecialTokenError, InvalidArgumentError, UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from os import PathLike
    from typing import Any, Literal, NoReturn

    import numpy as np
    import numpy.typing as npt

    from dure.tokens.library import LibraryEncoding

__all__ = ["Counter", "Encoding", "PrefixCounts", "StreamDecoder", "raise_disallowed_special_token"]

_NOTHING: frozenset[str] = frozenset()
_AT_ONCE = 4096  # characters that are counted in less time than a thread is asked


class Encoding:
    """Turns text into the token ids of a model family, and back.

    Made by `get_encoding`, by `from_tiktoken_file`, or from parts as in tiktoken. The patterns of
    OpenAI's encodings run natively; an encoding with another pattern is handed to tiktoken, if
    that is installed.
    """

    name: str

    def __init__(
        self,
        name: str,
        *,
        pat_str: str,
        mergeable_ranks: Mapping[bytes, int],
        special_tokens: Mapping[str, int],
        explicit_n_vocab: int | None = None,
    ) -> None:
        """Create an encoding from its parts.

        Args:
            name: Any name; pickling goes by name only for registered encodings.
            pat_str: The pattern that cuts text into pieces.
            mergeable_ranks: Bytes of each token to its rank; a lower rank merges first.
            special_tokens: Text of each special token to its id.
            explicit_n_vocab: If given, checked against the number of tokens.

        Raises:
            InvalidArgumentError: The ranks are no vocabulary.
            UnsupportedError: An unknown pattern, and tiktoken is not installed.
        """
        self.name = name
        self._pat_str = pat_str
        self._ranks: dict[bytes, int] | None = dict(mergeable_ranks)
        self._special_tokens = dict(special_tokens)
        self.max_token_value = max([0, *self._ranks.values(), *self._special_tokens.values()])
        if explicit_n_vocab:
            assert len(mergeable_ranks) + len(special_tokens) == explicit_n_vocab
            assert self.max_token_value == explicit_n_vocab - 1
        self._native = _make_native(name, pat_str, self._ranks, self._special_tokens)
        self._special_token_values = set(self._special_tokens.values())

    @classmethod
    def _registered(cls, name: str) -> Encoding:
        """Return the embedded encoding `name`; nothing of it is copied into Python."""
        encoding = cls.__new__(cls)
        native = _native.NativeEncoding(name)
        encoding.name = name
        encoding._native = native
        encoding._pat_str = native.pat_str
        encoding._ranks = None
        encoding._special_tokens = native.special_tokens()
        encoding._special_token_values = set(encoding._special_tokens.values())
        encoding.max_token_value = native.max_token_value
        return encoding

    @classmethod
    def from_tiktoken_file(
        cls,
        path: str | PathLike[str],
        pattern: str = "cl100k",
        *,
        name: str | None = None,
        special_tokens: Mapping[str, int] | None = None,
        expected_hash: str | None = None,
    ) -> Encoding:
        """Read a rank file in tiktoken's form (a token in base 64 and its rank on each line).

        Args:
            path: The file.
            pattern: `"gpt2"`, `"cl100k"`, `"o200k"`, or a whole pattern.
            name: Default: the file's name without its suffix.
            special_tokens: Text to id.
            expected_hash: SHA-256 in hexadecimal; another file is refused.

        Raises:
            InvalidArgumentError: The file has another hash, or is no rank file.
        """
        from pathlib import Path

        from dure.tokens.load import load_tiktoken_bpe
        from dure.tokens.registry import get_encoding

        known = {"gpt2": "gpt2", "cl100k": "cl100k_base", "o200k": "o200k_base"}
        pat_str = get_encoding(known[pattern])._pat_str if pattern in known else pattern
        return cls(
            name or Path(path).stem,
            pat_str=pat_str,
            mergeable_ranks=load_tiktoken_bpe(str(path), expected_hash),
            special_tokens=special_tokens or {},
        )

    @classmethod
    def from_tokenizer_json(cls, path: str | PathLike[str], *, name: str | None = None) -> Encoding:
        """Read a tokenizer.json, for models that are not OpenAI's.

        The library `tokenizers` does the work: `pip install "dure[tokenizers]"`. Special tokens
        in a text are plain text unless they are allowed, as everywhere here, and none is added.

        Args:
            path: The file.
            name: Default: the name of its folder.

        Raises:
            MissingExtraError: The library is not installed.
            InvalidArgumentError: The file is no tokenizer.json.
        """
        from pathlib import Path

        from dure.tokens.library import LibraryEncoding

        file = Path(path).absolute()
        return cls._of_library(name or file.parent.name, LibraryEncoding(file.read_text("utf-8")))

    @classmethod
    def _of_library(cls, name: str, library: LibraryEncoding) -> Encoding:
        encoding = cls.__new__(cls)
        encoding.name = name
        encoding._native = library  # type: ignore[assignment]
        encoding._pat_str = ""
        encoding._ranks = None
        encoding._special_tokens = library.special_tokens
        encoding._special_token_values = set(library.special_tokens.values())
        encoding.max_token_value = library.max_token_value
        return encoding

    def __repr__(self) -> str:
        return f"<Encoding {self.name!r}>"

    # Encoding

    def encode_ordinary(self, text: str) -> list[int]:
        """Return the ids of `text`; special tokens in it are plain text."""
        return self._native.encode_ordinary(text)

    def encode(
        self,
        text: str,
        *,
        allowed_special: Literal["all"] | AbstractSet[str] = _NOTHING,
        disallowed_special: Literal["all"] | Collection[str] = "all",
    ) -> list[int]:
        """Return the ids of `text`.

        Args:
            text: Any text.
            allowed_special: Special tokens that become their id; `"all"`: every one.
            disallowed_special: Special tokens that must not occur; `"all"`: all that are not
                allowed; `()`: none, they are encoded as plain text.

        Raises:
            DisallowedSpecialTokenError: `text` holds one; `.token`, `.position`.
        """
        allowed, check = self._policy(text, allowed_special, disallowed_special)
        return self._native.encode(text, allowed, check)

    def encode_to_numpy(
        self,
        text: str,
        *,
        allowed_special: Literal["all"] | AbstractSet[str] = _NOTHING,
        disallowed_special: Literal["all"] | Collection[str] = "all",
    ) -> npt.NDArray[np.uint32]:
        """Return what `encode` does as a read-only array; a lone surrogate raises."""
        allowed, check = self._policy(text, allowed_special, disallowed_special)
        try:
            return self._native.encode_to_numpy(text, allowed, check)
        except UnicodeEncodeError:
            self._native.encode(text, allowed, check)  # a token that must not occur is told first
            raise

    def encode_ordinary_batch(
        self, text: Iterable[str], *, num_threads: int | None = 8
    ) -> list[list[int]]:
        """Return `encode_ordinary` of each text, in order, worked out in parallel."""
        threads = _threads(num_threads)
        return self._native.encode_ordinary_batch(_listed(text), threads)

    def encode_batch(
        self,
        text: Iterable[str],
        *,
        num_threads: int | None = 8,
        allowed_special: Literal["all"] | AbstractSet[str] = _NOTHING,
        disallowed_special: Literal["all"] | Collection[str] = "all",
    ) -> list[list[int]]:
        """Return `encode` of each text, in order, worked out in parallel."""
        threads, texts = _threads(num_threads), _listed(text)
        if disallowed_special != "all":
            disallowed_special = frozenset(disallowed_special)
        allowed, check = _allowed(allowed_special), disallowed_special == "all"
        for one in texts if disallowed_special and not check else ():
            _refuse(one, frozenset(disallowed_special))
        return self._native.encode_batch(texts, allowed, check and allowed is not True, threads)

    def encode_to_numpy_batch(
        self, texts: Sequence[str], *, threads: int | None = None
    ) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
        """Return the ids of all texts in one array, and n + 1 offsets into it.

        Special tokens are plain text. `ids[offsets[i]:offsets[i + 1]]` are those of text i.
        """
        return self._native.encode_to_numpy_batch(texts, optional_integer(threads, "threads"))

    def encode_with_unstable(
        self,
        text: str,
        *,
        allowed_special: Literal["all"] | AbstractSet[str] = _NOTHING,
        disallowed_special: Literal["all"] | Collection[str] = "all",
    ) -> tuple[list[int], list[list[int]]]:
        """Return ids that stay whatever follows, and what may come after them."""
        allowed, check = self._policy(text, allowed_special, disallowed_special)
        if check:
            self._native.encode(text, allowed, check)
        return self._native.encode_with_unstable(text, allowed)

    def encode_single_token(self, text_or_bytes: str | bytes) -> int:
        """Return the id of exactly these bytes, special tokens included; else KeyError."""
        return self._native.encode_single_token(_to_bytes(text_or_bytes))

    def _policy(
        self,
        text: str,
        allowed: Literal["all"] | AbstractSet[str],
        disallowed: Literal["all"] | Collection[str],
    ) -> tuple[Literal[True] | AbstractSet[str] | None, bool]:
        """Return what the core takes: the allowed ones, and whether the others must be absent."""
        every = _allowed(allowed)
        if disallowed == "all":
            return every, every is not True
        if disallowed:
            _refuse(text, frozenset(disallowed))
        return every, False

    # Counting

    def count(self, text: str) -> int:
        """Return the number of ids of `encode_ordinary(text)`, without making them."""
        return self._native.count(text)

    def count_batch(
        self, texts: Sequence[str], *, threads: int | None = None
    ) -> npt.NDArray[np.int64]:
        """Return the count of each text, worked out in parallel (`threads`: None is all cores)."""
        return self._native.count_batch(texts, optional_integer(threads, "threads"))

    async def acount(self, text: str) -> int:
        """Return `count(text)`; a long text is counted by a thread of the core's."""
        if isinstance(text, str) and len(text) <= _AT_ONCE:
            return self._native.count(text)
        return await self._native.acount(text)

    async def acount_batch(
        self, texts: Iterable[str], *, threads: int | None = None
    ) -> npt.NDArray[np.int64]:
        """Return `count_batch(texts)`; they are counted by threads of the core's."""
        return await self._native.acount_batch(_listed(texts), optional_integer(threads, "threads"))

    def count_up_to(self, text: str, max_tokens: int) -> int | None:
        """Return `count(text)` if it is at most `max_tokens`, else None; stops early."""
        return self._native.count_up_to(text, integer(max_tokens, "max_tokens"))

    def fits(self, text: str, max_tokens: int) -> bool:
        """Say whether `text` has at most `max_tokens` tokens; stops early."""
        return self.count_up_to(text, max_tokens) is not None

    def truncate(self, text: str, max_tokens: int) -> str:
        """Return the longest start of `text` within `max_tokens`, never cut inside a character."""
        return self._native.truncate(text, integer(max_tokens, "max_tokens"))

    def split_at(self, text: str, max_tokens: int, *, overlap: int = 0) -> list[str]:
        """Cut `text` into parts of at most `max_tokens` tokens, each as long as possible.

        Args:
            text: Any text.
            max_tokens: Tokens of a part, encoded alone.
            overlap: Tokens that a part may repeat of the one before, in whole words.

        Raises:
            InvalidArgumentError: `overlap` is not less than `max_tokens`, or one character has
                more than `max_tokens` tokens.
        """
        most, shared = integer(max_tokens, "max_tokens"), integer(overlap, "overlap")
        return self._native.split_at(text, most, shared)

    # Decoding

    def decode_bytes(self, tokens: Sequence[int]) -> bytes:
        """Return the bytes of `tokens`; KeyError for an unknown id."""
        return self._native.decode_bytes(tokens)

    def decode(self, tokens: Sequence[int], errors: str = "replace") -> str:
        """Return the text of `tokens`; `errors` as in `bytes.decode`; KeyError: unknown id."""
        return self._native.decode(tokens, errors)

    def decode_single_token_bytes(self, token: int) -> bytes:
        """Return the bytes of one id, special tokens included; KeyError for an unknown id."""
        return self._native.decode_single_token_bytes(token)

    def decode_tokens_bytes(self, tokens: Sequence[int]) -> list[bytes]:
        """Return the bytes of each id; KeyError for an unknown id."""
        return [self._native.decode_single_token_bytes(token) for token in tokens]

    def decode_with_offsets(self, tokens: Sequence[int]) -> tuple[str, list[int]]:
        """Return the text, and for each token the index of the first character it has bytes of.

        Raises:
            UnicodeDecodeError: The tokens are no valid UTF-8.
        """
        parts = self.decode_tokens_bytes(tokens)
        offsets = []
        characters = 0
        for part in parts:
            goes_on = 0x80 <= part[0] < 0xC0
            offsets.append(max(0, characters - goes_on))
            characters += sum(not 0x80 <= byte < 0xC0 for byte in part)
        return b"".join(parts).decode("utf-8", errors="strict"), offsets

    def decode_batch(
        self,
        batch: Sequence[Sequence[int]],
        *,
        errors: str = "replace",
        num_threads: int | None = 8,
    ) -> list[str]:
        """Return `decode` of each."""
        _threads(num_threads)
        return [self._native.decode(tokens, errors) for tokens in batch]

    def decode_bytes_batch(
        self, batch: Sequence[Sequence[int]], *, num_threads: int | None = 8
    ) -> list[bytes]:
        """Return `decode_bytes` of each."""
        _threads(num_threads)
        return [self._native.decode_bytes(tokens) for tokens in batch]

    # What it is

    def token_byte_values(self) -> list[bytes]:
        """Return the bytes of all ordinary tokens, sorted."""
        return self._native.token_byte_values()

    @property
    def eot_token(self) -> int:
        """The id of `<|endoftext|>`; KeyError if there is none."""
        return self._special_tokens["<|endoftext|>"]

    @property
    def special_tokens_set(self) -> set[str]:
        """The texts of the special tokens."""
        return set(self._special_tokens)

    def is_special_token(self, token: int) -> bool:
        """Say whether this id is a special token's."""
        assert isinstance(token, int)
        return token in self._special_token_values

    @property
    def n_vocab(self) -> int:
        """`max_token_value + 1`."""
        return self.max_token_value + 1

    # Private in tiktoken, used all the same

    @property
    def _mergeable_ranks(self) -> dict[bytes, int]:
        if self._ranks is None:
            self._ranks = self._native.mergeable_ranks()
        return self._ranks

    @property
    def _core_bpe(self) -> _native.NativeEncoding:
        return self._native

    def _encode_single_piece(self, text_or_bytes: str | bytes) -> list[int]:
        return self._native.encode_single_piece(_to_bytes(text_or_bytes))

    def _encode_only_native_bpe(self, text: str) -> list[int]:
        import regex  # type: ignore[import-untyped]  # its \p classes are of another Unicode version than tiktoken's

        ids: list[int] = []
        for piece in regex.findall(self._pat_str, text):
            ids.extend(self._native.encode_single_piece(piece.encode()))
        return ids

    def _encode_bytes(self, text: bytes) -> list[int]:
        if not isinstance(text, bytes):
            raise TypeError(f"text must be bytes, not {type(text).__name__}")
        return self._native.encode_bytes(text)

    def __reduce__(self) -> tuple[Any, ...]:
        from dure.tokens import registry

        if registry.ENCODINGS.get(self.name) is self:
            return registry.get_encoding, (self.name,)
        if not self._pat_str:
            return _rebuild_library, (self.name, self._native)
        return _rebuild, (self.name, self._pat_str, self._mergeable_ranks, self._special_tokens)


class Counter(_native.Counter):
    """The exact count of a text that only grows; `append` works on its end alone."""

    def __init__(self, encoding: str | Encoding = "o200k_base") -> None:
        """Count in `encoding` (a name, or an `Encoding`)."""
        super().__init__(_native_of(encoding))


class PrefixCounts(_native.PrefixCounts):
    """One pass over a text; then the exact count of any of its spans.

    `count(start, end)` in code points, `count_bytes(start, end)` in bytes of its UTF-8.
    """

    def __init__(self, text: str, encoding: str | Encoding = "o200k_base") -> None:
        """Read `text` once."""
        super().__init__(_native_of(encoding), text)


class StreamDecoder(_native.StreamDecoder):
    """Ids to text as they come; a character in several tokens is held until it is whole."""

    def __init__(self, encoding: str | Encoding = "o200k_base") -> None:
        """Decode ids of `encoding` (a name, or an `Encoding`)."""
        super().__init__(_native_of(encoding))


def raise_disallowed_special_token(token: str, position: int | None = None) -> NoReturn:
    """Raise tiktoken's error for a special token in a text."""
    error = DisallowedSpecialTokenError(
        f"Encountered text corresponding to disallowed special token {token!r}.\n"
        "If you want this text to be encoded as a special token, "
        f"pass it to `allowed_special`, e.g. `allowed_special={{{token!r}, ...}}`.\n"
        f"If you want this text to be encoded as normal text, disable the check for this token "
        f"by passing `disallowed_special=(enc.special_tokens_set - {{{token!r}}})`.\n"
        "To disable this check for all special tokens, pass `disallowed_special=()`.\n"
    )
    error.token = token
    if position is not None:
        error.position = position
    raise error


def _refuse(text: str, tokens: frozenset[str]) -> None:
    """Raise if one of `tokens` (any texts) stands in `text`."""
    if not isinstance(text, str):
        raise TypeError(f"text must be str, not {type(text).__name__}")
    found = [(at, token) for token in tokens if (at := text.find(token)) >= 0]
    if found:
        position, token = min(found, key=lambda one: (one[0], -len(one[1])))
        raise_disallowed_special_token(token, position)


def _rebuild(
    name: str, pat_str: str, mergeable_ranks: dict[bytes, int], special_tokens: dict[str, int]
) -> Encoding:
    return Encoding(
        name, pat_str=pat_str, mergeable_ranks=mergeable_ranks, special_tokens=special_tokens
    )


def _rebuild_library(name: str, library: LibraryEncoding) -> Encoding:
    return Encoding._of_library(name, library)


def _to_bytes(text_or_bytes: str | bytes) -> bytes:
    if isinstance(text_or_bytes, str):
        return text_or_bytes.encode()
    if not isinstance(text_or_bytes, bytes):
        kind = type(text_or_bytes).__name__
        raise TypeError(f"text_or_bytes must be str or bytes, not {kind}")
    return text_or_bytes


def _allowed(
    special: Literal["all"] | AbstractSet[str],
) -> Literal[True] | AbstractSet[str] | None:
    """Return what the core takes: True for every special token, None for none."""
    if special == "all":
        return True
    if not isinstance(special, set | frozenset):
        kind = type(special).__name__
        raise TypeError(f"allowed_special must be 'all' or a set of str, not {kind}")
    for token in special:
        if not isinstance(token, str):
            kind = type(token).__name__
            raise TypeError(f"allowed_special must be a set of str, not of {kind}")
    return special or None


def _listed(texts: Iterable[str]) -> Sequence[str]:
    """Return the texts of any iterable, as tiktoken takes them."""
    return texts if isinstance(texts, list | tuple) else list(texts)


def _threads(number: int | None) -> int | None:
    """Check a number of threads in the words of Python's thread pools, as tiktoken does."""
    if number is not None and number <= 0:
        raise InvalidArgumentError("max_workers must be greater than 0", argument="num_threads")
    return number if number is None else int(number)


def _native_of(encoding: str | Encoding) -> _native.NativeEncoding:
    from dure.tokens.registry import get_encoding

    found = get_encoding(encoding) if isinstance(encoding, str) else encoding
    if not isinstance(found._native, _native.NativeEncoding):
        raise UnsupportedError(
            f"{found!r} has a pattern of its own: only the patterns of OpenAI's encodings can "
            "be counted step by step",
            backend="tiktoken",
        )
    return found._native


def _make_native(
    name: str, pat_str: str, ranks: dict[bytes, int], special_tokens: dict[str, int]
) -> _native.NativeEncoding:
    if _native.knows_pattern(pat_str):
        return _native.NativeEncoding(name, pat_str, ranks, special_tokens)
    from dure.tokens.foreign import ForeignEncoding

    return ForeignEncoding(name, pat_str, ranks, special_tokens)  # type: ignore[return-value]
