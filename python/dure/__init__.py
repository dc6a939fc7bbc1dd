"""Model calls, tokens, money, chunks and search: exact, in one wheel with a C++ core.

Every public name is loaded on first use (PEP 562), so `import dure` stays light.
"""

from __future__ import annotations

from dure import errors

try:
    from dure import _core
except ImportError as missing:
    raise ImportError(
        "dure's C++ core is not built or does not fit this Python. In a checkout run "
        "scripts/build; else: pip install --force-reinstall dure"
    ) from missing

TYPE_CHECKING = False  # `typing` takes a tenth of the import
_core.set_errors(errors)

__version__: str = _core.version

# Public name -> the module that holds it.
_HOME = {
    "AsyncAzureClient": "dure.aio",
    "AsyncClient": "dure.aio",
    "AzureClient": "dure._sync",
    "Call": "dure.calls",
    "Client": "dure._sync",
    "ClientEmbedder": "dure.embedders",
    "aencode": "dure.aio",
    "agenerate": "dure.aio",
    "astream": "dure.aio",
    "encode": "dure._sync",
    "generate": "dure._sync",
    "stream": "dure._sync",
    "Chunker": "dure.chunks",
    "Document": "dure.chunks",
    "DureError": "dure.errors",
    "Embedder": "dure.retrieval",
    "InvalidModelError": "dure.errors",
    "ModelTier": "dure.models",
    "ModelCapability": "dure.models",
    "ModelConfig": "dure.models",
    "ServiceModelPolicy": "dure.models",
    "MODEL_CATALOG": "dure.models",
    "OpenAIClientManager": "dure.manager",
    "PriceBook": "dure.costs",
    "cost": "dure.costs",
    "verify_ledger": "dure.costs",
    "averify_ledger": "dure.costs",
    "Store": "dure.retrieval",
    "VectorStore": "dure.retrieval",
    "split_documents": "dure.chunks",
    "aask": "dure.rag",
    "aingest": "dure.rag",
    "ask": "dure.rag",
    "ingest": "dure.rag",
}
_MODULES = (
    "aio",
    "calls",
    "chunks",
    "costs",
    "errors",
    "files",
    "local",
    "manager",
    "models",
    "prompts",
    "rag",
    "retrieval",
    "testing",
    "tokens",
    "usage",
)

if TYPE_CHECKING:
    from dure import aio as aio
    from dure import calls as calls
    from dure import chunks as chunks
    from dure import costs as costs
    from dure import files as files
    from dure import local as local
    from dure import manager as manager
    from dure import models as models
    from dure import prompts as prompts
    from dure import rag as rag
    from dure import retrieval as retrieval
    from dure import testing as testing
    from dure import tokens as tokens
    from dure import usage as usage
    from dure._sync import AzureClient as AzureClient
    from dure._sync import Client as Client
    from dure._sync import encode as encode
    from dure._sync import generate as generate
    from dure._sync import stream as stream
    from dure.aio import AsyncAzureClient as AsyncAzureClient
    from dure.aio import AsyncClient as AsyncClient
    from dure.aio import aencode as aencode
    from dure.aio import agenerate as agenerate
    from dure.aio import astream as astream
    from dure.calls import Call as Call
    from dure.chunks import Chunker as Chunker
    from dure.chunks import Document as Document
    from dure.chunks import split_documents as split_documents
    from dure.costs import PriceBook as PriceBook
    from dure.costs import averify_ledger as averify_ledger
    from dure.costs import cost as cost
    from dure.costs import verify_ledger as verify_ledger
    from dure.embedders import ClientEmbedder as ClientEmbedder
    from dure.errors import DureError as DureError
    from dure.errors import InvalidModelError as InvalidModelError
    from dure.manager import OpenAIClientManager as OpenAIClientManager
    from dure.models import MODEL_CATALOG as MODEL_CATALOG
    from dure.models import ModelCapability as ModelCapability
    from dure.models import ModelConfig as ModelConfig
    from dure.models import ModelTier as ModelTier
    from dure.models import ServiceModelPolicy as ServiceModelPolicy
    from dure.rag import aask as aask
    from dure.rag import aingest as aingest
    from dure.rag import ask as ask
    from dure.rag import ingest as ingest
    from dure.retrieval import Embedder as Embedder
    from dure.retrieval import Store as Store
    from dure.retrieval import VectorStore as VectorStore

__all__ = ["__version__", "build_info", *_HOME, *_MODULES]  # noqa: PLE0604


def build_info() -> dict[str, str]:
    """Say what this build is made of: version, compiler, libraries; and its SIMD path here.

    Returns:
        A flat dict of strings, printed by `dure versions`. `libcurl`: a wheel brings its own, which
        erases keys before it frees them; the machine's is shared with others and left as it is.
    """
    return {
        "version": _core.version,
        "compiler": _core.compiler,
        "build_type": _core.build_type,
        "libraries": _core.libraries,
        "simd": _core.simd,
        "libcurl": "its own" if _core.net.curl_erases_what_it_frees() else "the machine's",
    }


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name in _HOME:
        value = getattr(import_module(_HOME[name]), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return import_module(f"dure.{name}")
    raise AttributeError(f"module 'dure' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
