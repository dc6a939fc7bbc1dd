"""Where the data lies: `--data`, else `DURE_DATA`, else the user's data folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

__all__ = ["data_folder", "existing_store", "store_folder"]


def data_folder(options: argparse.Namespace) -> Path:
    """Return the data folder; it need not exist."""
    if options.data:
        return Path(options.data)
    from dure import costs

    return Path(costs.data_folder())


def store_folder(options: argparse.Namespace) -> Path:
    """Return the store's folder; its parents are made, private to the user."""
    if not options.store:
        data_folder(options).mkdir(mode=0o700, parents=True, exist_ok=True)
    return _named(options)


def _named(options: argparse.Namespace) -> Path:
    return Path(options.store) if options.store else data_folder(options) / "stores" / "default"


def existing_store(options: argparse.Namespace) -> Path:
    """Return the store's folder.

    Raises:
        NotFoundError: nothing was ever ingested there.
    """
    from dure.errors import NotFoundError

    folder = _named(options)
    if not folder.is_dir() or not any(folder.iterdir()):
        raise NotFoundError(f"no store at {folder}: run `dure ingest PATH...` first")
    return folder
