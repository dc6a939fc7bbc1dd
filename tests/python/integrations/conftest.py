"""One server for the module, and an environment in which bare clients use it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from dure.testing import upstream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def server() -> Iterator[upstream.Upstream]:
    with upstream.start(seed=5) as running:
        yield running


@pytest.fixture
def environment(server: upstream.Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point `OPENAI_BASE_URL` at the server; return the data folder."""
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-key-of-nobody")
    monkeypatch.setenv("DURE_DATA", str(tmp_path))
    return tmp_path
