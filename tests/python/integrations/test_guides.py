"""Every example of the how-to pages runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dure
import pytest
from dure._core import policy

from tests.redis_server import redis_server

from .guides import blocks

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("index", range(len(blocks("resources"))))
def test_resources(index: int, environment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    exec(compile(blocks("resources")[index], "resources.md", "exec"), names)
    if "judge" in names:  # the server's model writes no JSON: what it says is refused
        with pytest.raises(dure.errors.UpstreamError, match="no Verdict"):
            names["judge"](dure.Client(), "two and two are four")
    else:
        assert capsys.readouterr().out
    report = dure.verify_ledger(environment)
    assert report.ok
    assert report.open_holds == 0


@pytest.mark.usefixtures("environment")
def test_answers_in_redis(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = (code for code in blocks("traffic") if "REDIS_URL" in code)
    with redis_server() as url:
        monkeypatch.setenv("REDIS_URL", url)
        exec(compile(code, "traffic.md", "exec"), {})
    assert capsys.readouterr().out


@pytest.mark.parametrize("page", ["traffic", "stages"])
def test_traffic_and_stages(
    page: str, environment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for code in blocks(page):
        assert len(code.splitlines()) <= 22
        if "REDIS_URL" in code:
            continue
        exec(compile(code, f"{page}.md", "exec"), {})
        assert capsys.readouterr().out
    policy.reset()
    report = dure.verify_ledger(environment)
    assert report.ok
    assert report.open_holds == 0
