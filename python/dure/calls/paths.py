"""Which calls cost money, by method and path below the base URL."""

from __future__ import annotations

__all__ = ["is_free", "is_metered"]

# Priced by their usage; all else that costs money needs a price of its own.
METERED = frozenset(("/chat/completions", "/embeddings", "/responses"))
# What OpenAI does not bill when it is asked: files are stored, other jobs are stopped or looked at.
FREE = ("/files", "/uploads", "/models", "/moderations", "/vector_stores", "/conversations")
FREE_ENDS = ("/cancel", "/input_tokens")


def plain(path: str) -> str:
    """Return a path without query and slashes at its end, with one at its beginning."""
    path = path.partition("?")[0].rstrip("/")
    return path if path.startswith("/") else f"/{path}"


def is_metered(method: str, path: str) -> bool:
    """Whether the core counts, prices, holds and settles this call."""
    return method == "POST" and plain(path) in METERED


def is_free(method: str, path: str) -> bool:
    """Whether this call costs nothing, now or later. Unknown ones do not count as free."""
    path = plain(path)
    if method != "POST":
        return True
    return path.startswith(FREE) or path.endswith(FREE_ENDS)
