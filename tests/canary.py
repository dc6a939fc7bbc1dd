"""Provider keys that tests use; they may be nowhere but in the header that carries them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CANARY = "sk-canary-of-the-whole-suite-0123456789"
KEYS = (CANARY, "sk-test-key-of-nobody")
LARGEST = 16 << 20  # bytes of a file that is looked through


def leaks_in_text(text: str) -> list[str]:
    """Return the keys that a text holds."""
    return [key for key in KEYS if key in text]


def leaks_in_files(folder: Path) -> Iterator[str]:
    """Yield each file below a folder that holds a key."""
    wanted = [key.encode() for key in KEYS]
    for path in folder.rglob("*"):
        if path.is_symlink() or not path.is_file() or path.stat().st_size > LARGEST:
            continue
        try:
            content = path.read_bytes()
        except OSError:
            continue
        if any(key in content for key in wanted):
            yield str(path)
