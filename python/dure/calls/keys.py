"""Keys of a provider: quotas and weights, rotation while calls go on, what was learned of each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from dure.errors import InvalidArgumentError, NotFoundError

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from dure._core import client as core

    Source = str | os.PathLike[str] | Callable[[], Iterable["str | Key"]]

__all__ = ["Key", "KeyState", "Keys", "read_keys"]


@dataclass(frozen=True, slots=True)
class Key:
    """A key with what is known of it; its text is never shown.

    Attributes:
        secret: The key.
        quota: Keys of the same name share one limit at the provider: told to slow down, they sleep
            together. None: a limit of its own.
        weight: Turns that it takes beside the others.
    """

    secret: str = field(repr=False)
    quota: str | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        weight = self.weight
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight <= 1e6:
            raise InvalidArgumentError("weight must be a number above zero", argument="weight")
        if self.quota is not None and not isinstance(self.quota, str):
            raise InvalidArgumentError("quota must be text", argument="quota")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyState:
    """What is known of a key.

    Attributes:
        key_id: Tells keys apart and says nothing about them; budgets and rates call it `key:ID`.
        quota: As it was named, else None.
        weight: As it was given.
        state: `ready`, `asleep` (for `wakes_in` seconds), `parked` (the provider refused it: it
            is tried no more until it is added again), or `retired` (drained or removed).
        wakes_in: Seconds until calls may take it again.
        left: How much of its quota is left, 0 to 1, as the provider said within the last minute.
        taken: How often calls took it.
    """

    key_id: str
    quota: str | None
    weight: float
    state: str
    wakes_in: float
    left: float
    taken: int


class Keys:
    """The keys of a client: rotated without a restart, for all clients with these settings.

    Thread-safe.
    """

    _reloading: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, endpoint: core.Endpoint) -> None:
        self._endpoint = endpoint

    def add(self, key: str | Key) -> str:
        """Let calls take a further key; one that is there already is of use again.

        Returns:
            Its id.

        Raises:
            InvalidArgumentError: no header can carry it.
        """
        (checked,) = read_keys([key], "key")
        return self._endpoint.add_key(checked.secret, checked.quota or "", checked.weight)

    def drain(self, key_id: str) -> None:
        """Let no further call take a key; those under way go on.

        Raises:
            NotFoundError: there is no key of this id.
        """
        self._retire(key_id, forget=False)

    def remove(self, key_id: str) -> None:
        """Drain a key, and erase it when the last call with it has ended.

        Raises:
            NotFoundError: there is no key of this id.
        """
        self._retire(key_id, forget=True)

    def list(self) -> Sequence[KeyState]:
        """Return what is known of each key, removed ones too."""
        return [state_of(found) for found in self._endpoint.key_states()]

    def reload(self, source: Source) -> Sequence[str]:
        """Take the keys that a file or a function gives, and those alone; the others are removed.

        Args:
            source: A file with a key a line (blank lines and lines that begin with # say nothing),
                or a function that returns keys.

        Returns:
            The ids of the keys of use now, in that order.

        Raises:
            InvalidArgumentError: no key, or one that no header can carry; nothing has changed.
            OSError: the file cannot be read; nothing has changed.
        """
        given = source() if callable(source) else lines_of(source)
        keys = read_keys(given, "source")
        if not keys:
            raise InvalidArgumentError(
                "the source holds no key: none was changed", argument="source"
            )
        with Keys._reloading:
            ids = [self.add(key) for key in keys]
            for known in self.list():
                if known.key_id not in ids and known.key_id != "none":
                    self.remove(known.key_id)
            if "none" in self._endpoint.key_ids:  # the place of a client that was made without one
                self.drain("none")
        return ids

    def _retire(self, key_id: str, *, forget: bool) -> None:
        if not self._endpoint.retire_key(key_id, forget):
            raise NotFoundError(f"there is no key {key_id!r}: keys.list() names them")

    def __repr__(self) -> str:
        return f"Keys({[key.key_id for key in self.list()]})"


def state_of(found: tuple[str, str, float, bool, bool, float, float, int]) -> KeyState:
    """Build from the core's tuple."""
    key_id, quota, weight, parked, retired, asleep, left, taken = found
    state = "retired" if retired else "parked" if parked else "asleep" if asleep else "ready"
    return KeyState(
        key_id=key_id,
        quota=quota or None,
        weight=weight,
        state=state,
        wakes_in=asleep,
        left=left,
        taken=taken,
    )


def lines_of(path: str | os.PathLike[str]) -> list[str]:
    """Return the keys of a file, a line each."""
    from pathlib import Path

    lines = (line.strip() for line in Path(path).read_text("utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def read_keys(given: object, source: str) -> list[Key]:
    """Return keys that headers can carry; blanks are dropped.

    Raises:
        InvalidArgumentError: a key is no text or holds what a header cannot. Says which, not what.
    """
    if isinstance(given, str | Key):
        given = [given]
    if isinstance(given, (bytes, bytearray, memoryview)) or not isinstance(given, Iterable):
        raise InvalidArgumentError(
            f"{source} must be text or a list of texts, not {type(given).__name__}",
            argument="api_key",
        )
    keys = [read_key(each, source) for each in given]
    return [key for key in keys if key.secret]


def read_key(given: object, source: str) -> Key:
    """Return a key without blanks around it.

    Raises:
        InvalidArgumentError: as `read_keys`.
    """
    key = given if isinstance(given, Key) else Key(given)  # type: ignore[arg-type]
    if not isinstance(key.secret, str):
        raise InvalidArgumentError(
            f"a key of {source} must be text, not {type(key.secret).__name__}", argument="api_key"
        )
    secret = key.secret.strip()
    if not all(" " <= sign <= "~" for sign in secret):
        raise InvalidArgumentError(
            f"a key of {source} holds a line break or a character beyond ASCII: "
            "no header can carry it",
            argument="api_key",
        )
    return Key(secret, key.quota, key.weight)


def rules_of(keys: Sequence[Key]) -> list[tuple[str, float]]:
    """Return quota and weight of each key, as the core takes them."""
    return [(key.quota or "", key.weight) for key in keys]
