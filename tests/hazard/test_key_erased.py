"""After close() no copy of a key is left in memory; the wheel's test asks the same of engine A."""

import sys
from pathlib import Path

import pytest

from tests.contract.memory_search import left_after_close


@pytest.mark.skipif("asan" in sys.argv[0], reason="a sanitizer keeps freed memory")
def test_engine_b_leaves_no_key() -> None:
    before, after = left_after_close(Path(sys.executable), "b")
    assert before > 0, "the search must find it while it is there"
    assert after == 0
