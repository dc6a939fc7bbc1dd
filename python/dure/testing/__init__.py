"""What tests and demonstrations need: fakes for time and chance, a real upstream, documents.

`FakeClock`, `FakeRandom` and `FakeTransport` are native handles: pass them as `clock=`, `random=`
and `transport=`. `upstream` is a real OpenAI-shaped HTTP server; `FaultServer` one that misbehaves
on plan; `documents()` names the Korean texts that the demo ingests.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dure._testing import FakeClock as FakeClock
    from dure._testing import FakeRandom as FakeRandom
    from dure._testing import FakeTransport as FakeTransport
    from dure.local import HashEmbedder as HashEmbedder
    from dure.testing import upstream as upstream
    from dure.testing.fault_server import FaultServer as FaultServer

_NATIVE = ("FakeClock", "FakeRandom", "FakeTransport")

__all__ = [
    "FakeClock",
    "FakeRandom",
    "FakeTransport",
    "FaultServer",
    "HashEmbedder",
    "documents",
    "upstream",
]


def __dir__() -> list[str]:
    return __all__


def documents() -> list[Path]:
    """Return the Korean documents that come with dure, sorted by name."""
    return sorted((Path(__file__).parent / "data").glob("*.md"))


def __getattr__(name: str) -> object:
    if name in _NATIVE:
        from dure import _testing

        return getattr(_testing, name)
    if name == "HashEmbedder":
        from dure.local import HashEmbedder

        return HashEmbedder
    if name == "FaultServer":
        from dure.testing.fault_server import FaultServer

        return FaultServer
    if name == "upstream":
        from importlib import import_module

        return import_module("dure.testing.upstream")
    raise AttributeError(f"module 'dure.testing' has no attribute {name!r}")
