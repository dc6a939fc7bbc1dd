"""Work that the app does now and then beside its calls."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from dure.errors import StorageError
from dure.service.app import _every

if TYPE_CHECKING:
    import pytest


async def test_work_under_way_is_not_broken_off_when_the_app_ends() -> None:
    """A driver that is cancelled inside a statement may break its connection."""
    begun, ended = asyncio.Event(), list[int]()

    async def work() -> None:
        begun.set()
        await asyncio.sleep(0.05)
        ended.append(len(ended))

    async with _every(0.001, work, at_end=False):
        await begun.wait()
    assert ended == [0]


async def test_the_last_look_comes_when_nothing_is_under_way() -> None:
    running = looks = 0

    async def work() -> None:
        nonlocal running, looks
        running += 1
        assert running == 1
        await asyncio.sleep(0.01)
        running, looks = running - 1, looks + 1

    async with _every(0.001, work):
        await asyncio.sleep(0.015)
    assert looks >= 2


async def test_what_fails_is_tried_again_and_a_fault_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    errors, done = [StorageError("the database is busy"), RuntimeError("a fault")], asyncio.Event()

    async def work() -> None:
        if errors:
            raise errors.pop(0)
        done.set()

    with caplog.at_level(logging.ERROR, "dure.service"):
        async with _every(0.001, work, at_end=False):
            await asyncio.wait_for(done.wait(), 30)
    assert [record.exc_info[1].args for record in caplog.records if record.exc_info] == [  # type: ignore[union-attr]
        ("a fault",)
    ]
