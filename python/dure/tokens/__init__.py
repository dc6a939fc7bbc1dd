"""Text to token ids, counts and back: tiktoken's names, exact, without a network.

`import dure.tokens as tiktoken` works; below tiktoken's names stand ours (`count`, `fits`,
`truncate`, ...). The vocabularies lie in the package; each is unpacked on first use.

The ids are those of tiktoken 0.14 for every text. A text is `str`; surrogates that are no
character count as U+FFFD, as in tiktoken.
"""

from __future__ import annotations

from dure.tokens.batch import acount, acount_batch, count_batch
from dure.tokens.core import Counter, Encoding, PrefixCounts, StreamDecoder
from dure.tokens.model import (
    UnknownModelError,
    add_model,
    choose_encoding,
    encoding_for_model,
    encoding_name_for_model,
)
from dure.tokens.registry import get_encoding, list_encoding_names
from dure.tokens.text import count, count_up_to, fits, split_at, truncate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dure.tokens.prompt import TokenCount as TokenCount
    from dure.tokens.prompt import count_images as count_images
    from dure.tokens.prompt import count_messages as count_messages
    from dure.tokens.prompt import count_tools as count_tools

__version__ = "0.14.0"  # of tiktoken, whose interface and ids these are

__all__ = [
    "Counter",
    "Encoding",
    "PrefixCounts",
    "StreamDecoder",
    "TokenCount",
    "UnknownModelError",
    "acount",
    "acount_batch",
    "add_model",
    "choose_encoding",
    "count",
    "count_batch",
    "count_images",
    "count_messages",
    "count_tools",
    "count_up_to",
    "encoding_for_model",
    "encoding_name_for_model",
    "fits",
    "get_encoding",
    "list_encoding_names",
    "split_at",
    "truncate",
]


def __getattr__(name: str) -> object:
    if name in {"TokenCount", "count_images", "count_messages", "count_tools"}:
        from dure.tokens import prompt

        return getattr(prompt, name)
    if name == "_educational":  # tiktoken's own lesson in BPE, if tiktoken is installed
        from importlib import import_module

        return import_module("tiktoken._educational")
    raise AttributeError(f"module 'dure.tokens' has no attribute {name!r}")
