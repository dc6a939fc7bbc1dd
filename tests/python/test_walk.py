"""Which files an ingest takes, and what it does with those it cannot read."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import dure

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_link_that_leads_to_itself_is_refused_and_the_rest_goes_on(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "good.txt").write_text("A village pools its work.")
    (docs / "self.txt").symlink_to("self.txt")
    report = dure.ingest([docs], store=tmp_path / "kb")
    assert report.chunks == 1
    assert [refusal.path.endswith("self.txt") for refusal in report.refused] == [True]


def test_a_folder_that_cannot_be_read_is_refused_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "docs" / "closed").mkdir(parents=True)
    (tmp_path / "docs" / "good.txt").write_text("A village pools its work.")
    scandir = os.scandir

    def refusing(path: os.PathLike[str] | str) -> object:
        if os.fspath(path).endswith("closed"):  # root may read everything, so say no for the disk
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    report = dure.ingest([tmp_path / "docs"], store=tmp_path / "kb")
    assert report.chunks == 1
    refusal = report.refused[0]
    assert refusal.path.endswith("closed")
    assert refusal.reason == "unreadable folder: Permission denied"


def test_prune_leaves_what_no_ingest_wrote(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for name in ("stays", "goes"):
        (tmp_path / "docs" / f"{name}.txt").write_text(f"The file that {name}.")
    with dure.Store.open(tmp_path / "kb") as store:
        dure.ingest([tmp_path / "docs"], store=store)
        col = store.collection("default", embedder=dure.local.HashEmbedder())
        col.upsert(dure.Chunker(64).chunk("A note of my own."), document="n")
        (tmp_path / "docs" / "goes.txt").unlink()
        report = dure.ingest([tmp_path / "docs"], store=store, prune=True)
        assert report.removed == 1
        assert col.count() == 2


def test_copies_of_a_file_are_one_source(tmp_path: Path) -> None:
    for i in range(9):
        (tmp_path / "docs" / str(i)).mkdir(parents=True)
        (tmp_path / "docs" / str(i) / "a.txt").write_text("Many hands make light work, they say.")
    (tmp_path / "docs" / "b.txt").write_text("Light work was hard to find in the village.")
    dure.ingest([tmp_path / "docs"], store=tmp_path / "kb")
    answer = dure.ask("Who makes light work?", store=tmp_path / "kb", top_k=2)
    assert len({hit.text for hit in answer.sources}) == 2


def test_a_store_is_its_owners_alone(tmp_path: Path) -> None:
    folder = tmp_path / "kb"
    folder.mkdir(mode=0o755)
    with dure.Store.open(folder) as store:
        store.collection("a", dim=2).upsert(ids=["x"], embeddings=[[1.0, 0.0]], texts=["secret"])
        shared = [path.name for path in folder.iterdir() if path.stat().st_mode & 0o077]
    assert shared == []
