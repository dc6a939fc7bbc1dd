"""Many requests as files of batches within the provider's limits, and their answers by name."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dure.errors import InvalidArgumentError, UpstreamError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["BatchResults", "BatchRun", "files_of", "reconcile"]

MOST_LINES = 50_000  # OpenAI's limits of one file
MOST_BYTES = 200_000_000

Requests = Mapping[str, Mapping[str, Any]] | Iterable[tuple[str, Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class BatchRun:
    """Batches that were started together.

    Attributes:
        batch_ids: Of the provider, in the order of the requests.
        custom_ids: Of every request.
    """

    batch_ids: tuple[str, ...]
    custom_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BatchResults:
    """What came of each request: it is in exactly one of the three.

    Attributes:
        ended: Every batch has ended.
        answers: The provider's body, by `custom_id`.
        errors: Of requests that were refused or failed.
        missing: Not carried out: not yet, or never, if all has ended.
    """

    ended: bool
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    errors: dict[str, UpstreamError] = field(default_factory=dict)
    missing: tuple[str, ...] = ()


def files_of(
    requests: Requests,
    endpoint: str,
    *,
    most_lines: int = MOST_LINES,
    most_bytes: int = MOST_BYTES,
) -> Iterator[tuple[bytes, list[str]]]:
    """Yield the files for so many requests, each with the ids in it; one is held in memory.

    Raises:
        InvalidArgumentError: there is none, an id is empty or stands twice, a body is no JSON
            object, or one alone is larger than a file may be.
    """
    lines: list[bytes] = []
    ids: list[str] = []
    seen: set[str] = set()
    size = 0
    for custom_id, body in _pairs(requests):
        line = _line(custom_id, body, endpoint, seen)
        if len(line) > most_bytes:
            raise _wrong(custom_id, f"has {len(line):,} bytes, a file may have {most_bytes:,}")
        if len(lines) == most_lines or size + len(line) > most_bytes:
            yield b"".join(lines), ids
            lines, ids, size = [], [], 0
        lines.append(line)
        ids.append(custom_id)
        size += len(line)
    if not seen:
        raise InvalidArgumentError("requests is empty: give at least one", argument="requests")
    yield b"".join(lines), ids


def _pairs(requests: Requests) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(requests, Mapping):
        yield from requests.items()
        return
    if isinstance(requests, str | bytes) or not isinstance(requests, Iterable):
        raise InvalidArgumentError(
            "requests must be bodies by their ids, or pairs of both", argument="requests"
        )
    for number, pair in enumerate(requests):
        if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
            raise InvalidArgumentError(
                f"request {number} must be a pair of an id and a body, not {type(pair).__name__}",
                argument="requests",
            )
        yield pair


def _line(custom_id: object, body: object, endpoint: str, seen: set[str]) -> bytes:
    if not isinstance(custom_id, str) or not custom_id or not custom_id.isprintable():
        raise _wrong(custom_id, "is no id: a text that is not empty, of signs that can be shown")
    if custom_id in seen:
        raise _wrong(custom_id, "stands twice")
    seen.add(custom_id)
    if not isinstance(body, Mapping):
        raise _wrong(custom_id, "has no body: a dict of parameters")
    request = {"custom_id": custom_id, "method": "POST", "url": endpoint, "body": dict(body)}
    try:
        return json.dumps(request, allow_nan=False, separators=(",", ":")).encode() + b"\n"
    except (TypeError, ValueError) as wrong:
        raise _wrong(custom_id, f"is not for JSON: {wrong}") from None
    except RecursionError:
        raise _wrong(custom_id, "is nested too deep") from None


def _wrong(custom_id: object, what: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"the request {custom_id!r} {what}", argument="requests", path=str(custom_id)
    )


def reconcile(run: BatchRun, lines: Iterable[Mapping[str, Any]], *, ended: bool) -> BatchResults:
    """Give each request its line of the output and error files.

    Raises:
        UpstreamError: a line is nobody's, or a second one of a request.
    """
    results = BatchResults(ended)
    left = dict.fromkeys(run.custom_ids)
    for line in lines:
        custom_id = line.get("custom_id")
        if custom_id not in left:
            raise UpstreamError(
                f"the batch has a line for {custom_id!r}: a request that was not sent, or that had "
                "an answer already",
                code="bad_upstream_body",
            )
        del left[custom_id]
        _put(results, custom_id, line)
    return BatchResults(ended, results.answers, results.errors, tuple(left))


def _put(results: BatchResults, custom_id: str, line: Mapping[str, Any]) -> None:
    response = line.get("response") or {}
    status, body = response.get("status_code"), response.get("body")
    if status == 200 and isinstance(body, dict):
        results.answers[custom_id] = body
        return
    told = line.get("error") or (body or {}).get("error") or {}
    results.errors[custom_id] = UpstreamError(
        f"the request {custom_id!r} of the batch failed: {told.get('message') or status}",
        status_code=status,
        request_id=response.get("request_id"),
        code=told.get("code") or "batch_line",
        param=told.get("param"),
        type=told.get("type"),
    )
