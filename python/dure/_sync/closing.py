# Generated from dure/aio/closing.py by scripts/async_to_sync.py: change that one.
"""What is closed when its `with` block ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

__all__ = ["Closing"]


class Closing:
    """A context manager over `close()`."""

    __slots__ = ()

    def close(self) -> None:
        """Close. Idempotent."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
