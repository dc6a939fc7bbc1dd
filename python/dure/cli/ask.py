"""`dure ask "QUESTION"`: the answer as it comes, its sources, the bill."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .output import bold, dim, dollars, print_json, rows, say
from .places import existing_store
from .provider import embedder_of, opened_client

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from dure.rag import Answer
    from dure.retrieval import Hit


def run(options: argparse.Namespace) -> int:
    """Answer one question."""
    from dure import rag

    folder = existing_store(options)
    with opened_client(options) as client:
        stream = rag.ask(
            options.question,
            store=folder,
            collection=options.collection,
            embedder=embedder_of(options.embed_model, client),
            client=client,
            model=options.model,
            top_k=options.top_k,
            mode=options.mode,
            max_context_tokens=options.max_context_tokens,
            stream=True,
        )
        if options.json:
            print_json(stream.answer.to_dict())
            return 0
        for piece in stream:
            say(piece, end="")
        say("\n")
        show_sources(stream.sources)
        show_bill(stream.answer)
    return 0


def show_sources(sources: Sequence[Hit]) -> None:
    """Print where the answer is from."""
    for n, hit in enumerate(sources, 1):
        place = hit.metadata.get("source", hit.id)
        page = f", page {hit.metadata['page']}" if hit.metadata.get("page") else ""
        heading = hit.metadata.get("heading")
        say(f"  [{n}] {place}{page}" + dim(f"  {heading}" if heading else ""))


def show_bill(answer: Answer, **more: object) -> None:
    """Print who answered and what it cost."""
    say()
    rows(
        [
            ("model", answer.model),
            (
                "tokens",
                f"{answer.usage.prompt_tokens:,} in, {answer.usage.completion_tokens:,} out",
            ),
            ("cost", bold(dollars(answer.cost))),
            *((name.replace("_", " "), value) for name, value in more.items()),
        ]
    )
