"""Who is asked: the provider if there is a key, else nobody but `dure.local`."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dure.errors import InvalidArgumentError

from .places import data_folder

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from dure._sync import Client
    from dure.retrieval import Embedder

__all__ = ["embedder_of", "has_key", "opened_client", "provider_url", "require_provider"]


def has_key() -> bool:
    """Say whether the environment names a provider's key."""
    return bool(os.environ.get("OPENAI_API_KEY"))


def provider_url() -> str:
    """Return where requests go."""
    from dure.calls.settings import OPENAI_URL

    return os.environ.get("OPENAI_BASE_URL") or OPENAI_URL


@contextmanager
def opened_client(options: argparse.Namespace, **settings: Any) -> Iterator[Client | None]:  # noqa: ANN401
    """Give a client on the data folder, or None without a key."""
    if not has_key() and "base_url" not in settings:
        yield None
        return
    from dure._sync import Client

    with Client(data=data_folder(options), **settings) as client:
        yield client


def require_provider() -> None:
    """Do nothing if there is a key.

    Raises:
        InvalidArgumentError: there is none; the message says how to try without one.
    """
    if not has_key():
        raise InvalidArgumentError(
            "no provider: set OPENAI_API_KEY (and OPENAI_BASE_URL); to try without one, run "
            "`python -m dure.testing.upstream` and set both to what it prints",
            argument="OPENAI_API_KEY",
        )


def embedder_of(model: str | None, client: Client | None) -> Embedder | None:
    """Return the embedder of `--embed-model NAME` or `NAME@DIMENSIONS`; None: the store decides.

    Raises:
        InvalidArgumentError: a model is named and there is no provider.
    """
    if model is None:
        return None
    if client is None:
        raise InvalidArgumentError(
            f"--embed-model {model} needs a provider: set OPENAI_API_KEY", argument="embed_model"
        )
    from dure.embedders import ClientEmbedder

    return ClientEmbedder.of(model, client=client)
