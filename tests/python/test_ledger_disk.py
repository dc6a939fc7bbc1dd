"""The ledger on a real small disk that fills up, and under hands that cut it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from dure import _core, costs
from dure.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Account = _core.money.Account
SCOPES = [f"{kind}:{'x' * 60}" for kind in ("org", "user", "team", "key")]


@pytest.fixture
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A tmpfs of so many KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={request.param}k", "none", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount on this machine")
    if done.returncode != 0:
        pytest.skip(f"this process may not mount: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


def call(account: _core.money.Account) -> tuple[int, int]:
    return account.reserve(SCOPES, input_pico=1, input_tokens=1, output_rate=0, max_output=0)


@pytest.mark.parametrize("small_disk", [1024], indirect=True)
def test_a_disk_without_room_for_a_ledger_is_refused(small_disk: Path) -> None:
    with pytest.raises(StorageError, match="free some space"):
        Account.open(str(small_disk))
    assert not list(small_disk.glob("ledger/*.ledger"))


@pytest.mark.parametrize("small_disk", [3072], indirect=True)
@pytest.mark.parametrize("power", [False, True])
def test_a_full_disk_stops_admission_and_loses_nothing(small_disk: Path, power: bool) -> None:
    account = Account.open(str(small_disk), power=power)
    account.set_budget(
        "org:" + "x" * 60, limit=10**12, unit="usd", window="lifetime", zone="UTC", edges_us=[],
        rolling_us=0, on_limit="block", alerts=[],
    )  # fmt: skip
    kept = [call(account) for _ in range(3)]
    for hold in kept:
        account.sent(hold)
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space left"):
        fill(filler)
    settled = 0
    try:
        while True:  # what was allocated ahead is used up first
            hold = call(account)
            account.sent(hold)
            account.settle(hold, pico=1, input_tokens=1, output_tokens=0)
            settled += 1
    except StorageError as error:
        assert "No space left" in str(error)  # noqa: PT017 - it ends the loop
        assert ".new" not in str(error)  # noqa: PT017
    with pytest.raises(StorageError):
        account.settle(kept[0], pico=1, input_tokens=1, output_tokens=0)
    (state,) = account.budgets("org:" + "x" * 60)
    assert state["used"] <= settled + 1
    assert state["held"] >= 3  # what could not be written counts as held
    filler.unlink()
    time.sleep(0.15)  # the disk is tried again ten times a second
    account.settle(kept[1], pico=1, input_tokens=1, output_tokens=0)
    account.settle(kept[2], pico=1, input_tokens=1, output_tokens=0)
    assert account.totals()["unwritten"] == 0
    del account
    Account.open(str(small_disk))  # the call that met the full disk is settled by rule
    report = costs.verify_ledger(small_disk)
    assert report.ok, report.first_difference
    assert report.open_holds == 0
    assert settled + 3 <= report.spent_pico <= settled + 4


@pytest.mark.skipif("DURE_ASAN" in os.environ, reason="its SIGBUS is no report of a sanitizer")
def test_a_ledger_cut_by_hand_under_its_writer(tmp_path: Path) -> None:
    """The next step of a mebibyte meets it with an error; no record is lost without a word."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            account = Account.open(str(tmp_path))
            (path,) = (tmp_path / "ledger").glob("*.ledger")
            written = 0
            while path.stat().st_size < 2 << 20:  # the first MiB is full, the second mapped
                call(account)
                written += 1
            os.truncate(path, path.stat().st_size - 4096)
            try:
                while True:
                    call(account)
            except StorageError as error:
                code = 0 if "cut by another program" in str(error) else 2
        finally:
            os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    # A store into what was cut away is SIGBUS: it ends the process, never the ledger's truth.
    assert status in {0, -signal.SIGBUS}
    Account.open(str(tmp_path))
    report = costs.verify_ledger(tmp_path)
    assert report.ok, report.first_difference
    assert report.open_holds == 0
