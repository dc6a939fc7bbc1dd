"""The async client: OpenAI-shaped calls with exact cost, one budget each, and fan-out.

    import dure

    client = dure.AsyncClient()
    r = await client.chat.completions.create(model="gpt-4o-mini", messages=[...])
    r.choices[0].message.content, r.dure.cost_usd

Names are loaded on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

_HOME = {
    "AsyncAzureClient": "dure.aio.azure",
    "AsyncClient": "dure.aio.client",
    "AsyncStream": "dure.aio.streams",
    "Cache": "dure.calls",
    "Call": "dure.calls",
    "HttpClient": "dure.aio._http",  # async only
    "HttpEvent": "dure.aio._http",  # async only
    "HttpStream": "dure.aio._http",  # async only
    "Key": "dure.calls.keys",
    "Timeout": "dure.calls",
    "aencode": "dure.aio.shortcuts",  # async only
    "agenerate": "dure.aio.shortcuts",  # async only
    "astream": "dure.aio.shortcuts",  # async only
    "encode": "dure.aio.shortcuts",
    "generate": "dure.aio.shortcuts",
    "stream": "dure.aio.shortcuts",
}

_BARE = {  # async only
    "ask": ("dure.rag", "aask"),  # async only
    "count": ("dure.tokens", "acount"),  # async only
    "count_batch": ("dure.tokens", "acount_batch"),  # async only
    "ingest": ("dure.rag", "aingest"),  # async only
    "verify_ledger": ("dure.costs", "averify_ledger"),  # async only
}  # async only

if TYPE_CHECKING:
    from dure.aio._http import HttpClient as HttpClient  # async only
    from dure.aio._http import HttpEvent as HttpEvent  # async only
    from dure.aio._http import HttpStream as HttpStream  # async only
    from dure.aio.azure import AsyncAzureClient as AsyncAzureClient
    from dure.aio.client import AsyncClient as AsyncClient
    from dure.aio.shortcuts import aencode as aencode  # async only
    from dure.aio.shortcuts import agenerate as agenerate  # async only
    from dure.aio.shortcuts import astream as astream  # async only
    from dure.aio.shortcuts import encode as encode
    from dure.aio.shortcuts import generate as generate
    from dure.aio.shortcuts import stream as stream
    from dure.aio.streams import AsyncStream as AsyncStream
    from dure.calls import Cache as Cache
    from dure.calls import Call as Call
    from dure.calls import Timeout as Timeout
    from dure.calls.keys import Key as Key
    from dure.costs import averify_ledger as verify_ledger  # async only
    from dure.rag import aask as ask  # async only
    from dure.rag import aingest as ingest  # async only
    from dure.tokens import acount as count  # async only
    from dure.tokens import acount_batch as count_batch  # async only

__all__ = list(_HOME)
__all__ += ["ask", "count", "count_batch", "ingest", "verify_ledger"]  # async only


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    if name in _BARE:  # async only
        return getattr(import_module(_BARE[name][0]), _BARE[name][1])  # async only
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
