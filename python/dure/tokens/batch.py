"""Counting many texts, and the coroutines."""

from __future__ import annotations

from dure.tokens.text import resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    from dure.tokens.core import Encoding


def count_batch(
    texts: Sequence[str],
    *,
    encoding: str | Encoding | None = None,
    model: str | None = None,
    threads: int | None = None,
) -> npt.NDArray[np.int64]:
    """Return the count of each text, worked out in parallel without the interpreter's lock.

    Args:
        texts: The texts.
        encoding: A name or an `Encoding`; default `"o200k_base"`.
        model: Instead of `encoding`.
        threads: At most so many; None: one for each core.
    """
    return resolve(encoding, model).count_batch(texts, threads=threads)


async def acount(
    text: str, *, encoding: str | Encoding | None = None, model: str | None = None
) -> int:
    """Return `count(...)` without keeping the event loop."""
    return await resolve(encoding, model).acount(text)


async def acount_batch(
    texts: Sequence[str],
    *,
    encoding: str | Encoding | None = None,
    model: str | None = None,
    threads: int | None = None,
) -> npt.NDArray[np.int64]:
    """Return `count_batch(...)` without keeping the event loop."""
    return await resolve(encoding, model).acount_batch(texts, threads=threads)
