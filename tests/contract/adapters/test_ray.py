"""Chunks and ingest over Ray Data on a local Ray: those of one process, byte for byte."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import dure
import pytest
from dure import files

pytest.importorskip("ray.data", reason='pip install "dure[ray]"')

import ray
from dure.integrations import ray as dure_ray

from tests.python.files.samples import SAMPLES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("default"),  # Ray's own
]


@pytest.fixture(scope="module", autouse=True)
def local_ray() -> Iterator[None]:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    where = tmp_path / "files"
    where.mkdir()
    for sample in SAMPLES:
        (where / sample.name).write_bytes(sample.make())
    chance = random.Random(1)
    words = ["가나다 ", "sentence. ", "그랬습니다. ", "\n\n", "# 제목\n\n", "word ", "👨‍👩‍👧 "]
    for i in range(20):
        (where / f"long{i}.md").write_text("".join(chance.choices(words, k=5000)))
    (where / "bad.docx").write_bytes(b"PK\x03\x04 broken")
    return where


def chunker() -> dure.Chunker:
    return dure.Chunker(64, overlap=8)


def test_chunks_are_the_same_byte_for_byte(folder: Path) -> None:
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in dure_ray.chunks(folder, chunker=chunker()).iter_rows():
        rows.setdefault(row["source"], []).append(row)
    bad = rows.pop(str(folder / "bad.docx"))
    assert [(row["n"], row["refused"][:15]) for row in bad] == [(-1, "damaged archive")]
    assert len(rows) == len(SAMPLES) + 20
    for path, found in rows.items():
        expected = chunker().chunk(files.load(path))
        found.sort(key=lambda row: int(row["n"]))
        assert [row["n"] for row in found] == list(range(len(expected)))
        assert [row["text"] for row in found] == list(expected.text)
        assert [row["embed_text"] for row in found] == list(expected.embed_text)
        for name, column in expected.columns().items():
            assert [int(row[name]) for row in found] == column.tolist(), (path, name)
        headings = [" > ".join(chunk.heading_path) for chunk in expected]
        assert [row["heading"] for row in found] == headings


def stored(store: dure.Store) -> list[tuple[Any, ...]]:
    rows, after = [], None
    while True:
        page = store.collection("default").scroll(after=after)
        rows += [
            (row.id, row.text, sorted(row.metadata.items()), row.document) for row in page.rows
        ]
        after = page.next
        if after is None:
            return sorted(rows)


def test_a_store_is_filled_as_by_ingest(folder: Path, tmp_path: Path) -> None:
    with (
        dure.Store.open(tmp_path / "a") as one,
        dure.Store.open(tmp_path / "b") as other,
    ):
        expected = dure.ingest(folder, store=one, chunker=chunker())
        report = dure_ray.ingest(folder, store=other, chunker=chunker())
        assert stored(one) == stored(other)
        for name in ("files", "skipped", "chunks", "tokens", "bytes", "embedded", "cost"):
            assert getattr(report, name) == getattr(expected, name), name
        assert [one.path for one in report.refused] == [str(folder / "bad.docx")]

        (folder / "long3.md").write_text("# 새 글\n\n바뀐 내용이다.")
        again = dure_ray.ingest(folder, store=other, chunker=chunker())
        assert (again.files, again.skipped, again.chunks) == (report.files, report.files - 2, 1)
        dure.ingest(folder, store=one, chunker=chunker())
        assert stored(one) == stored(other)
