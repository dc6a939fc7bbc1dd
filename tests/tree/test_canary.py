"""The canary sees keys where a run could leave them."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from tests.canary import CANARY, leaks_in_files, leaks_in_text

if TYPE_CHECKING:
    from pathlib import Path


def test_a_key_is_seen_in_text_and_in_files(tmp_path: Path) -> None:
    assert leaks_in_text(f"Authorization: Bearer {CANARY}") == [CANARY]
    assert leaks_in_text("Authorization: Bearer ***") == []
    (tmp_path / "clean").write_text("nothing")
    assert list(leaks_in_files(tmp_path)) == []
    (tmp_path / "deep").mkdir()
    database = sqlite3.connect(tmp_path / "deep" / "kept.db")
    database.execute("CREATE TABLE t (x)")
    database.execute("INSERT INTO t VALUES (?)", (f"x{CANARY}x",))
    database.commit()
    database.close()
    assert list(leaks_in_files(tmp_path)) == [str(tmp_path / "deep" / "kept.db")]
    (tmp_path / "deep" / "kept.db").unlink()  # the run itself is looked through too
