"""Which files an ingest takes, and what it does with those it cannot read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dure

if TYPE_CHECKING:
    from pathlib import Path


def test_a_link_that_leads_to_itself_is_refused_and_the_rest_goes_on(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "good.txt").write_text("A village pools its work.")
    (docs / "self.txt").symlink_to("self.txt")
    report = dure.ingest([docs], store=tmp_path / "kb")
    assert report.chunks == 1
    assert [refusal.path.endswith("self.txt") for refusal in report.refused] == [True]
