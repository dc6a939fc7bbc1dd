"""`dure._sync` is what `scripts/async_to_sync.py` makes of `dure.aio`."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_sync_client_is_generated_from_the_async_one() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/async_to_sync.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
