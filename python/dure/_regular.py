"""Opening what a user names as a file: never waits, and says why it refuses."""

from __future__ import annotations

import os

from dure.errors import FileRefusedError

__all__ = ["RegularFile", "open_regular", "refuse"]


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


class RegularFile:
    """A file that is read where it is asked for; as long as it was when it was opened.

    No map: a file that someone cuts short meanwhile is refused, where a map would end the process.
    Thread-safe.
    """

    def __init__(self, path: str) -> None:
        """Open the file.

        Raises:
            FileRefusedError: As `open_regular`.
        """
        self._path = path
        self._descriptor, self._size = open_regular(path)

    def __len__(self) -> int:
        """Return the size in bytes."""
        return self._size

    def read(self, begin: int, size: int) -> bytes:
        """Return the `size` bytes from `begin` on.

        Raises:
            FileRefusedError: It cannot be read, or became shorter.
        """
        try:
            got = os.pread(self._descriptor, size, begin)
            while len(got) < size and (more := self._more(begin, size, got)):
                got += more
        except OSError as failed:
            raise refuse(self._path, failed.strerror or "cannot be read") from failed
        if len(got) < size:
            raise refuse(self._path, "it became shorter while it was read")
        return got

    def _more(self, begin: int, size: int, got: bytes) -> bytes:
        return os.pread(self._descriptor, size - len(got), begin + len(got))

    def __del__(self) -> None:
        """Close the file."""
        descriptor, self._descriptor = getattr(self, "_descriptor", -1), -1
        if descriptor >= 0:
            os.close(descriptor)
