"""Embeddings from any OpenAI-shaped endpoint, as `dure.Embedder` wants them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

from dure import costs, tokens
from dure._sync import Client
from dure.aio import AsyncClient
from dure.errors import DureError, InvalidArgumentError, UnknownPriceError, UpstreamError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Sequence
    from decimal import Decimal

    from numpy import float32
    from numpy.typing import NDArray

__all__ = ["ClientEmbedder"]

# Limits of a request by OpenAI's API reference.
MAX_INPUTS = 2048
MAX_TOKENS = 300_000
MAX_INPUT_TOKENS = 8192
PARALLEL = 8  # batches under way at once
MOST_SPLITS = 64  # of refused batches in one call: a provider that takes nothing is not asked on
# OpenAI's embeddings guide; others are learned from the first reply.
KNOWN_DIMS = {
    "text-embedding-3-small": 1536,
    "text-embedding-3-large": 3072,
    "text-embedding-ada-002": 1536,
}


class ClientEmbedder:
    """Turns texts into vectors through a client: batched, checked, paid for.

    Thread-safe.
    """

    max_input_tokens = MAX_INPUT_TOKENS
    max_batch_inputs = MAX_INPUTS
    max_batch_tokens = MAX_TOKENS
    normalized = True

    def __init__(
        self,
        model: str,
        *,
        client: AsyncClient | Client | None = None,
        dimensions: int | None = None,
    ) -> None:
        """Name the model; nothing is sent.

        Args:
            model: For example `text-embedding-3-small`.
            client: Default `Client()`; sync and async methods use the same settings.
            dimensions: Shorter vectors, where the model can.

        Raises:
            InvalidArgumentError: `dimensions` is below 1; or as `Client()`.
        """
        if dimensions is not None and dimensions < 1:
            raise InvalidArgumentError("dimensions must be 1 or more", argument="dimensions")
        view = (client or Client()).view
        self._sync, self._async = Client.of(view), AsyncClient.of(view)
        self._model = model
        self._dimensions = dimensions
        self._dim = dimensions or KNOWN_DIMS.get(model)
        self._gathering: WeakKeyDictionary[asyncio.AbstractEventLoop, _Gathering] = (
            WeakKeyDictionary()
        )

    @classmethod
    def of(
        cls, model_id: str, *, dim: int | None = None, client: AsyncClient | Client | None = None
    ) -> ClientEmbedder:
        """Return the embedder of that `model_id`: `NAME`, or `NAME@DIMENSIONS`.

        Args:
            model_id: As `.model_id` says it, and a collection records it.
            dim: Length of its vectors where it is known already, for example from a collection.
            client: As for the constructor.

        Raises:
            InvalidArgumentError: as the constructor.
        """
        name, _, dimensions = model_id.rpartition("@")
        if not name or not dimensions.isdecimal():
            name, dimensions = model_id, ""
        made = cls(name, client=client, dimensions=int(dimensions) if dimensions else None)
        made._dim = made._dim or dim
        return made

    @property
    def model_id(self) -> str:
        """The model's name, with the dimensions where they were chosen."""
        return self._model if self._dimensions is None else f"{self._model}@{self._dimensions}"

    @property
    def dim(self) -> int:
        """Length of a vector.

        Raises:
            InvalidArgumentError: not known before the first reply of this model.
        """
        if self._dim is None:
            raise InvalidArgumentError(
                f"the length of {self._model}'s vectors is not known yet: pass dimensions=, or "
                "embed something first",
                argument="dimensions",
            )
        return self._dim

    def embed_documents(self, texts: Sequence[str], /) -> NDArray[float32]:
        """Return float32[n, dim], one row per text, in order.

        Raises:
            InvalidArgumentError: a text is empty or longer than 8,192 tokens; `.path` says which.
            DureError: the first text that failed, as `embeddings.create`; a note names it.
                `embed_each` keeps the others.
        """
        return self._whole(self.embed_each(texts))

    async def aembed_documents(self, texts: Sequence[str], /) -> NDArray[float32]:
        """Return float32[n, dim], one row per text, in order. Errors: `embed_documents`."""
        return self._whole(await self.aembed_each(texts))

    def embed_each(self, texts: Sequence[str], /) -> list[NDArray[float32] | DureError]:
        """Return a vector or an error for each text, in order.

        A batch that the provider refuses for what it holds is halved until the text that it does
        not take stands alone: the others have their vectors.

        Raises:
            InvalidArgumentError: a text is empty or longer than 8,192 tokens; nothing was sent.
        """
        rounds = self._rounds(texts)
        if (requests := next(rounds, None)) is None:
            return []  # no texts
        try:
            while True:
                requests = rounds.send(self._sync.map(requests, PARALLEL, to="embeddings"))
        except StopIteration as done:
            return cast("list[NDArray[float32] | DureError]", done.value)

    async def aembed_each(self, texts: Sequence[str], /) -> list[NDArray[float32] | DureError]:
        """The coroutine of `embed_each`."""
        rounds = self._rounds(texts)
        if (requests := next(rounds, None)) is None:
            return []  # no texts
        try:
            while True:
                replies = await self._async.map(requests, PARALLEL, to="embeddings")
                requests = rounds.send(replies)
        except StopIteration as done:
            return cast("list[NDArray[float32] | DureError]", done.value)

    def embed_query(self, text: str, /) -> NDArray[float32]:
        """Return float32[dim]."""
        row: NDArray[float32] = self.embed_documents([text])[0]
        return row

    async def aembed_query(self, text: str, /) -> NDArray[float32]:
        """Return float32[dim].

        Tasks that ask at the same time share requests: those of one tick go together, and while a
        request is under way the next ones gather.
        """
        self._packs([text])  # refused before it could spoil the others' request
        loop = asyncio.get_running_loop()
        gathering = self._gathering.get(loop)
        if gathering is None:
            gathering = self._gathering[loop] = _Gathering(self.aembed_each)
        row: NDArray[float32] = self._whole([await gathering.get(text)])[0]
        return row

    def quote(self, texts: Sequence[str]) -> tuple[int, Decimal | None]:
        """Return the tokens of texts and what embedding them costs in dollars, at list prices.

        None instead of dollars: no price is known for the model. Nothing is sent.
        """
        count = int(tokens.count_batch(list(texts), encoding="cl100k_base").sum())
        try:
            cost = costs.cost({"prompt_tokens": count, "total_tokens": count}, model=self._model)
        except UnknownPriceError:
            return count, None
        return count, cost.usd

    encode = embed_documents

    def _rounds(
        self, texts: Sequence[str]
    ) -> Generator[list[dict[str, Any]], list[Any], list[Any]]:
        """Yield requests to be made, take their replies; return what each text got."""
        given = list(texts)
        got: list[Any] = [None] * len(given)
        packs = self._packs(given)
        splits = MOST_SPLITS
        while packs:
            replies = yield [self._request([given[i] for i in pack]) for pack in packs]
            halves: list[list[int]] = []
            for pack, reply in zip(packs, replies, strict=True):
                if not isinstance(reply, DureError):
                    for row, index in enumerate(pack):
                        got[index] = reply.vectors[row]
                elif len(pack) > 1 and splits and _refuses_input(reply):
                    splits -= 1
                    halves += [pack[: len(pack) // 2], pack[len(pack) // 2 :]]
                else:
                    for index in pack:
                        got[index] = reply
            packs = halves
        return got

    def _packs(self, given: list[str]) -> list[list[int]]:
        """Return the texts' numbers in order, in packs within the limits of a request."""
        packs: list[list[int]] = []
        room = 0
        for index, count in enumerate(tokens.count_batch(given, encoding="cl100k_base")):
            size = int(count)
            if not 0 < size <= MAX_INPUT_TOKENS:
                raise InvalidArgumentError(
                    f"text {index} has {size} tokens; an embedding takes 1 to {MAX_INPUT_TOKENS}",
                    argument="texts",
                    path=f"texts[{index}]",
                )
            if size > room or len(packs[-1]) == MAX_INPUTS:
                packs.append([])
                room = MAX_TOKENS
            packs[-1].append(index)
            room -= size
        return packs

    def _request(self, texts: list[str]) -> dict[str, Any]:
        request: dict[str, Any] = {"model": self._model, "input": texts}
        if self._dimensions is not None:
            request["dimensions"] = self._dimensions
        return request

    def _whole(self, got: list[Any]) -> NDArray[float32]:
        import numpy as np

        for index, row in enumerate(got):
            if isinstance(row, DureError):
                row.add_note(f"texts[{index}]")
                raise row
        if not got:
            return np.empty((0, self._dim or 0), np.float32)
        dims = {len(row) for row in got} | ({self._dim} if self._dim else set())
        if len(dims) != 1:
            raise UpstreamError(
                f"{self._model} answered with vectors of lengths {sorted(dims)}: check the model"
            )
        self._dim = dims.pop()
        return np.stack(got)


class _Gathering:
    """Queries of the tasks of one event loop, asked together."""

    def __init__(self, ask: Callable[[list[str]], Awaitable[list[Any]]]) -> None:
        self._ask = ask
        self._waiting: list[tuple[str, asyncio.Future[Any]]] = []
        self._task: asyncio.Task[None] | None = None

    async def get(self, text: str) -> Any:  # noqa: ANN401
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((text, answer))
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        return await answer

    async def _run(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(0)  # the other tasks of this tick
                batch, self._waiting = self._waiting[:MAX_INPUTS], self._waiting[MAX_INPUTS:]
                await self._answer([one for one in batch if not one[1].done()])
        finally:
            self._task = None
            for _, answer in self._waiting:  # this task was cancelled
                answer.cancel()
            self._waiting = []

    async def _answer(self, batch: list[tuple[str, asyncio.Future[Any]]]) -> None:
        texts = list(dict.fromkeys(text for text, _ in batch))
        try:
            got = dict(zip(texts, await self._ask(texts), strict=True))
        except BaseException as error:
            for _, answer in batch:
                if not answer.done():
                    answer.set_exception(error) if isinstance(error, DureError) else answer.cancel()
            if not isinstance(error, DureError):
                raise
            return
        for text, answer in batch:
            if not answer.done():
                answer.set_result(got[text])


def _refuses_input(error: DureError) -> bool:
    """Say whether a provider refused a batch for its texts, not for the model or who asks."""
    return (
        isinstance(error, UpstreamError)
        and error.status_code in (400, 413, 422)
        and (error.param is None or error.param.startswith("input"))
    )
