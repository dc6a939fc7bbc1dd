"""Where requests go and with which limits: arguments, else the environment, else defaults."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from dure._authorities import certifi_files
from dure._core import client as core
from dure._core.money import wall_us
from dure._windows import renew_all
from dure.calls import PRIORITIES, Cache, Call, Timeout, pico_of_dollars
from dure.calls.keys import Key, read_keys, rules_of
from dure.calls.wires import OPENAI, Wire, encoded
from dure.errors import InvalidArgumentError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dure.costs import PriceBook

__all__ = ["OPENAI_URL", "View", "data_folder"]

NO_FALLBACKS: tuple[list[str], list[str], list[str]] = ([], [], [])
OPENAI_URL = OPENAI.base_url


def data_folder(data: str | os.PathLike[str] | None = None) -> Path:
    """Return the data folder: `data`, else `DURE_DATA`, else the user's data folder."""
    if given := data or os.environ.get("DURE_DATA"):
        return Path(given)
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "dure"


def keys_of(
    api_key: str | Key | Sequence[str | Key] | None, variable: str = "OPENAI_API_KEY"
) -> list[Key]:
    """Return the keys to use, from the argument or the environment; blanks are dropped.

    Raises:
        InvalidArgumentError: a key is no text or holds what a header cannot. Says which, not what.
    """
    if api_key is None:
        return read_keys(os.environ.get(variable) or [], variable)
    return read_keys(api_key, "api_key")


def addresses_of(base_url: str | Sequence[str] | None, wire: Wire) -> list[str]:
    """Return where requests go: one address, or several that serve the same.

    Raises:
        InvalidArgumentError: the list is empty, or holds what is no text.
    """
    if base_url is None or isinstance(base_url, str):
        return [wire.address(base_url)]
    given = list(base_url)
    for url in given:
        checked_text(url, "base_url")
    if not given:
        raise InvalidArgumentError("base_url must name an address", argument="base_url")
    return [wire.address(url) for url in given]


def checked_text(value: object, argument: str) -> None:
    """Refuse what native code cannot take; the value, which may be secret, is not shown.

    Raises:
        InvalidArgumentError: it is no text, or holds half a surrogate pair.
    """
    if not isinstance(value, str):
        raise InvalidArgumentError(
            f"{argument} must be text, not {type(value).__name__}", argument=argument
        )
    if any("\ud800" <= sign <= "\udfff" for sign in value):
        raise InvalidArgumentError(f"{argument} is not valid Unicode", argument=argument)


