"""`dure ingest PATH...`: files into the store, unchanged ones skipped."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from .output import complain, counted, dim, dollars, print_json, rows, say
from .places import store_folder
from .provider import embedder_of, opened_client

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from dure.rag import IngestReport, Refusal

MAX_REASONS = 12
MAX_NAMES = 3


def run(options: argparse.Namespace) -> int:
    """Ingest; refused files are summed up by reason, and listed one by one by `--verbose`."""
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
    if options.json:
        print_json(report.to_dict())
    else:
        show(report)
    if options.verbose or len(report.refused) == 1:
        for one in report.refused:
            complain(f"{one.path}: {one.reason}")
    elif report.refused:
        hint = "" if options.json else ": --verbose lists them on stderr, --json in its document"
        complain(f"{counted(len(report.refused), 'file')} refused{hint}")
    return 1 if report.refused else 0


def show(report: IngestReport) -> None:
    """Print the report."""
    rate = report.bytes / 1e6 / report.seconds if report.seconds else 0.0
    rows(
        [
            ("files", f"{report.files:,}, unchanged {report.skipped:,}"),
            ("chunks", f"{report.chunks:,}, embedded {report.embedded:,}"),
            ("tokens", f"{report.tokens:,}"),
            ("time", f"{report.seconds:.2f} s, {rate:.1f} MB/s"),
            ("cost", "not known" if report.cost is None else dollars(report.cost)),
            *([("removed", counted(report.removed, "document"))] if report.removed else []),
            *([("refused", counted(len(report.refused), "file"))] if report.refused else []),
        ]
    )
    if len(report.refused) > 1:
        say()
        rows(_by_reason(report.refused), indent="    ")


def _by_reason(refused: Sequence[Refusal]) -> list[tuple[str, str]]:
    """Return for each reason, most frequent first, how many files and the names of a few."""
    groups: dict[str, list[Refusal]] = {}
    for one in refused:
        groups.setdefault(re.sub(r"\d[\d,]*", "N", one.reason.split(": ")[0]), []).append(one)
    lines = []
    for found in sorted(groups.values(), key=len, reverse=True)[:MAX_REASONS]:
        alike = {one.reason for one in found}
        reason = alike.pop() if len(alike) == 1 else found[0].reason.split(": ")[0]
        names = [Path(one.path).name for one in found[:MAX_NAMES]]
        more = ", ..." if len(found) > len(names) else ""
        lines.append((f"{len(found):,}", f"{reason}  {dim(', '.join(names) + more)}"))
    if len(groups) > MAX_REASONS:
        lines.append(("...", f"{counted(len(groups) - MAX_REASONS, 'other reason')}"))
    return lines
