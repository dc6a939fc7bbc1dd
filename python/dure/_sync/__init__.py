# Generated from dure/aio/__init__.py by scripts/async_to_sync.py: change that one.
"""The sync client: OpenAI-shaped calls with exact cost, one budget each, and fan-out.

    import dure

    client = dure.Client()
    r = client.chat.completions.create(model="gpt-4o-mini", messages=[...])
    r.choices[0].message.content, r.dure.cost_usd

Names are loaded on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

_HOME = {
    "AzureClient": "dure._sync.azure",
    "Client": "dure._sync.client",
    "Stream": "dure._sync.streams",
    "Cache": "dure.calls",
    "Call": "dure.calls",
    "Key": "dure.calls.keys",
    "Timeout": "dure.calls",
    "encode": "dure._sync.shortcuts",
    "generate": "dure._sync.shortcuts",
    "stream": "dure._sync.shortcuts",
}


if TYPE_CHECKING:
    from dure._sync.azure import AzureClient as AzureClient
    from dure._sync.client import Client as Client
    from dure._sync.shortcuts import encode as encode
    from dure._sync.shortcuts import generate as generate
    from dure._sync.shortcuts import stream as stream
    from dure._sync.streams import Stream as Stream
    from dure.calls import Cache as Cache
    from dure.calls import Call as Call
    from dure.calls import Timeout as Timeout
    from dure.calls.keys import Key as Key

__all__ = list(_HOME)


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
