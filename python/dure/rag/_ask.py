"""The order of steps of a question: retrieve, fit, answer."""

from __future__ import annotations

import asyncio
import os
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from dure import _core, local, prompts
from dure._check import integer, optional_integer, refuse, text
from dure.errors import InvalidArgumentError, NotFoundError

from ._answer import Answer, AnswerStream, AsyncAnswerStream, Draft, Usage
from ._embedder import ASK_WORDS, recorded_embedder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from dure._sync import Client
    from dure.aio import AsyncClient
    from dure.calls import Call
    from dure.retrieval import Collection, Embedder, Hit, Store, Where

__all__ = ["DEFAULT_CONTEXT_TOKENS", "DEFAULT_MODEL", "aask", "ask", "opened"]

DEFAULT_CONTEXT_TOKENS = 4_000
DEFAULT_MODEL = "gpt-4o-mini"
MOST_LOOKED_AT = 1_000  # hits, in search of different texts


@dataclass(frozen=True, slots=True)
class _Prompt:
    """What goes to the model, and where its sources are from."""

    model: str
    question: str
    messages: list[dict[str, Any]]
    sources: list[Hit]
    extra: dict[str, Any]


@overload
def ask(
    question: str,
    *,
    store: Store | str | os.PathLike[str],
    collection: str = ...,
    tenant: str | None = ...,
    embedder: Embedder | None = ...,
    client: Client | None = ...,
    model: str | None = ...,
    top_k: int = ...,
    mode: str = ...,
    where: Where | None = ...,
    max_context_tokens: int | None = ...,
    call: Call | None = ...,
    stream: Literal[False] = ...,
) -> Answer: ...
@overload
def ask(
    question: str,
    *,
    store: Store | str | os.PathLike[str],
    collection: str = ...,
    tenant: str | None = ...,
    embedder: Embedder | None = ...,
    client: Client | None = ...,
    model: str | None = ...,
    top_k: int = ...,
    mode: str = ...,
    where: Where | None = ...,
    max_context_tokens: int | None = ...,
    call: Call | None = ...,
    stream: Literal[True],
) -> AnswerStream: ...
def ask(
    question: str,
    *,
    store: Store | str | os.PathLike[str],
    collection: str = "default",
    tenant: str | None = None,
    embedder: Embedder | None = None,
    client: Client | None = None,
    model: str | None = None,
    top_k: int = 5,
    mode: str = "hybrid",
    where: Where | None = None,
    max_context_tokens: int | None = None,
    call: Call | None = None,
    stream: bool = False,
) -> Answer | AnswerStream:
    """Answer a question from a store. In a coroutine, or with an AsyncClient: `await dure.aask()`.

    Args:
        question: What is asked, in any language.
        store: An open store, or its folder.
        collection: Which collection to search.
        tenant: Whose collection.
        embedder: What embedded the collection; None: the model that the collection records.
        client: Who is asked. None: the provider if `OPENAI_API_KEY` is set, else `dure.local`,
            which quotes and says that it is no language model.
        model: Default `gpt-4o-mini`.
        top_k: How many chunks are looked up.
        mode: `hybrid`, `vector` or `bm25`.
        where: A filter on metadata, applied before the search.
        max_context_tokens: The most tokens of the whole prompt; default 4,000.
        call: Who pays, deadline, attempts.
        stream: Return at once with an iterator of pieces.

    Raises:
        NotFoundError: there is no such store.
        InvalidModelError: there is no such model.
        InvalidArgumentError: the question alone is larger than the prompt may be.
        ModelMismatchError: the collection's vectors are of a model that cannot be had here.
        DureError: what the provider call raises.
    """
    _check_client(client, asynchronous=False)
    _check_model(model, client)
    found = _retrieve(question, store, collection, tenant, embedder, client, top_k, mode, where)
    prompt = _prompt(question, found, model, max_context_tokens, call)
    if client is None and not os.environ.get("OPENAI_API_KEY"):
        draft, pieces = _local(prompt)
        return AnswerStream(iter(pieces), draft) if stream else draft.finish("".join(pieces))
    with_client = _client(client, asynchronous=False)
    if stream:
        return _streamed(with_client, prompt, close=client is None)
    try:
        return _answer(prompt, with_client.chat.completions.create(**_arguments(prompt)))
    finally:
        if client is None:
            with_client.close()


