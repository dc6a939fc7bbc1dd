"""LangChain: one module for all its adapters, each imported when it is asked for.

from dure.integrations.langchain import DureTextSplitter
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dure.integrations.langchain_text import DureTextSplitter

__all__ = ["DureTextSplitter"]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name == "DureTextSplitter":
        from dure.integrations.langchain_text import DureTextSplitter

        return DureTextSplitter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
