"""Encodings by name: the seven of OpenAI's, then those of `tiktoken_ext` plugins."""

from __future__ import annotations

from _thread import RLock  # that of `threading`, which takes longer to import than all of this

from dure._core import tokenize as _native
from dure.errors import InvalidArgumentError
from dure.tokens.core import Encoding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

__all__ = ["ENCODINGS", "get_encoding", "list_encoding_names"]

_lock = RLock()
_BUILT_IN: tuple[str, ...] = tuple(_native.encoding_names())
ENCODINGS: dict[str, Encoding] = {}
ENCODING_CONSTRUCTORS: dict[str, Callable[[], dict[str, Any]]] | None = None


def _available_plugin_modules() -> Sequence[str]:
    import pkgutil

    try:
        import tiktoken_ext
    except ImportError:
        return []
    return [f"tiktoken_ext.{one.name}" for one in pkgutil.iter_modules(tiktoken_ext.__path__)]


def _find_constructors() -> dict[str, Callable[[], dict[str, Any]]]:
    """Return what plugins add, by name; the built-in names are ours."""
    from importlib import import_module

    global ENCODING_CONSTRUCTORS  # noqa: PLW0603 (tiktoken's name, filled once)
    with _lock:
        if ENCODING_CONSTRUCTORS is not None:
            return ENCODING_CONSTRUCTORS
        found: dict[str, Callable[[], dict[str, Any]]] = {}
        for module_name in _available_plugin_modules():
            constructors = getattr(import_module(module_name), "ENCODING_CONSTRUCTORS", None)
            if constructors is None:
                raise InvalidArgumentError(
                    f"tiktoken plugin {module_name} does not define ENCODING_CONSTRUCTORS"
                )
            for name, constructor in constructors.items():
                if name in found:
                    raise InvalidArgumentError(
                        f"Duplicate encoding name {name} in tiktoken plugin {module_name}"
                    )
                found[name] = constructor
        ENCODING_CONSTRUCTORS = found
        return found


def get_encoding(encoding_name: str) -> Encoding:
    """Return the encoding of this name; the same object each time.

    Raises:
        InvalidArgumentError: There is none (a ValueError); the message names near matches.
    """
    if not isinstance(encoding_name, str):
        raise InvalidArgumentError(
            f"Expected a string in get_encoding, got {type(encoding_name)}",
            argument="encoding_name",
        )
    encoding = ENCODINGS.get(encoding_name)
    if encoding is not None:
        return encoding
    with _lock:
        if encoding_name not in ENCODINGS:
            ENCODINGS[encoding_name] = _load(encoding_name)
        return ENCODINGS[encoding_name]


def _load(name: str) -> Encoding:
    if name in _BUILT_IN:
        return Encoding._registered(name)
    constructors = _find_constructors()
    if name in constructors:
        return Encoding(**constructors[name]())
    from difflib import get_close_matches

    from dure.tokens import __version__

    near = get_close_matches(name, list_encoding_names()) or list_encoding_names()
    raise InvalidArgumentError(
        f"Unknown encoding {name}.\n"
        f"Did you mean: {', '.join(near)}?\n"
        f"Plugins found: {_available_plugin_modules()}\n"
        f"tiktoken version: {__version__} (are you on latest?)",
        argument="encoding_name",
    )


def list_encoding_names() -> list[str]:
    """Return the names that `get_encoding` knows, plugins included."""
    return list(dict.fromkeys([*_BUILT_IN, *_find_constructors()]))
