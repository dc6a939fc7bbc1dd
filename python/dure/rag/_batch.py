"""Embedding for many threads at once: their texts travel together."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from dure.retrieval import Embedder

__all__ = ["MicroBatcher"]

MAX_TEXTS = 256
WAIT_SECONDS = 0.005  # how long the first text of a batch waits for company


class MicroBatcher:
    """An embedder in front of another: concurrent calls become few, equal texts one.

    Thread-safe. The thread whose text is the first of a batch makes the call for all of it.
    """

    def __init__(self, inner: Embedder) -> None:
        self._inner = inner
        self._lock = threading.Condition()
        self._waiting: list[tuple[str, Future[NDArray[np.float32]]]] = []
        self.embedded = 0

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - model_id, dim ... of the inner one
        return getattr(self._inner, name)

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one vector per text, in order.

        Raises:
            DureError: what the inner embedder raises; every text of the batch gets it.
        """
        import numpy as np

        futures: list[Future[NDArray[np.float32]]] = [Future() for _ in texts]
        with self._lock:
            leads = not self._waiting
            self._waiting += zip(texts, futures, strict=True)
            self._lock.notify_all()
        if leads:
            self._lead()
        return np.stack([future.result() for future in futures])

    encode = embed_documents

    def _lead(self) -> None:
        with self._lock:
            self._lock.wait_for(lambda: len(self._waiting) >= MAX_TEXTS, WAIT_SECONDS)
            batch, self._waiting = self._waiting, []
        for start in range(0, len(batch), MAX_TEXTS):
            self._embed(batch[start : start + MAX_TEXTS])

    def _embed(self, batch: list[tuple[str, Future[NDArray[np.float32]]]]) -> None:
        distinct = list(dict.fromkeys(text for text, _ in batch))
        try:
            vectors = dict(zip(distinct, self._inner.embed_documents(distinct), strict=True))
        except BaseException as error:  # noqa: BLE001 - every waiting thread gets it
            for _, future in batch:
                future.set_exception(error)
            return
        with self._lock:
            self.embedded += len(distinct)
        for text, future in batch:
            future.set_result(vectors[text])
