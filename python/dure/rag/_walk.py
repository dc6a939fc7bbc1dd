"""Which files a list of paths means, in one order."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from dure.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["files_under"]

_SKIPPED = {"__pycache__", "node_modules"}


def files_under(
    paths: Iterable[str | os.PathLike[str]],
) -> tuple[list[Path], list[tuple[Path, str]]]:
    """Return every file once, resolved and sorted, and each folder that cannot be read with why.

    Inside folders hidden names, `__pycache__` and `node_modules` are left out, and links to
    folders are not followed. A file that is named itself is always taken.

    Raises:
        NotFoundError: a path does not exist.
    """
    found: set[Path] = set()
    closed: dict[Path, str] = {}

    def note(error: OSError) -> None:
        closed[_resolved(Path(error.filename))] = error.strerror or str(error)

    for given in paths:
        path = Path(given)
        if path.is_dir():
            found.update(_resolved(file) for file in _inside(path, note))
        elif path.exists():
            found.add(_resolved(path))
        else:
            raise NotFoundError(f"{path}: no such file or folder: check its name", path=str(path))
    return sorted(found), sorted(closed.items())


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # a link that leads to itself: refused when it is read
        return path.absolute()


def _inside(folder: Path, note: Callable[[OSError], None]) -> Iterator[Path]:
    for where, folders, names in os.walk(folder, onerror=note):
        folders[:] = [name for name in folders if not (name.startswith(".") or name in _SKIPPED)]
        yield from (Path(where, name) for name in names if not name.startswith("."))