class View:
    """One set of settings on the shared native client of a data folder.

    Cheap: thousands may exist. Thread-safe: nothing changes but `close`, once and for all.
    """

    __slots__ = (
        "_closed",
        "_known",
        "_lock",
        "_membership",
        "_plain",
        "_streams",
        "cache",
        "core",
        "endpoint",
        "max_retries",
        "prices",
        "timeout",
        "wire",
    )

    def __init__(
        self,
        native: core.Client,
        endpoint: core.Endpoint,
        *,
        timeout: Timeout,
        max_retries: int,
        wire: Wire = OPENAI,
        cache: Cache | None = None,
        prices: PriceBook | None = None,
    ) -> None:
        self.core = native
        self.prices = prices
        self.endpoint = endpoint
        self.timeout = timeout
        self.max_retries = max_retries
        self.wire = wire
        self.cache = cache
        self._plain = self._options(None, timeout)
        # Of the call before, as its caller gave it: callers give one `Call` many times.
        self._known: tuple[Call | None, core.Options] = (None, self._plain)
        self._membership = native.join()
        self._closed = False
        self._lock = threading.Lock()
        self._streams: WeakSet[core.Stream] = WeakSet()  # not read to their end, perhaps

    def native(self) -> core.Client:
        """Return the native client, to make a call with.

        Raises:
            UnavailableError: the view is closed.
        """
        if self._closed:
            raise UnavailableError("this client is closed: make a new one", stage="closed")
        return self.core

    def opened(self, stream: core.Stream) -> None:
        """Remember a stream: if the view is closed before it was read, it is cancelled.

        Raises:
            UnavailableError: the view was closed meanwhile; the stream is cancelled.
        """
        with self._lock:
            self._streams.add(stream)
        if self._closed:
            stream.abandon()
            self.native()

    def close(self) -> None:
        """Refuse further calls and cancel the streams that nobody read to the end. Idempotent."""
        self._closed = True
        with self._lock:
            left = list(self._streams)
            self._streams.clear()
        for stream in left:
            stream.abandon()
        self._membership.end()

    @classmethod
    def open(
        cls,
        *,
        api_key: str | Key | Sequence[str | Key] | None,
        base_url: str | Sequence[str] | None,
        organization: str | None,
        project: str | None,
        timeout: float | Timeout | None,
        max_retries: int,
        default_headers: Mapping[str, str] | None,
        proxy: str | None,
        data: str | os.PathLike[str] | None,
        transport: object,
        clock: object,
        random: object,
        default_query: Mapping[str, object] | None = None,
        wire: Wire = OPENAI,
        cache: Cache | bool | None = None,
        prices: PriceBook | None = None,
    ) -> View:
        """Check the settings and join the native client of the data folder.

        Raises:
            InvalidArgumentError: no key for a host that is not this machine, a key that no
                header can carry, a bad URL or number, prices that are no `PriceBook`.
            StorageError: the data folder cannot be written.
        """
        if prices is not None and not hasattr(prices, "native"):
            raise InvalidArgumentError(
                "prices must be a PriceBook: dure.PriceBook(overlay=...)", argument="prices"
            )
        if isinstance(max_retries, bool) or not 0 <= max_retries < 100:
            raise InvalidArgumentError("max_retries must be 0 to 99", argument="max_retries")
        keys = keys_of(api_key, wire.key_variable)
        ours = os.environ if wire.name == "openai" else {}
        addresses = addresses_of(base_url, wire)
        texts = {
            "base_url": addresses[0],
            "organization": organization or ours.get("OPENAI_ORG_ID") or "",
            "project": project or ours.get("OPENAI_PROJECT_ID") or "",
            "proxy": proxy or "",
        }
        for argument, text in texts.items():
            checked_text(text, argument)
        headers = list((default_headers or {}).items())
        for header in headers:
            for text in header:
                checked_text(text, "default_headers")
        native = core.Client.open(str(data_folder(data)), transport, clock, random, certifi_files())
        renew_all(native.account, getattr(clock, "wall_us", wall_us)())
        endpoint = native.endpoint(
            texts["base_url"],
            [key.secret for key in keys],
            texts["organization"],
            texts["project"],
            headers,
            texts["proxy"],
            wire.name,
            wire.bearer,
            encoded(default_query),
            dict(wire.deployments),
            addresses[1:],
            rules_of(keys),
        )
        return cls(
            native,
            endpoint,
            timeout=timeout_of(timeout),
            max_retries=max_retries,
            wire=wire,
            cache=Cache.of(cache),
            prices=prices,
        )

    def with_options(self, *, timeout: float | Timeout | None, max_retries: int | None) -> View:
        """Return a view with other limits on the same endpoint; it is closed on its own.

        Raises:
            UnavailableError: this view is closed.
        """
        return View(
            self.native(),
            self.endpoint,
            timeout=self.timeout if timeout is None else timeout_of(timeout),
            max_retries=self.max_retries if max_retries is None else max_retries,
            wire=self.wire,
            cache=self.cache,
            prices=self.prices,
        )

    def options(
        self, call: Call | None = None, timeout: float | Timeout | None = None
    ) -> core.Options:
        """Return the native limits of one call."""
        if timeout is not None:
            return self._options(call, timeout_of(timeout))
        if call is None:
            return self._plain
        known, options = self._known
        if known is not call or type(call.fallbacks) is not tuple:  # a list may change
            options = self._options(call, self.timeout)
            self._known = (call, options)
        return options

    def _options(self, call: Call | None, timeout: Timeout) -> core.Options:
        total = timeout.total or 0.0
        if call is not None and call.deadline is not None:
            total = min(total, call.deadline) if total else call.deadline
        return core.Options(
            call.scopes() if call else [],
            (call.service or "") if call else "",
            call.max_attempts if call else self.max_retries + 1,
            pico_of_dollars(call.max_cost, argument="max_cost") if call else None,
            call is None or call.resend == "all",
            (
                timeout.connect or 0.0,
                timeout.first_byte or 0.0,
                timeout.idle or 0.0,
                total or 1e9,
            ),
            call is None or call.metered,
            call.fallback_lists() if call else NO_FALLBACKS,
            PRIORITIES.index(call.priority) if call else 0,
            *self._sharing(call),
            None if self.prices is None else self.prices.native,
            (call.region or "") if call else "",
            (call.gather or 0.0) if call else 0.0,
            self._remote(call),
            (call.stage_of or "") if call else "",
        )

    def _cache(self, call: Call | None) -> Cache | None:
        """Return how the answer of a call is kept."""
        given = call.cache if call else None
        if isinstance(given, Cache):
            return given
        return None if given is False else self.cache or Cache.of(given)

    def _remote(self, call: Call | None) -> core.RemoteCache | None:
        """Return where answers are kept beside this host."""
        cache = self._cache(call)
        return None if cache is None or cache.remote is None else cache.remote.native

    def _sharing(self, call: Call | None) -> tuple[str, float, bool | None, bool]:
        """Return where answers are kept and for how long, who shares calls, whether to hedge."""
        cache = self._cache(call)
        where = "off" if cache is None else "disk" if cache.disk else "memory"
        return (
            where,
            cache.ttl if cache else 1.0,
            call.coalesce if call else None,
            bool(call and call.hedge),
        )


def timeout_of(timeout: float | Timeout | None) -> Timeout:
    """Return a `Timeout` for seconds in all, a `Timeout`, or None (no limit)."""
    if isinstance(timeout, Timeout):
        return timeout
    return Timeout(total=timeout)


def headers_of(extra: Mapping[str, str] | None) -> list[tuple[str, str]]:
    """Return the extra headers of one call.

    Raises:
        InvalidArgumentError: a header holds a line break.
    """
    if not extra:
        return []
    headers = list(extra.items())
    for name, value in headers:
        if not name or any(sign in name + value for sign in "\r\n\0"):
            raise InvalidArgumentError(
                f"header {name!r} is empty or holds a line break", argument="extra_headers"
            )
    return headers


def path_of(path: str, query: Mapping[str, object] | None) -> str:
    """Return the path with its query, encoded."""
    if not path.startswith("/"):
        path = "/" + path
    return f"{path}?{encoded(query)}" if query else path


def body_of(given: dict[str, Any], extra: Mapping[str, object] | None) -> dict[str, Any]:
    """Return the request body: what was given, then `extra_body` over it."""
    return {**given, **extra} if extra else given
