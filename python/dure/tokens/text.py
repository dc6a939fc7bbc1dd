"""Counting and cutting text in one call: the encoding by name or by model."""

from __future__ import annotations

from dure._check import refuse
from dure._check import text as check_text
from dure.errors import InvalidArgumentError
from dure.tokens.model import encoding_for_model
from dure.tokens.registry import ENCODINGS, get_encoding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dure.tokens.core import Encoding

_DEFAULT = "o200k_base"


def resolve(encoding: str | Encoding | None, model: str | None) -> Encoding:
    """Return the encoding that the two arguments name; `model` wins over the default.

    Raises:
        InvalidArgumentError: Both are given, or the encoding is unknown.
        UnknownModelError: The model is unknown.
    """
    if model is not None:
        if encoding is not None:
            raise InvalidArgumentError("give encoding= or model=, not both", argument="encoding")
        return encoding_for_model(check_text(model, "model"))
    if encoding is None:
        encoding = _DEFAULT
    if not isinstance(encoding, str):
        if not hasattr(encoding, "encode_ordinary"):
            refuse(encoding, "encoding", "the name of an encoding or an Encoding")
        return encoding
    return ENCODINGS.get(encoding) or get_encoding(encoding)


def count(text: str, *, encoding: str | Encoding | None = None, model: str | None = None) -> int:
    """Return the number of tokens of `text`; special tokens in it are plain text.

    Args:
        text: Any text.
        encoding: A name or an `Encoding`; default `"o200k_base"`.
        model: Instead of `encoding`: the model whose encoding counts.

    Raises:
        TypeError: `text` is not str.
        InvalidArgumentError: Unknown encoding.
        UnknownModelError: Unknown model (a KeyError).
    """
    return resolve(encoding, model)._native.count(text)


def count_up_to(
    text: str,
    max_tokens: int,
    *,
    encoding: str | Encoding | None = None,
    model: str | None = None,
) -> int | None:
    """Return the count if it is at most `max_tokens`, else None; stops early."""
    return resolve(encoding, model).count_up_to(text, max_tokens)


def fits(
    text: str,
    max_tokens: int,
    *,
    encoding: str | Encoding | None = None,
    model: str | None = None,
) -> bool:
    """Say whether `text` has at most `max_tokens` tokens; stops early."""
    return resolve(encoding, model).fits(text, max_tokens)


def truncate(
    text: str,
    max_tokens: int,
    *,
    encoding: str | Encoding | None = None,
    model: str | None = None,
) -> str:
    """Return the longest start of `text` within `max_tokens`, never cut inside a character.

    Raises:
        InvalidArgumentError: `max_tokens` is negative.
    """
    return resolve(encoding, model).truncate(text, max_tokens)


def split_at(
    text: str,
    max_tokens: int,
    *,
    overlap: int = 0,
    encoding: str | Encoding | None = None,
    model: str | None = None,
) -> list[str]:
    """Cut `text` into parts of at most `max_tokens` tokens; see `Encoding.split_at`."""
    return resolve(encoding, model).split_at(text, max_tokens, overlap=overlap)
