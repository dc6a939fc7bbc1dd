"""The examples of the guides run as they stand, one after the other."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

GUIDES = Path(__file__).parents[2] / "docs" / "guides"
EXPECTED = {
    "files-and-chunks.md": [
        "markdown markdown",
        "0 40 11 '# Opening hours\\n\\nThe library opens at 9.'",
        "unknown type '.doc': save it as .docx",
        "larger than 10 bytes",
    ]
}


@pytest.mark.parametrize("name", EXPECTED)
def test_examples_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (GUIDES / name).read_text("utf-8"), re.DOTALL)
    assert len(blocks) >= 3
    monkeypatch.chdir(tmp_path)
    printed = io.StringIO()
    names: dict[str, object] = {}
    with contextlib.redirect_stdout(printed):
        for block in blocks:
            exec(block, names)
    for line in EXPECTED[name]:
        assert line in printed.getvalue().splitlines(), printed.getvalue()
