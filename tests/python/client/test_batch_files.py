"""Any number of requests as batches: within the limits of a file, each answered once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import dure
import pytest
from dure.calls import batch_files
from dure.calls.batch_files import BatchRun, files_of, reconcile
from dure.calls.batches import read_lines
from dure.testing import upstream

from .conftest import HELLO

if TYPE_CHECKING:
    from pathlib import Path

CHAT = "/v1/chat/completions"


def test_files_keep_to_lines_and_bytes() -> None:
    requests = {f"r{number}": HELLO for number in range(7)}
    by_lines = list(files_of(requests, CHAT, most_lines=3))
    assert [ids for _, ids in by_lines] == [["r0", "r1", "r2"], ["r3", "r4", "r5"], ["r6"]]
    line = by_lines[-1][0]
    assert json.loads(line) == {"custom_id": "r6", "method": "POST", "url": CHAT, "body": HELLO}
    by_bytes = list(files_of(requests.items(), CHAT, most_bytes=2 * len(line)))
    assert [len(ids) for _, ids in by_bytes] == [2, 2, 2, 1]
    assert all(len(content) <= 2 * len(line) for content, _ in by_bytes)
    assert (batch_files.MOST_LINES, batch_files.MOST_BYTES) == (50_000, 200_000_000)


def deep(levels: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(levels):
        found = [found]
    return found


@pytest.mark.parametrize(
    "requests",
    [
        {},
        [("a", HELLO), ("a", HELLO)],
        {"": HELLO},
        {"a": {"temperature": float("nan")}},
        [("a", "text")],
        {"a": {"input": "x" * 300}},
        {"\u2028": HELLO},
        {"\ud800": HELLO},
        "abc",
        [HELLO],
        [1, 2],
        None,
        {"a": {"input": deep(5000)}},
    ],
)
def test_what_is_no_request_is_named(requests: Any) -> None:  # noqa: ANN401
    with pytest.raises(dure.errors.InvalidArgumentError) as wrong:
        list(files_of(requests, CHAT, most_bytes=200))
    assert wrong.value.argument == "requests"


def test_a_line_ends_where_json_lines_end() -> None:
    line = json.dumps({"custom_id": "a", "response": "x\u2028y\x85z"}, ensure_ascii=False)
    assert [found["response"] for found in read_lines(f"{line}\n\n{line}\r\n", "output")] == [
        "x\u2028y\x85z"
    ] * 2


def test_each_request_is_in_one_place() -> None:
    run = BatchRun(("b",), ("a", "b", "c"))
    good = {"custom_id": "a", "response": {"status_code": 200, "body": {"id": "x"}}}
    told = {"error": {"message": "bad", "code": "c1"}}
    bad = {"custom_id": "b", "response": {"status_code": 400, "request_id": "r", "body": told}}
    found = reconcile(run, [bad, good], ended=True)
    assert found.answers == {"a": {"id": "x"}}
    assert (found.errors["b"].status_code, found.errors["b"].code) == (400, "c1")
    assert found.missing == ("c",)
    for lines in ([good, good], [{"custom_id": "z"}]):
        with pytest.raises(dure.errors.UpstreamError, match="not sent"):
            reconcile(run, lines, ended=True)


def test_many_requests_come_back_by_name_and_are_paid_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        batch_files.files_of, "__kwdefaults__", {"most_lines": 2, "most_bytes": 999}
    )
    with (
        upstream.start() as server,
        dure.Client(base_url=server.url, api_key="k", data=tmp_path) as client,
    ):
        requests = {f"r{n}": {**HELLO, "max_tokens": 8 + n} for n in range(5)}
        run = client.batches.submit(requests, dure=dure.Call(org="acme"))
        assert len(run.batch_ids) == 3
        found = client.batches.collect(run)
        assert found.ended
        assert sorted(found.answers) == sorted(requests)
        assert (found.errors, found.missing) == ({}, ())
        book = dure.PriceBook()
        usage = found.answers["r0"]["usage"]
        assert usage["prompt_tokens"] > 0
        assert book.cost(usage, model="gpt-4o-mini", service_tier="batch").pico > 0
    report = dure.verify_ledger(tmp_path)
    assert report.ok
    assert (report.open_holds, report.spent_pico > 0) == (0, True)


def test_a_part_that_does_not_fit_stops_those_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        batch_files.files_of, "__kwdefaults__", {"most_lines": 1, "most_bytes": 999}
    )
    with (
        upstream.start() as server,
        dure.Client(base_url=server.url, api_key="k", data=tmp_path) as client,
    ):
        with pytest.raises(dure.errors.InvalidModelError):
            client.batches.submit({"a": HELLO | {"max_tokens": 8}, "b": {**HELLO, "model": "no"}})
        paths = [hit["path"] for hit in server.log()]
    assert paths.count("/v1/batches") == 1
    assert paths[-1].endswith("/cancel")
