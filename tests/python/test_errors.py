"""The exception tree: attributes, pickling, and what else each class is."""

import pickle

import pytest
from dure import errors


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
