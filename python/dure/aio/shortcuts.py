"""One line for one answer: `generate`, `stream`, `encode`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dure.aio.client import AsyncClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from numpy import float32
    from numpy.typing import NDArray

__all__ = ["DEFAULT_MODEL", "encode", "generate", "stream"]

DEFAULT_MODEL = "gpt-4o-mini"


def messages_of(messages_or_str: str | Iterable[Any]) -> list[Any]:
    """Return messages; text becomes one message of the user."""
    if isinstance(messages_or_str, str):
        return [{"role": "user", "content": messages_or_str}]
    return list(messages_or_str)


async def generate(
    messages_or_str: str | Iterable[Any],
    *,
    model: str | None = None,
    client: AsyncClient | None = None,
    **options: Any,  # noqa: ANN401 - as chat.completions.create
) -> str:
    """Return the answer's text.

    Args:
        messages_or_str: Messages as the API takes them, or the user's text.
        model: Default `gpt-4o-mini`.
        client: Default `AsyncClient()`.
        **options: As `chat.completions.create`.

    Raises:
        DureError: as `chat.completions.create`.
    """
    answer = await (client or AsyncClient()).chat.completions.create(
        model=model or DEFAULT_MODEL, messages=messages_of(messages_or_str), **options
    )
    return answer.choices[0].message.content or ""


async def stream(
    messages_or_str: str | Iterable[Any],
    *,
    model: str | None = None,
    client: AsyncClient | None = None,
    **options: Any,  # noqa: ANN401 - as chat.completions.create
) -> AsyncIterator[str]:
    """Yield the answer's text piece by piece. Arguments and errors: `generate`."""
    chunks = await (client or AsyncClient()).chat.completions.create(
        model=model or DEFAULT_MODEL, messages=messages_of(messages_or_str), stream=True, **options
    )
    async with chunks:
        async for chunk in chunks:
            for choice in chunk.choices:
                if text := choice.delta.content:
                    yield text


async def encode(
    texts: str | Sequence[str],
    *,
    embedder: Any = None,  # noqa: ANN401 - dure.Embedder, whose room stands beside this one
) -> NDArray[float32]:
    """Return float32[n, dim], one row per text.

    Args:
        texts: One text or several.
        embedder: Anything with `aembed_documents(texts)`; default: the hash embedder, which needs
            no provider.
    """
    given = [texts] if isinstance(texts, str) else list(texts)
    if embedder is None:
        from dure._core.index import HashEmbedder

        return HashEmbedder().embed_documents(given)
    vectors: NDArray[float32] = await embedder.aembed_documents(given)
    return vectors


agenerate = generate  # async only
astream = stream  # async only
aencode = encode  # async only
