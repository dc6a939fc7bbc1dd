"""Ctrl-C ends every long native computation at once; what comes after works as ever."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import dure
import numpy as np
import pytest
from dure import _core, chunks, costs, tokens
from dure.testing import documents

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


# Of its own CPU time or of the clock, whichever is less: a crowded machine is no deafness.
GRANTED_SECONDS = 4.0 if "DURE_ASAN" in os.environ else 0.8
ENGLISH = "The quick brown fox jumps over the lazy dog; it's 12,345 times as quick. " * 1_500_000
KOREAN = documents()[0].read_text(encoding="utf-8") * 6_000
SHORT = [ENGLISH[i : i + 300] for i in range(0, 30_000, 7)] * 120
CODING = tokens.get_encoding("o200k_base")
CHUNKER = dure.Chunker(max_tokens=64)
CHUNKS = CHUNKER.chunk(ENGLISH[:30_000_000])


LONG: dict[str, Callable[[], object]] = {
    "count": lambda: CODING.count(ENGLISH),
    "count of one endless word": lambda: CODING.count("a" * 60_000_000),
    "count of Korean": lambda: CODING.count(KOREAN * 3),
    "count_batch": lambda: CODING.count_batch(SHORT * 4),
    "count_batch on one thread": lambda: CODING.count_batch(SHORT * 2, threads=1),
    "encode": lambda: CODING.encode(ENGLISH),
    "encode_batch": lambda: CODING.encode_batch(SHORT),
    "truncate": lambda: CODING.truncate(ENGLISH, 10**9),
    "split_at": lambda: CODING.split_at(ENGLISH, 100, overlap=10),
    "split_at of one endless word": lambda: CODING.split_at("a" * 300_000, 100),
    "prefix counts": lambda: tokens.PrefixCounts(ENGLISH),
    "chunk": lambda: CHUNKER.chunk(ENGLISH),
    "chunk of Korean": lambda: dure.Chunker(512, mode="markdown").chunk(KOREAN),
    "chunk_many": lambda: CHUNKER.chunk_many([ENGLISH[:2_000_000]] * 60),
    "verify": lambda: CHUNKS.verify(ENGLISH[:30_000_000]),
    "sentences": lambda: chunks.sentences(KOREAN * 2),
    "Counter.append": lambda: tokens.Counter().append(ENGLISH),
    "Counter.append of one endless word": lambda: tokens.Counter().append("a" * 30_000_000),
    "embed": lambda: dure.local.HashEmbedder().embed_documents(SHORT * 2),
}


def check_interrupt(work: Callable[[], object]) -> None:
    """Send SIGINT while `work` runs: it ends in time, by KeyboardInterrupt."""
    sent = [0.0, 0.0]

    def interrupt() -> None:
        sent[:] = time.monotonic(), time.process_time()
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(0.15, interrupt)
    timer.start()
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - or just after, on a fast machine
        work()
        timer.join()
        time.sleep(1)
    took = min(time.monotonic() - sent[0], time.process_time() - sent[1])
    assert took < GRANTED_SECONDS


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", LONG)
def test_an_interrupt_is_heard(name: str) -> None:
    check_interrupt(LONG[name])
    assert CODING.count("still exact") == 2
    assert CHUNKER.chunk("Still whole.").verify("Still whole.") == []


@pytest.mark.timeout(180)
def test_an_interrupt_ends_the_reading_of_a_ledger(tmp_path: Path) -> None:
    account = _core.money.Account.open(str(tmp_path))
    prices, now = costs.shipped().native, _core.money.wall_us()
    for n in range(120_000):
        account.record(
            prices,
            ["org:a"],
            model="gpt-4o",
            service="",
            input_tokens=n,
            output_tokens=1,
            at_us=now,
        )
    (file,) = _core.money.ledger_files(str(tmp_path))
    check_interrupt(lambda: _core.money.read_ledger(file))
    assert costs.verify_ledger(tmp_path).ok


@pytest.mark.timeout(180)
def test_an_interrupt_leaves_sealing_to_the_background(tmp_path: Path) -> None:
    vectors = np.random.default_rng(1).standard_normal((24_000, 96), dtype=np.float32)
    with dure.Store.open(tmp_path / "store", durability="normal") as store:
        col = store.collection("c", dim=96)
        col.upsert(embeddings=vectors, ids=[f"{n:05}" for n in range(len(vectors))])
        check_interrupt(col.optimize)
        col.optimize()
        assert [hit.id for hit in col.query(vector=vectors[7], top_k=1)] == ["00007"]
