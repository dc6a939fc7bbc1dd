"""The endpoints beside chat and embeddings: responses, files, batches, moderations, images, audio.

What they do is small and real: files are kept in memory, a batch runs its lines through the chat
and embeddings endpoints, an image is a PNG of one colour, speech is silence of the text's length.
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .wire import Request

__all__ = [
    "More",
    "NoSuchError",
    "completion_events",
    "form_fields",
    "png",
    "response_events",
    "response_of",
    "wav",
]

PAGE = 20
UNSAFE = re.compile(r"\b(kill|bomb|죽이)", re.IGNORECASE)


class NoSuchError(Exception):
    """There is no object of that id."""


class More:
    """Files, batches and what is made of text. Owner thread only."""

    def __init__(self, run: Callable[[str, dict[str, Any]], tuple[int, Any]]) -> None:
        self._run = run
        self._files: dict[str, tuple[dict[str, Any], bytes]] = {}
        self._batches: dict[str, dict[str, Any]] = {}
        self._responses: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {}

    # Responses

    def keep_response(self, response: dict[str, Any], asked: list[dict[str, Any]]) -> None:
        """Keep a response and what it was asked."""
        items = [
            {"id": f"in_{n}_{response['id']}", "type": "message", **one}
            for n, one in enumerate(asked)
        ]
        self._responses[response["id"]] = (response, items)

    def response(self, response_id: str) -> dict[str, Any]:
        """Return a response that was kept."""
        if response_id not in self._responses:
            raise NoSuchError(response_id)
        return self._responses[response_id][0]

    def delete_response(self, response_id: str) -> dict[str, Any]:
        """Forget a response."""
        self.response(response_id)
        del self._responses[response_id]
        return {"id": response_id, "object": "response", "deleted": True}

    def input_items(self, response_id: str, query: str) -> dict[str, Any]:
        """Return what a response was asked."""
        self.response(response_id)
        return page(self._responses[response_id][1], query)

    # Files

    def upload(self, request: Request, created: int) -> dict[str, Any]:
        """Keep the file of a form."""
        fields = form_fields(request.headers.get("content-type", ""), request.body)
        filename, content = fields["file"]
        return self._keep(filename, content, fields["purpose"][1].decode(), created)

    def _keep(self, name: str, content: bytes, purpose: str, created: int) -> dict[str, Any]:
        known: dict[str, Any] = {
            "id": f"file-{len(self._files) + 1:06d}",
            "object": "file",
            "bytes": len(content),
            "created_at": created,
            "filename": name,
            "purpose": purpose,
            "status": "processed",
        }
        self._files[known["id"]] = (known, content)
        return known

    def file(self, file_id: str) -> tuple[dict[str, Any], bytes]:
        """Return what is known of a file, and its bytes."""
        if file_id not in self._files:
            raise NoSuchError(file_id)
        return self._files[file_id]

    def delete_file(self, file_id: str) -> dict[str, Any]:
        """Forget a file."""
        self.file(file_id)
        del self._files[file_id]
        return {"id": file_id, "object": "file", "deleted": True}

    def files(self, query: str) -> dict[str, Any]:
        """Return a page of files."""
        return page([known for known, _ in self._files.values()], query)

    # Batches

    def start_batch(self, body: dict[str, Any], created: int) -> dict[str, Any]:
        """Run every line of a file at once, and keep what came of it as a file."""
        lines = [json.loads(line) for line in self.file(body["input_file_id"])[1].splitlines()]
        answers = [self._line(number, line) for number, line in enumerate(lines)]
        text = "".join(json.dumps(answer, ensure_ascii=False) + "\n" for answer in answers)
        good = sum(answer["response"]["status_code"] == 200 for answer in answers)
        output = self._keep("output.jsonl", text.encode(), "batch_output", created)
        batch = {
            "id": f"batch_{len(self._batches) + 1:06d}",
            "object": "batch",
            "endpoint": body["endpoint"],
            "input_file_id": body["input_file_id"],
            "completion_window": body["completion_window"],
            "status": "completed",
            "created_at": created,
            "output_file_id": output["id"],
            "metadata": body.get("metadata"),
            "request_counts": {"total": len(lines), "completed": good, "failed": len(lines) - good},
        }
        self._batches[str(batch["id"])] = batch
        return batch

    def _line(self, number: int, line: dict[str, Any]) -> dict[str, Any]:
        status, answer = self._run(line["url"], line["body"])
        response = {"status_code": status, "request_id": f"req_line_{number}", "body": answer}
        return {"id": f"line_{number}", "custom_id": line["custom_id"], "response": response}

    def batch(self, batch_id: str) -> dict[str, Any]:
        """Return a batch."""
        if batch_id not in self._batches:
            raise NoSuchError(batch_id)
        return self._batches[batch_id]

    def batches(self, query: str) -> dict[str, Any]:
        """Return a page of batches."""
        return page(list(self._batches.values()), query)


def page(items: list[dict[str, Any]], query: str) -> dict[str, Any]:
    """Return the page that `limit` and `after` ask for."""
    asked = parse_qs(query)
    after, limit = asked.get("after", [""])[0], int(asked.get("limit", [str(PAGE)])[0])
    start = next((i + 1 for i, item in enumerate(items) if item["id"] == after), 0)
    chosen = items[start : start + limit]
    return {
        "object": "list",
        "data": chosen,
        "first_id": chosen[0]["id"] if chosen else None,
        "last_id": chosen[-1]["id"] if chosen else None,
        "has_more": start + limit < len(items),
    }


def form_fields(kind: str, body: bytes) -> dict[str, tuple[str, bytes]]:
    """Return file name and content of every field of a multipart form."""
    found = re.search(r"boundary=([^;]+)", kind)
    if found is None:
        return {}
    fields = {}
    for piece in body.split(b"--" + found[1].encode())[1:-1]:
        head, _, content = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        name = re.search(r'[; ]name="([^"]*)"', head.decode("utf-8", "replace"))
        filename = re.search(r'filename="([^"]*)"', head.decode("utf-8", "replace"))
        if name:
            value = content.removesuffix(b"\r\n")
            fields[name[1]] = (filename[1] if filename else "", value)
    return fields


def moderation(texts: list[str]) -> list[dict[str, Any]]:
    """Return a verdict on each text, by a list of words."""
    return [
        {
            "flagged": bool(UNSAFE.search(text)),
            "categories": {"violence": bool(UNSAFE.search(text))},
            "category_scores": {"violence": 1.0 if UNSAFE.search(text) else 0.0},
        }
        for text in texts
    ]


def png(side: int, shade: int) -> bytes:
    """Return a square grey image."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checked = kind + data
        return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

    rows = (b"\0" + bytes([shade]) * side) * side
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def wav(milliseconds: int) -> bytes:
    """Return silence: 16-bit mono at 8 kHz."""
    data = bytes(16 * milliseconds)
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + len(data), b"WAVE", b"fmt ", 16,
                       1, 1, 8000, 16000, 2, 16, b"data", len(data))  # fmt: skip
    return head + data