async def aask(
    question: str,
    *,
    store: Store | str | os.PathLike[str],
    collection: str = "default",
    tenant: str | None = None,
    embedder: Embedder | None = None,
    client: AsyncClient | None = None,
    model: str | None = None,
    top_k: int = 5,
    mode: str = "hybrid",
    where: Where | None = None,
    max_context_tokens: int | None = None,
    call: Call | None = None,
    stream: bool = False,
) -> Answer | AsyncAnswerStream:
    """The coroutine of `ask`: the same arguments and results."""
    _check_client(client, asynchronous=True)
    _check_model(model, client)
    found = await asyncio.to_thread(
        _retrieve, question, store, collection, tenant, embedder, client, top_k, mode, where
    )
    prompt = _prompt(question, found, model, max_context_tokens, call)
    if client is None and not os.environ.get("OPENAI_API_KEY"):
        draft, pieces = _local(prompt)
        if stream:
            return AsyncAnswerStream(_later(pieces), draft)
        return draft.finish("".join(pieces))
    with_client = _client(client, asynchronous=True)
    if stream:
        return await _astreamed(with_client, prompt, close=client is None)
    try:
        return _answer(prompt, await with_client.chat.completions.create(**_arguments(prompt)))
    finally:
        if client is None:
            await with_client.close()


# Retrieve


@contextmanager
def opened(store: Store | str | os.PathLike[str], *, must_exist: bool) -> Iterator[Store]:
    """Open a store given as a folder, and close it again; leave an open one open."""
    from dure.retrieval import Store

    if isinstance(store, Store):
        yield store
        return
    if not isinstance(store, str | os.PathLike):
        refuse(store, "store", "a dure.Store or its folder")
    folder = Path(store)
    if must_exist and not _is_store(folder):
        raise NotFoundError(f"no store at {folder}: ingest something first")
    read_only = must_exist and not os.access(folder, os.W_OK, effective_ids=True)
    with Store.open(folder, read_only=read_only) as own:
        yield own


def _is_store(folder: Path) -> bool:
    """Say whether there is a store, or what is left of one; lock files alone are none."""
    return (folder / "store.db").exists() or any(folder.glob("seg-*.dure"))


def _retrieve(
    question: str,
    store: Store | str | os.PathLike[str],
    collection: str,
    tenant: str | None,
    embedder: Embedder | None,
    client: AsyncClient | Client | None,
    top_k: int,
    mode: str,
    where: Where | None,
) -> list[Hit]:
    if not text(question, "question").strip():
        raise InvalidArgumentError("the question is empty", argument="question")
    with opened(store, must_exist=True) as own:
        names = own.collections(tenant=tenant)
        if collection not in names:
            known = f"there are {', '.join(names)}" if names else "ingest something first"
            raise NotFoundError(f"no collection {collection!r} in {own.path}: {known}")
        if mode == "bm25":
            embedder = None  # words alone need no vectors
        elif embedder is None:
            embedder = recorded_embedder(own, collection, tenant, client, way_out=ASK_WORDS)
        col: Collection = own.collection(collection, tenant=tenant, embedder=embedder)
        return _distinct_hits(col, question, integer(top_k, "top_k"), mode, where)


def _distinct_hits(
    col: Collection, question: str, top_k: int, mode: str, where: Where | None
) -> list[Hit]:
    """Return the best `top_k` hits of different texts: copies of a file are one source."""
    asked = top_k
    while True:
        found = col.query(text=question, top_k=asked, mode=mode, where=where)
        distinct = prompts.distinct(found)
        if len(distinct) >= top_k or len(found) < asked or asked >= MOST_LOOKED_AT:
            return distinct[:top_k]
        asked = min(4 * asked, MOST_LOOKED_AT)


# Fit


