"""One secret of the installation, and a key for each purpose derived from it."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from dure.errors import StorageError

__all__ = ["Secret", "key_file"]


class Secret:
    """The installation's secret. Immutable; shows itself nowhere."""

    __slots__ = ("_master",)

    def __init__(self, master: bytes) -> None:
        self._master = master

    @classmethod
    def of(cls, given: str | None, data: Path) -> Secret:
        """Return the secret that was given, else the one of this data folder, made on first use.

        It lies outside the data folder, so that a copy of the data is no copy of the secret.

        Raises:
            StorageError: the file cannot be made or read.
        """
        return cls(given.encode() if given is not None else _kept(key_file(data)))

    def key(self, purpose: str) -> bytes:
        """Return 32 bytes for one purpose; no two purposes share any."""
        return hmac.digest(self._master, f"dure:{purpose}".encode(), "sha256")

    def __repr__(self) -> str:
        return "Secret(...)"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a Secret is never written anywhere")


def key_file(data: Path) -> Path:
    """Return where the secret of a data folder lies: the user's configuration folder."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    name = hashlib.sha256(str(data.resolve()).encode()).hexdigest()[:24]
    return Path(base) / "dure" / f"{name}.key"


def _kept(path: Path) -> bytes:
    """Return the file's secret; of several processes that make it at once, one does."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            fresh = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
            handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(secrets.token_bytes(32))
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):
                os.link(fresh, path)
            fresh.unlink()
        found = path.read_bytes()
    except OSError as failed:
        raise StorageError(
            f"the service's secret {path} cannot be kept ({failed.strerror}): set DURE_SECRET_KEY"
        ) from None
    if len(found) < 32:
        raise StorageError(f"the service's secret {path} is damaged: restore it from a backup")
    return found
