"""A real Redis on a unix socket, for the tests that need one."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def redis_server() -> Iterator[str]:
    """Give the URL of a server that is stopped at the end; skip where there is none."""
    if shutil.which("redis-server") is None:
        pytest.skip("no redis-server on this machine")
    folder = tempfile.mkdtemp(prefix="rd")  # short: a socket's path has 107 bytes at most
    path = f"{folder}/s"
    arguments = ["--port", "0", "--unixsocket", path, "--save", "", "--dir", folder]
    server = subprocess.Popen(["redis-server", *arguments], stdout=subprocess.DEVNULL)
    try:
        while subprocess.run(["redis-cli", "-s", path, "ping"], capture_output=True).returncode:  # noqa: PLW1510
            assert server.poll() is None
            time.sleep(0.02)
        yield f"unix://{path}"
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)