def chat_messages(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the messages that a Responses request stands for."""
    messages = []
    if body.get("instructions"):
        messages.append({"role": "system", "content": body["instructions"]})
    given = body.get("input")
    for item in [{"role": "user", "content": given}] if isinstance(given, str) else given or []:
        content = item.get("content")
        if isinstance(content, list):
            content = "".join(part.get("text", "") for part in content)
        messages.append({"role": item.get("role", "user"), "content": content})
    return messages


def completion_events(frame: dict[str, Any], parts: list[str], usage: object) -> Iterator[bytes]:
    """Give the events of one streamed text completion; `usage` last if it was asked for."""
    chunks = [{"index": 0, "text": part, "logprobs": None, "finish_reason": None} for part in parts]
    chunks.append({"index": 0, "text": "", "logprobs": None, "finish_reason": "stop"})
    events = [{**frame, "choices": [chunk]} for chunk in chunks]
    if usage is not None:
        events.append({**frame, "choices": [], "usage": usage})
    for event in events:
        yield f"data: {json.dumps(event, ensure_ascii=False)}\n\n".encode()
    yield b"data: [DONE]\n\n"


def response_of(frame: dict[str, Any], text: str, usage: tuple[int, int]) -> dict[str, Any]:
    """Return a completed response."""
    part = {"type": "output_text", "text": text, "annotations": []}
    message = {
        "id": f"msg_{frame['id']}",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [part],
    }
    prompt, completion = usage
    return {
        **frame,
        "object": "response",
        "status": "completed",
        "error": None,
        "output": [message],
        "usage": {
            "input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": completion,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": prompt + completion,
        },
    }


def response_events(response: dict[str, Any], parts: list[str]) -> Iterator[bytes]:
    """Give the events of one streamed response."""
    begun = {**response, "status": "in_progress", "output": [], "usage": None}
    item = response["output"][0]["id"]
    where = {"item_id": item, "output_index": 0, "content_index": 0}
    events: list[dict[str, Any]] = [{"type": "response.created", "response": begun}]
    events += [{"type": "response.output_text.delta", **where, "delta": part} for part in parts]
    events.append({"type": "response.output_text.done", **where, "text": "".join(parts)})
    events.append({"type": "response.completed", "response": response})
    for number, event in enumerate(events):
        text = json.dumps({**event, "sequence_number": number}, ensure_ascii=False)
        yield f"event: {event['type']}\ndata: {text}\n\n".encode()
