"""The asynchronous face: clients for asyncio and uvloop, on one native thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

_HOME = {
    "HttpClient": "dure.aio._http",
    "HttpEvent": "dure.aio._http",
    "HttpStream": "dure.aio._http",
}

if TYPE_CHECKING:
    from dure.aio._http import HttpClient as HttpClient
    from dure.aio._http import HttpEvent as HttpEvent
    from dure.aio._http import HttpStream as HttpStream

__all__ = list(_HOME)


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
