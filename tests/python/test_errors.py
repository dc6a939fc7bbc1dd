"""The exception tree: attributes, pickling, and what else each class is."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import dure
import numpy as np
import pytest
from dure import errors, tokens

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_is_ours_and_survives_pickling(name: str) -> None:
    kind: type[errors.DureError] = getattr(errors, name)
    error = kind("what happened", retry_after=2.5)
    again = pickle.loads(pickle.dumps(error))
    assert issubclass(kind, errors.DureError)
    assert type(again) is kind
    assert again.to_dict() == error.to_dict()
    assert again.to_dict()["message"] == "what happened"


def test_errors_are_also_the_builtin_of_their_meaning() -> None:
    assert issubclass(errors.InvalidArgumentError, ValueError)
    assert issubclass(errors.NotFoundError, LookupError)
    assert issubclass(errors.DeadlineError, TimeoutError)
    assert issubclass(errors.UnavailableError, ConnectionError)
    assert issubclass(errors.StorageError, OSError)
    assert issubclass(errors.StoreCorruptError, OSError)
    assert issubclass(errors.OutOfMemoryError, MemoryError)
    assert issubclass(errors.MissingExtraError, ImportError)


def test_missing_extra_says_how_to_get_it() -> None:
    error = errors.MissingExtraError.of("service", "fastapi")
    assert str(error).endswith('pip install "dure[service]"')


def test_plain_mistakes_are_named_in_plain_words() -> None:
    """A wrong type says which argument should have been what; no C++ signature is shown."""
    half: Any = 1.5
    number: Any = 5
    usage = {"prompt_tokens": 1}
    wrong: dict[str, Callable[[], object]] = {
        "threads must be int, not float": lambda: tokens.count_batch(["a"], threads=half),
        "encoding must be the name of an encoding or an Encoding, not int": (
            lambda: tokens.count("a", encoding=number)
        ),
        "model must be str, not int": lambda: tokens.count("a", model=number),
        "max_tokens must be int, not float": lambda: tokens.truncate("a", half),
        "overlap must be int, not float": lambda: tokens.split_at("a", 5, overlap=half),
        "max_tokens must be int, not bool": lambda: tokens.fits("a", True),
        "question must be str, not int": lambda: dure.ask(number, store="x"),
        "at must be datetime, not int": lambda: dure.cost(usage, model="gpt-4o", at=number),
        "max_chars must be int, not float": lambda: dure.Chunker(max_chars=half),
    }
    for said, call in wrong.items():
        with pytest.raises(TypeError) as refused:
            call()
        assert str(refused.value) == said
    one: Any = np.int64(1)
    assert tokens.truncate("a b c", one) == "a"
