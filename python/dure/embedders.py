"""Embeddings from any OpenAI-shaped endpoint, as `dure.Embedder` wants them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dure import tokens
from dure._sync import Client
from dure.aio import AsyncClient
from dure.errors import DureError, InvalidArgumentError, UpstreamError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy import float32
    from numpy.typing import NDArray

__all__ = ["ClientEmbedder"]

# Limits of a request by OpenAI's API reference.
MAX_INPUTS = 2048
MAX_TOKENS = 300_000
MAX_INPUT_TOKENS = 8192
PARALLEL = 8  # batches under way at once
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
            DureError: the first batch that failed, as `embeddings.create`.
        """
        requests = self._requests(texts)
        return self._join(requests, self._sync.map(requests, PARALLEL, to="embeddings"))

    async def aembed_documents(self, texts: Sequence[str], /) -> NDArray[float32]:
        """Return float32[n, dim], one row per text, in order. Errors: `embed_documents`."""
        requests = self._requests(texts)
        return self._join(requests, await self._async.map(requests, PARALLEL, to="embeddings"))

    def embed_query(self, text: str, /) -> NDArray[float32]:
        """Return float32[dim]."""
        row: NDArray[float32] = self.embed_documents([text])[0]
        return row

    async def aembed_query(self, text: str, /) -> NDArray[float32]:
        """Return float32[dim]."""
        row: NDArray[float32] = (await self.aembed_documents([text]))[0]
        return row

    encode = embed_documents

    def _requests(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        """Return requests that hold the texts in order, each within the limits."""
        given = list(texts)
        requests: list[dict[str, Any]] = []
        room = 0
        for index, count in enumerate(tokens.count_batch(given, encoding="cl100k_base")):
            size = int(count)
            if not 0 < size <= MAX_INPUT_TOKENS:
                raise InvalidArgumentError(
                    f"text {index} has {size} tokens; an embedding takes 1 to {MAX_INPUT_TOKENS}",
                    argument="texts",
                    path=f"texts[{index}]",
                )
            if size > room or len(requests[-1]["input"]) == MAX_INPUTS:
                requests.append(self._request())
                room = MAX_TOKENS
            requests[-1]["input"].append(given[index])
            room -= size
        return requests

    def _request(self) -> dict[str, Any]:
        request: dict[str, Any] = {"model": self._model, "input": []}
        if self._dimensions is not None:
            request["dimensions"] = self._dimensions
        return request

    def _join(self, requests: list[dict[str, Any]], replies: list[Any]) -> NDArray[float32]:
        import numpy as np

        rows = []
        for reply in replies:
            if isinstance(reply, DureError):
                raise reply
            rows.append(reply.vectors)
        if not requests:
            return np.empty((0, self._dim or 0), np.float32)
        dims = {part.shape[1] for part in rows} | ({self._dim} if self._dim else set())
        if len(dims) != 1:
            raise UpstreamError(
                f"{self._model} answered with vectors of lengths {sorted(dims)}: check the model"
            )
        self._dim = dims.pop()
        return np.concatenate(rows)
