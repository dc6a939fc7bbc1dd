"""Opening what a user names as a file: never waits, and says why it refuses."""

from __future__ import annotations

import os

from dure.errors import FileRefusedError

__all__ = ["open_regular", "refuse"]


def refuse(path: str, reason: str) -> FileRefusedError:
    """Return the error for the file at `path`."""
    return FileRefusedError(f"{path}: refused: {reason}", path=path, reason=reason, argument="path")


def open_regular(path: str) -> tuple[int, int]:
    """Return a descriptor, which the caller closes, and the size; never waits at a pipe or device.

    Raises:
        FileRefusedError: Not a path, not a regular file, or unreadable.
    """
    import stat

    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as failed:
        raise refuse(path, failed.strerror or "cannot be opened") from failed
    except ValueError as failed:
        raise refuse(path, f"not a path: {failed}") from failed
    state = os.fstat(descriptor)
    if not stat.S_ISREG(state.st_mode):
        os.close(descriptor)
        raise refuse(path, "not a regular file")
    return descriptor, state.st_size
