"""Which encoding a model uses: tiktoken's table and rules; estimates only on request."""

from __future__ import annotations

from dure._core import tokenize as _native
from dure.errors import InvalidArgumentError, InvalidModelError
from dure.tokens.registry import get_encoding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dure.tokens.core import Encoding

__all__ = [
    "MODEL_PREFIX_TO_ENCODING",
    "MODEL_TO_ENCODING",
    "UnknownModelError",
    "add_model",
    "choose_encoding",
    "encoding_for_model",
    "encoding_name_for_model",
]

MODEL_TO_ENCODING: dict[str, str] = _native.models()
MODEL_PREFIX_TO_ENCODING: dict[str, str] = _native.model_prefixes()


class UnknownModelError(InvalidModelError, KeyError):
    """No encoding is known for this model; a KeyError, as in tiktoken."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


_added: dict[str, tuple[str, str]] = {}  # model to (encoding, where that is written)


def add_model(model_name: str, encoding_name: str, *, source: str) -> None:
    """Say which encoding a model uses that tiktoken does not know, or knows otherwise.

    From then on `encoding_for_model`, `choose_encoding` and every `model=` of this process know
    the name.

    Args:
        model_name: The whole name.
        encoding_name: One of `list_encoding_names()`.
        source: Where that is written; `choose_encoding` and the counts of requests repeat it.

    Raises:
        InvalidArgumentError: Unknown encoding, or no source.
    """
    if not source:
        raise InvalidArgumentError("say where the encoding is written", argument="source")
    _added[model_name] = (get_encoding(encoding_name).name, source)


def encoding_name_for_model(model_name: str) -> str:
    """Return the name of a model's encoding.

    Raises:
        UnknownModelError: tiktoken does not know the model (a KeyError). `choose_encoding` knows
            more names, and guesses.
    """
    if model_name in _added:
        return _added[model_name][0]
    if model_name in MODEL_TO_ENCODING:
        return MODEL_TO_ENCODING[model_name]
    for prefix, name in MODEL_PREFIX_TO_ENCODING.items():
        if model_name.startswith(prefix):
            return name
    from difflib import get_close_matches

    near = get_close_matches(model_name, MODEL_TO_ENCODING)
    hint = f" Did you mean: {', '.join(near)}?" if near else ""
    raise UnknownModelError(
        f"Could not automatically map {model_name} to a tokeniser. "
        "Please use `tiktoken.get_encoding` to explicitly get the tokeniser you expect."
        f"{hint} For an estimate use dure.tokens.choose_encoding.",
        model=model_name,
    )


def encoding_for_model(model_name: str) -> Encoding:
    """Return a model's encoding.

    Raises:
        UnknownModelError: As `encoding_name_for_model`.
    """
    return get_encoding(encoding_name_for_model(model_name))


def choose_encoding(model_name: str) -> tuple[str, bool, str]:
    """Return (name of the encoding, is that known?, where it is written) for any model.

    The models of `add_model` first, then tiktoken's rules, then names that it lacks
    (`openai/gpt-5`, fine-tunes of newer models); a model that nobody published anything about
    gets `o200k_base` with False: say so to users.
    """
    if model_name in _added:
        name, source = _added[model_name]
        return name, True, source
    return _native.choose_encoding(model_name)
