"""Which embedder a collection needs: the one that made the vectors it holds."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from dure.errors import ModelMismatchError

if TYPE_CHECKING:
    from dure._sync import Client
    from dure.aio import AsyncClient
    from dure.retrieval import Collection, Embedder, Store

__all__ = ["ASK_WORDS", "INGEST_ELSEWHERE", "recorded_embedder"]

ASK_WORDS = 'ask by words alone: mode="bm25" (on the command line --mode bm25)'
INGEST_ELSEWHERE = "ingest into another collection= (on the command line --collection NAME)"


def recorded_embedder(
    store: Store,
    collection: str,
    tenant: str | None,
    client: AsyncClient | Client | None,
    *,
    way_out: str,
) -> Embedder | None:
    """Return an embedder whose vectors are like those that the collection holds.

    None: it holds none, or the caller gave the vectors without a name. `way_out` ends the message
    of an error: what can be done without that embedder.

    Raises:
        ModelMismatchError: there is no provider to make such vectors, or their maker is unknown.
    """
    if collection not in store.collections(tenant=tenant):
        return None
    col = store.collection(collection, tenant=tenant)
    if col.model is None or col.dim is None:
        return None
    if col.model == "dure-hash":
        return _checked(col, _hash_embedder(col.dim), way_out)
    if client is None and not os.environ.get("OPENAI_API_KEY"):
        raise _mismatch(
            col,
            "none",
            f"which needs a provider: set OPENAI_API_KEY (and OPENAI_BASE_URL), or {way_out}",
        )
    from dure.embedders import ClientEmbedder

    return _checked(col, ClientEmbedder.of(col.model, dim=col.dim, client=client), way_out)


def _hash_embedder(dim: int) -> Embedder:
    from dure.local import HashEmbedder

    return HashEmbedder(dim)


def _checked(col: Collection, embedder: Embedder, way_out: str) -> Embedder:
    from dure.retrieval import fingerprint

    if fingerprint(embedder) == col.fingerprint:
        return embedder
    raise _mismatch(
        col,
        str(embedder.model_id),
        "made by an embedder that its name alone does not bring back: pass it as embedder=, or "
        + way_out,
    )


def _mismatch(col: Collection, given: str, why: str) -> ModelMismatchError:
    return ModelMismatchError(
        f"collection {col.name!r} holds vectors of {col.model}, {why}",
        argument="embedder",
        collection=col.name,
        stored=str(col.model),
        given=given,
    )
