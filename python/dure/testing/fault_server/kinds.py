"""The kinds of faults, which request gets which, and what a good answer is: pure functions."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from dure.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["KINDS", "TLS_KINDS", "Plan", "body_of", "events_of", "text_of"]

KINDS: dict[str, str] = {
    "F1": "connection refused",
    "F2": "the name does not resolve",
    "F3": "reset before the head",
    "F4": "reset after the head",
    "F5": "reset in the middle of the body",
    "F6": "half-closed in the middle of the body",
    "F7": "expired certificate",
    "F8": "certificate of another host",
    "F9": "self-signed certificate",
    "F10": "aborted in the TLS handshake",
    "F11": "429, with a Retry-After in one of six forms",
    "F12": "500",
    "F13": "502",
    "F14": "503",
    "F15": "529",
    "F16": "401, 413 or 429 before the body is read, then closed",
    "F17": "redirect to another host",
    "F18": "a stream without [DONE], chunked or up to the close",
    "F19": "a stream cut inside a character",
    "F20": "a stream cut inside a JSON text",
    "F21": "an error object inside a stream of status 200",
    "F22": "invalid JSON",
    "F23": "HTML with status 200",
    "F24": "Content-Length shorter than the body",
    "F25": "Content-Length longer than the body",
    "F26": "gzip bomb",
    "F27": "endless body",
    "F28": "one byte a second",
    "F29": "duplicate headers, of the length in half of the cases",
    "F30": "a header of 100 kB, or 100,000 headers",
}
TLS_KINDS = frozenset({"F7", "F8", "F9", "F10"})

_WORDS = [
    "the",
    "answer",
    "두레",
    "counts",
    "every",
    "word",
    "ünd",
    "도울",
    "손",
    "many",
    "hands",
    "one",
    "account",
]


class Plan:
    """Decides the fate of a request from the seed and its id alone. Immutable.

    Args:
        faults: Share of requests per kind; or one share, spread evenly over all kinds that fit.
        seed: Equal seeds give equal fates.
        tls: Whether the kinds of the TLS handshake fit.
    """

    def __init__(self, faults: Mapping[str, float] | float | None, *, seed: int, tls: bool) -> None:
        fitting = [kind for kind in KINDS if tls or kind not in TLS_KINDS]
        if isinstance(faults, int | float):
            faults = dict.fromkeys(fitting, faults / len(fitting))
        self._seed = seed
        self._steps: list[tuple[float, str]] = []
        reached = 0.0
        for kind, share in (faults or {}).items():
            if kind not in fitting or not 0 <= share <= 1:
                raise InvalidArgumentError(
                    f"faults: {kind!r}: {share!r} is not one of {', '.join(fitting)} with a share "
                    "from 0 to 1" + ("" if tls else " (F7 to F10 need tls=True)"),
                    argument="faults",
                )
            reached += share
            self._steps.append((reached, kind))
        if reached > 1 + 1e-9:
            raise InvalidArgumentError(
                f"faults: the shares add up to {reached}, more than 1", argument="faults"
            )

    def fault_of(self, request_id: str) -> str | None:
        """Return the kind of fault of a request, or None."""
        chance = self.lot(request_id, "kind") / 2**64
        return next((kind for limit, kind in self._steps if chance < limit), None)

    def lot(self, request_id: str, what: str) -> int:
        """Return 64 bits that depend on nothing but the seed and the arguments."""
        text = f"{self._seed}:{what}:{request_id}".encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def text_of(request_id: str) -> str:
    """Return what a good answer to this request says."""
    digest = hashlib.blake2b(request_id.encode(), digest_size=40).digest()
    return f"{request_id}: {' '.join(_WORDS[byte % len(_WORDS)] for byte in digest)}."


def body_of(request_id: str) -> bytes:
    """Return the bytes of a good answer that is not streamed."""
    answer = {
        "id": f"chatcmpl-{request_id}",
        "object": "chat.completion",
        "created": 1767225600,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text_of(request_id)},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 20, "completion_tokens": 40, "total_tokens": 60},
    }
    return json.dumps(answer, ensure_ascii=False).encode()


def events_of(request_id: str) -> Iterator[bytes]:
    """Yield the events of a good streamed answer; the last says [DONE]."""
    words = text_of(request_id).split(" ")
    for at, word in enumerate(words):
        yield _event(request_id, {"content": word if at == 0 else f" {word}"}, None)
    yield _event(request_id, {}, "stop")
    yield b"data: [DONE]\n\n"


def _event(request_id: str, delta: dict[str, str], finish: str | None) -> bytes:
    chunk = {
        "id": f"chatcmpl-{request_id}",
        "object": "chat.completion.chunk",
        "created": 1767225600,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }
    return b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n"
