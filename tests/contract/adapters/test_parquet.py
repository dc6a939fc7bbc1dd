"""Export to Parquet and back on the real pyarrow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dure
import numpy as np
import pytest
from dure import errors

pq = pytest.importorskip("pyarrow.parquet", reason='pip install "dure[arrow]"')

if TYPE_CHECKING:
    from pathlib import Path


def test_a_round_trip_keeps_every_bit(tmp_path: Path) -> None:
    vectors = np.random.default_rng(2).normal(size=(2300, 5)).astype(np.float32)
    with dure.Store.open(tmp_path / "kb") as store:
        col, other = store.collection("a"), store.collection("b")
        metadata: list[dict[str, Any]] = [{"n": i, "l": ["가", i / 3]} for i in range(2300)]
        texts = [None if i % 5 == 0 else f"글 {i}" for i in range(2300)]
        ids = [f"r{i}" for i in range(2300)]
        col.upsert(ids=ids, embeddings=vectors, texts=texts, metadata=metadata)
        assert col.export(tmp_path / "a.parquet", format="parquet") == 2300
        table = pq.read_table(tmp_path / "a.parquet")
        assert table.num_rows == 2300
        assert str(table.schema.field("vector").type) == "fixed_size_list<element: float>[5]"
        assert other.load(tmp_path / "a.parquet", format="parquet") == 2300
        for left, right in zip(
            col.get(ids, include=["vector"]), other.get(ids, include=["vector"]), strict=True
        ):
            assert left.to_dict() == right.to_dict()

        seq = col.seq
        col.delete(ids=["r7"])
        assert col.export(tmp_path / "more.parquet", format="parquet", since=seq) == 1
        assert other.load(tmp_path / "more.parquet", format="parquet") == 1
        assert other.count() == 2299
        empty = store.collection("c")
        assert empty.export(tmp_path / "none.parquet", format="parquet") == 0
        assert other.load(tmp_path / "none.parquet", format="parquet") == 0
        (tmp_path / "bad.parquet").write_bytes(b"no parquet at all")
        with pytest.raises(errors.FileRefusedError):
            other.load(tmp_path / "bad.parquet", format="parquet")
