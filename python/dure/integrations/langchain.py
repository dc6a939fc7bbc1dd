"""LangChain: one module for all its adapters, each imported when it is asked for.

from dure.integrations.langchain import ChatDure, DureEmbeddings, DureTextSplitter
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dure.integrations.langchain_models import ChatDure, DureEmbeddings
    from dure.integrations.langchain_text import DureTextSplitter

__all__ = ["ChatDure", "DureEmbeddings", "DureTextSplitter"]

_HOME = {
    "ChatDure": "langchain_models",
    "DureEmbeddings": "langchain_models",
    "DureTextSplitter": "langchain_text",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name in _HOME:
        return getattr(import_module(f"dure.integrations.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
