"""Every public name can be loaded, and is the one its module defines."""

import dure
import pytest


def test_every_public_name_loads() -> None:
    for name in dure.__all__:
        assert getattr(dure, name) is not None


def test_unknown_name_says_so() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        dure.no_such_name  # noqa: B018
