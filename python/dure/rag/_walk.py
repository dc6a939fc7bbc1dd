"""Which files a list of paths means, in one order."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from dure.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["files_under"]

_SKIPPED = {"__pycache__", "node_modules"}


def files_under(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Return every file once, resolved and sorted.

    Inside folders hidden names, `__pycache__` and `node_modules` are left out, and links to
    folders are not followed. A file that is named itself is always taken.

    Raises:
        NotFoundError: a path does not exist.
    """
    found: set[Path] = set()
    for given in paths:
        path = Path(given)
        if path.is_dir():
            found.update(_resolved(file) for file in _inside(path))
        elif path.exists():
            found.add(_resolved(path))
        else:
            raise NotFoundError(f"{path}: no such file or folder", path=str(path))
    return sorted(found)


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # a link that leads to itself: refused when it is read
        return path.absolute()


def _inside(folder: Path) -> Iterator[Path]:
    for where, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not (name.startswith(".") or name in _SKIPPED)]
        yield from (Path(where, name) for name in names if not name.startswith("."))
