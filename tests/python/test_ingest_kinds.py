"""A folder with one file of each kind is ingested, and a question about each is answered."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

import dure
import pytest

from tests.python.files.compound import compound
from tests.python.files.samples import SAMPLES, docx_bytes

if TYPE_CHECKING:
    from pathlib import Path

BAD = {
    "bad1.docx": (docx_bytes, "damaged archive"),
    "bad2.xlsx": (lambda: compound({"EncryptedPackage": b"x" * 5000}), "encrypted"),
    "bad3.pdf": (lambda: b"%PDF-1.4 nothing", "damaged PDF"),
    "bad4.exe": (lambda: b"MZ", "unknown type"),
    "bad5.txt": (lambda: b"", "empty"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    where = tmp_path / "files"
    where.mkdir()
    for sample in SAMPLES:
        (where / sample.name).write_bytes(sample.make())
    return where


def test_every_kind_ingests_and_answers(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with dure.Store.open(tmp_path / "store") as store:
        report = dure.ingest(folder, store=store)
        assert report.refused == []
        assert report.files == len(SAMPLES)
        for sample in SAMPLES:
            answer = dure.ask(sample.question, store=store)
            assert answer.sources[0].metadata["source"].endswith(sample.name), sample
            assert sample.fact in answer.text, (sample, answer.text)
        again = dure.ingest(folder, store=store)
        assert (again.skipped, again.embedded, again.chunks) == (len(SAMPLES), 0, 0)


def test_bad_files_are_reported_and_harm_no_other(folder: Path, tmp_path: Path) -> None:
    for name, (make, _) in BAD.items():
        raw = make()
        (folder / name).write_bytes(raw[: len(raw) // 2] if name == "bad1.docx" else raw)
    report = dure.ingest(folder, store=tmp_path / "store")
    refused = {one.path.rpartition("/")[2]: one.reason for one in report.refused}
    assert refused.keys() == BAD.keys()
    for name, (_, reason) in BAD.items():
        assert reason in refused[name]
    assert report.files == len(SAMPLES) + len(BAD)
    assert report.chunks >= len(SAMPLES)


def test_no_file_ends_the_ingest_of_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "good.txt").write_text("good words")
    (folder / os.fsdecode(b"\xff\xfe.txt")).write_text("a name of no encoding")
    (folder / "latin.txt").write_bytes("Stra\xdfe und caf\xe9 ".encode("latin-1") * 20)
    (folder / "wide.txt").write_text("\N{FAMILY}")
    monkeypatch.setitem(sys.modules, "charset_normalizer", None)
    report = dure.ingest(folder, store=tmp_path / "store", chunker=dure.Chunker(max_bytes=3))
    refused = {one.path.rpartition("/")[2]: one.reason for one in report.refused}
    assert refused.keys() == {"\\udcff\\udcfe.txt", "latin.txt", "wide.txt"}
    assert refused["\\udcff\\udcfe.txt"] == "its name is not UTF-8: rename it"
    assert "pip install" in refused["latin.txt"]
    assert "more than the cap of 3" in refused["wide.txt"]
    assert report.chunks > 0
    json.dumps(report.to_dict()).encode()


def test_pages_of_every_kind_reach_the_store(folder: Path, tmp_path: Path) -> None:
    with dure.Store.open(tmp_path / "store") as store:
        dure.ingest(folder, store=store, chunker=dure.Chunker(max_tokens=24))
        rows = store.collection("default").scroll().rows
    last: dict[str, int] = {}
    for row in rows:
        name = row.metadata["source"].rpartition("/")[2]
        last[name] = max(last.get(name, 0), row.metadata.get("page", 0))
    paged = {"d.pdf", "f.pptx", "g.xlsx", "l.epub", "m.hwpx", "n.hwp"}
    assert {name for name, page in last.items() if page} == paged
    assert {last[name] for name in paged} == {2}


def test_a_pipe_in_a_folder_is_refused_not_waited_for(tmp_path: Path) -> None:
    where = tmp_path / "files"
    where.mkdir()
    os.mkfifo(where / "p.txt")
    (where / "a.txt").write_text("자전거 보관소는 북문 옆.")
    report = dure.ingest(where, store=tmp_path / "store")
    assert [one.reason for one in report.refused] == ["not a regular file"]
    assert report.chunks == 1


def test_equal_length_does_not_hide_a_change(tmp_path: Path) -> None:
    """A file is skipped for its length and 128 bits of its bytes, whatever its time says."""
    path = tmp_path / "a.txt"
    path.write_text("The gate opens at 08:00.")
    stamp = path.stat()
    dure.ingest(path, store=tmp_path / "store")
    path.write_text("The gate opens at 09:30.")
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    report = dure.ingest(path, store=tmp_path / "store")
    assert (report.skipped, report.chunks) == (0, 1)
    answer = dure.ask("When does the gate open?", store=tmp_path / "store")
    assert "09:30" in answer.text
    assert "08:00" not in answer.text
