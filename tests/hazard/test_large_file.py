"""A file of 4 GB is cut in memory that does not grow with it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 4_000_000_000
MOST = 64_000_000  # beyond the pages of the file and one batch
# The child's own memory (RssAnon: no page of the file) is looked at while it works.
CUT = """
import re, sys, threading, time
from pathlib import Path
import dure
cap, path, mode = sys.argv[1:4]
def own():
    return 1024 * int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
chunker = dure.Chunker(**{cap: 512 if cap == "max_tokens" else 1000}, mode=mode)
chunker.chunk("warm up the encoding and the libraries. " * 50_000).columns()
start, peak, done = own(), [0], threading.Event()
def watch():
    while not done.wait(0.005):
        peak[0] = max(peak[0], own())
watcher = threading.Thread(target=watch)
watcher.start()
rows = batch = end = 0
for chunks in chunker.chunk_file(path):
    rows += len(chunks)
    assert len(chunks) <= 65536
    batch = max(batch, sum(column.nbytes for column in chunks.columns().values()) * 2)
    end = int(chunks.byte_end[-1])
done.set()
watcher.join()
print(rows, end, peak[0] - start, batch)
"""


@pytest.mark.soak
@pytest.mark.parametrize(
    ("cap", "mode", "part"),  # what costs more time is a part of the file, which shows the same
    [
        ("max_chars", "text", 1),
        ("max_tokens", "text", 4),
        *(("max_chars", mode, 8) for mode in ("markdown", "html", "code", "csv", "jsonl")),
    ],
)
@pytest.mark.skipif("DURE_ASAN" in os.environ, reason="a sanitizer has memory of its own")
def test_memory_does_not_grow_with_the_file(cap: str, mode: str, part: int, tmp_path: Path) -> None:
    size = SIZE // part
    if shutil.disk_usage(tmp_path).free < size + 1_000_000_000:
        pytest.skip("needs 5 GB of disk")
    sentences = [
        f"문장 {i}은 길이가 {i * i}인 글이다. Sentence {i} is {i**3} long. " for i in range(99)
    ]
    text = "".join(sentences[:50]) + "\n\n" + "".join(sentences[50:]) + "\n"
    text += {
        "markdown": "## A title\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n",
        "html": "<h2>A title</h2><table><tr><th>a</th></tr><tr><td>1</td></tr></table>\n",
        "code": "def f(x):\n    return x\n\n\n",
        "csv": '1,"two\nlines"\n2,b\n',
        "jsonl": '{"a": 1, "b": [2, 3]}\n',
    }.get(mode, "")
    block = text.encode() * 200
    large = tmp_path / "large.txt"
    with large.open("wb") as file:
        while file.tell() < size:
            file.write(block)
    done = subprocess.run(
        [sys.executable, "-c", CUT, cap, large, mode], capture_output=True, text=True, check=True
    )
    rows, end, peak, batch = map(int, done.stdout.split())
    used = f"{peak / 1e6:.1f} MB beyond the file, a batch {batch / 1e6:.1f}"
    print(f"{cap}, {mode}: {rows:,} chunks, {used}")  # noqa: T201
    assert rows > size / 10_000
    assert end >= large.stat().st_size - 10
    assert peak <= MOST + batch
