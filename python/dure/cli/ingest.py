"""`dure ingest PATH...`: files into the store, unchanged ones skipped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .output import complain, dollars, print_json, rows
from .places import store_folder
from .provider import embedder_of, opened_client

if TYPE_CHECKING:
    import argparse

    from dure.rag import IngestReport


def run(options: argparse.Namespace) -> int:
    """Ingest; every refused file gets a line on stderr."""
    from dure import rag
    from dure.chunks import Chunker

    with opened_client(options) as client:
        report = rag.ingest(
            options.paths,
            store=store_folder(options),
            collection=options.collection,
            embedder=embedder_of(options.embed_model, client),
            chunker=Chunker(options.max_tokens),
            client=client,
            prune=options.prune,
            progress=None if options.json else True,
        )
    for refused in report.refused:
        complain(f"{refused.path}: {refused.reason}")
    if options.json:
        print_json(report.to_dict())
    else:
        show(report)
    return 1 if report.refused else 0


def show(report: IngestReport) -> None:
    """Print the report."""
    rate = report.bytes / 1e6 / report.seconds if report.seconds else 0.0
    rows(
        [
            ("files", f"{report.files:,}, of which unchanged {report.skipped:,}"),
            ("chunks", f"{report.chunks:,}, embedded {report.embedded:,}"),
            ("tokens", f"{report.tokens:,}"),
            ("time", f"{report.seconds:.2f} s, {rate:.1f} MB/s"),
            ("cost", "not known" if report.cost is None else dollars(report.cost)),
            *([("removed", f"{report.removed:,} documents")] if report.removed else []),
            *([("refused", f"{len(report.refused):,} files")] if report.refused else []),
        ]
    )
