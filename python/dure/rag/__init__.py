"""Documents in, answers out: the order of steps, nothing else.

`ingest` takes files to text, chunks, vectors and the store; `ask` takes a question to sources, a
prompt that fits, and an answer with its bill. Both have coroutines: `aingest`, `aask`.
"""

from __future__ import annotations

from ._answer import Answer, AnswerStream, AsyncAnswerStream, Usage
from ._ask import DEFAULT_CONTEXT_TOKENS, DEFAULT_MODEL, aask, ask
from ._ingest import IngestReport, Refusal, aingest, ingest

__all__ = [
    "DEFAULT_CONTEXT_TOKENS",
    "DEFAULT_MODEL",
    "Answer",
    "AnswerStream",
    "AsyncAnswerStream",
    "IngestReport",
    "Refusal",
    "Usage",
    "aask",
    "aingest",
    "ask",
    "ingest",
]
