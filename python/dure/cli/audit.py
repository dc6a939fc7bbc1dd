"""`dure audit verify`: whether a row of the audit log was changed, removed or put in."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from ._service import opened
from .output import complain, counted, print_json, say

if TYPE_CHECKING:
    import argparse

    from dure.service.kit.audit import AuditReport


def run(options: argparse.Namespace) -> int:
    """Check the chain of one organisation."""
    import asyncio

    report = asyncio.run(_verify(options))
    if options.json:
        print_json(asdict(report))
    elif report.ok:
        say(f"whole: {counted(report.rows, 'row')}, head {report.head[:16]}")
    if not report.ok:
        complain(f"the audit log of {options.org} was changed at row {report.first_difference}")
    return 0 if report.ok else 1


async def _verify(options: argparse.Namespace) -> AuditReport:
    from dure.service.kit import audit

    async with opened(options) as (database, secret), database.read() as work:
        return await audit.verify(work, secret, options.org)