def _prompt(
    question: str,
    found: list[Hit],
    model: str | None,
    max_context_tokens: int | None,
    call: Call | None,
) -> _Prompt:
    model = model or DEFAULT_MODEL
    most = optional_integer(max_context_tokens, "max_context_tokens") or DEFAULT_CONTEXT_TOKENS
    messages = prompts.fit(question, found, model=model, max_tokens=most)
    used = len(prompts.question_and_sources(messages)[1])
    extra = {} if call is None else {"dure": call}
    return _Prompt(model, question, messages, prompts.distinct(found)[:used], extra)


def _arguments(prompt: _Prompt) -> dict[str, Any]:
    return {"model": prompt.model, "messages": prompt.messages, **prompt.extra}


# Answer


def _local(prompt: _Prompt) -> tuple[Draft, list[str]]:
    from dure import tokens

    asked = int(tokens.count_messages(prompt.messages, model=prompt.model).tokens)

    def finish(text: str) -> Answer:
        usage = Usage(asked, tokens.count(text, model=prompt.model))
        return Answer(text, prompt.sources, usage, Decimal(0), local.MODEL)

    _, sources = prompts.question_and_sources(prompt.messages)
    text = local.ExtractiveAnswerer().answer(prompt.question, sources)
    return Draft(prompt.sources, finish), local.pieces(text)


async def _later(pieces: list[str]) -> AsyncIterator[str]:
    for piece in pieces:
        yield piece


def _client(client: Any, *, asynchronous: bool) -> Any:  # noqa: ANN401 - one of two twins
    from dure._sync import Client
    from dure.aio import AsyncClient

    return client or (AsyncClient() if asynchronous else Client())


def _check_client(client: object, *, asynchronous: bool) -> None:
    if client is None:
        return
    from dure._sync import Client
    from dure.aio import AsyncClient

    wanted, other = (AsyncClient, Client) if asynchronous else (Client, AsyncClient)
    if isinstance(client, wanted):
        return
    name, twin = ("aask", "dure.ask") if asynchronous else ("ask", "await dure.aask")
    text = f"dure.{name} wants a dure.{wanted.__name__}, not {type(client).__name__}"
    if isinstance(client, other):
        text += f": use {twin}(...)"
    raise InvalidArgumentError(text, argument="client")


def _check_model(model: str | None, client: object) -> None:
    """Refuse an unknown model before anything is read; a provider's call checks it itself.

    Raises:
        InvalidModelError: there is no such model.
    """
    if model is not None and client is None and not os.environ.get("OPENAI_API_KEY"):
        _core.catalog.canonical(text(model, "model"))


def _answer(prompt: _Prompt, response: Any) -> Answer:  # noqa: ANN401 - openai's shape
    return _billed(prompt, response.choices[0].message.content or "", response)


def _billed(prompt: _Prompt, text: str, bill: Any) -> Answer:  # noqa: ANN401 - response or stream
    facts = bill.dure
    usage = Usage(facts.input_tokens, facts.output_tokens)
    return Answer(text, prompt.sources, usage, facts.cost_usd, facts.model, facts.attempts)


def _streamed(client: Any, prompt: _Prompt, *, close: bool) -> AnswerStream:  # noqa: ANN401
    stream = client.chat.completions.create(**_arguments(prompt), stream=True)

    def pieces() -> Iterator[str]:
        try:
            for chunk in stream:
                if chunk.choices and (text := chunk.choices[0].delta.content):
                    yield text
        finally:
            stream.close()
            if close:
                client.close()

    return AnswerStream(pieces(), Draft(prompt.sources, lambda t: _billed(prompt, t, stream)))


async def _astreamed(
    client: Any,  # noqa: ANN401
    prompt: _Prompt,
    *,
    close: bool,
) -> AsyncAnswerStream:
    stream = await client.chat.completions.create(**_arguments(prompt), stream=True)

    async def pieces() -> AsyncIterator[str]:
        try:
            async for chunk in stream:
                if chunk.choices and (text := chunk.choices[0].delta.content):
                    yield text
        finally:
            await stream.close()
            if close:
                await client.close()

    return AsyncAnswerStream(pieces(), Draft(prompt.sources, lambda t: _billed(prompt, t, stream)))
