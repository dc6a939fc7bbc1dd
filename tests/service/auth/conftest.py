"""The app on both databases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from dure.testing import upstream

from tests.postgres import postgres_server
from tests.service.inside import Inside, inside

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from dure.testing.upstream import Upstream


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    with postgres_server() as url:
        yield url


@pytest.fixture(scope="session")
def provider() -> Iterator[Upstream]:
    with upstream.start(seed=5) as running:
        yield running


@pytest.fixture(autouse=True)
def _environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory, provider: Upstream
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.getbasetemp() / "config"))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-behind-the-service")
    monkeypatch.setenv("OPENAI_BASE_URL", provider.url)


@pytest.fixture
async def app(tmp_path: Path, place: dict[str, Any]) -> AsyncIterator[Inside]:
    async with inside(tmp_path, **place) as found:
        yield found
