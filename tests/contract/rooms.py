"""Calls each room of the installed dure once, then prints what the process has mapped.

Run by test_wheel.py in an environment that holds only the wheel; needs nothing but numpy.
"""

from __future__ import annotations

import json
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any


def mapped() -> list[str]:
    lines = Path("/proc/self/maps").read_text().splitlines()
    paths = {line.split(maxsplit=5)[5] for line in lines if len(line.split(maxsplit=5)) == 6}
    return sorted(path for path in paths if ".so" in path)


def interpreter_only() -> list[str]:
    """What the interpreter's own modules bring, before dure is imported."""
    import asyncio
    import ctypes
    import decimal
    import sqlite3
    import ssl

    import numpy as np

    assert all((asyncio, ctypes, decimal, sqlite3, ssl, np))
    return mapped()


def every_room(folder: Path) -> None:
    import dure

    info = dure.build_info()
    assert info["version"] == dure.__version__
    assert dure.tokens.count("두레: many hands", model="gpt-4o") > 0
    assert dure.tokens.get_encoding("cl100k_base").decode([15339, 1917]) == "hello world"
    usage = {"prompt_tokens": 1000, "completion_tokens": 500}
    assert dure.cost(usage, model="gpt-4o-mini").pico == 450_000_000
    assert dure.models.select("StrategyBuilder", {"input_tokens": 10}).model_id
    text = "# Title\n\nOne sentence. Another one.\n\n두 번째 문단입니다. 문장이 더 있습니다."
    chunks = dure.Chunker(max_tokens=32).chunk(text)
    assert chunks.verify(text) == []
    assert len(dure.chunks.sentences(text)) >= 3
    with dure.Store.open(folder / "kb") as store:
        collection = store.collection("rooms")
        collection.upsert(texts=[f"number {i} of many" for i in range(64)])
        collection.optimize()
        assert collection.query("number 7", top_k=3)
    knowledge = folder / "rag"
    assert dure.ingest(list(dure.testing.documents()), store=knowledge).chunks > 0
    with (
        dure.testing.upstream.start() as upstream,
        dure.Client(base_url=upstream.url, data=folder) as client,
    ):
        messages = [{"role": "user", "content": "Hello?"}]
        ask: dict[str, Any] = {"model": "gpt-4o-mini", "messages": messages}
        assert client.chat.completions.create(**ask).usage.prompt_tokens > 0
        assert all(not isinstance(reply, Exception) for reply in client.map([ask] * 8))
        assert dure.ask("두레란 무엇인가요?", store=knowledge, client=client).sources
    assert dure.verify_ledger(folder).ok
    from dure import _testing

    assert _testing.FakeRandom(1).next() != 0


def main() -> None:
    before = interpreter_only()
    import dure

    with tempfile.TemporaryDirectory() as folder:
        every_room(Path(folder))
    seen = {
        "file": dure.__file__,
        "interpreter": sysconfig.get_path("stdlib"),
        "before": before,
        "after": mapped(),
    }
    sys.stdout.write(json.dumps(seen) + "\n")


if __name__ == "__main__":
    main()
