"""`Chunks.to_arrow` on the real pyarrow."""

from __future__ import annotations

import dure
import pytest

pa = pytest.importorskip("pyarrow", reason='pip install "dure[arrow]"')

TEXT = "# 제목\n\n" + "한 문장이다. A sentence. " * 40


def test_all_columns_and_texts_come_over() -> None:
    chunks = dure.Chunker(40).chunk(TEXT)
    table = chunks.to_arrow()
    assert table.schema.field("hash64").type == pa.uint64()
    assert table.schema.field("byte_start").type == pa.int64()
    plain = table.to_pydict()
    assert plain.pop("heading_path") == [list(chunk.heading_path) for chunk in chunks]
    assert plain == chunks.to_dict()
    empty = dure.Chunker(40).chunk("").to_arrow()
    assert empty.num_rows == 0
    assert pa.concat_tables([empty, table]).equals(table), "an empty table has the same types"
