from asyncio import Future
from collections.abc import Awaitable, Mapping, Sequence
from typing import Protocol, final

from dure.aio._http import HttpEvent
from dure.errors import DureError

@final
class HttpReply:
    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> list[tuple[str, str]]: ...
    @property
    def content(self) -> bytes: ...
    @property
    def seconds(self) -> float: ...
    @property
    def reused_connection(self) -> bool: ...
    def json(self) -> object: ...

@final
class HttpStream:
    def __aiter__(self) -> HttpStream: ...
    def __anext__(self) -> Awaitable[bytes | HttpEvent]: ...
    def wait(self) -> Awaitable[None]: ...
    def head(self) -> tuple[int, list[tuple[str, str]]] | None: ...
    def cancel(self) -> None: ...

@final
class HttpUpload:
    @property
    def future(self) -> Future[HttpReply]: ...
    @property
    def buffered(self) -> int: ...
    def feed(self, part: bytes) -> Future[None] | None: ...
    def cancel(self) -> None: ...

@final
class HttpBatch:
    def wait(self) -> Awaitable[None]: ...
    def take(self) -> list[HttpReply | DureError]: ...
    def cancel(self) -> None: ...

class _Request(Protocol):
    def __call__(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | Sequence[tuple[str, str]],
        body: object,
        timeouts: tuple[float, float, float, float],
        /,
    ) -> tuple[Awaitable[HttpReply], int]: ...

class HttpCore:
    def __init__(
        self,
        ca: str,
        certificate: str,
        key: str,
        unix_socket: str,
        proxy: str | None,
        ca_fallbacks: Sequence[str],
        transport: str = "",
        allowed: Sequence[str] | None = None,
    ) -> None: ...
    @property
    def request(self) -> _Request: ...
    def upload(
        self,
        method: str,
        url: str,
        headers: Sequence[tuple[str, str]],
        size: int,
        timeouts: tuple[float, float, float, float],
    ) -> HttpUpload: ...
    def batch(
        self,
        method: str,
        url: str,
        headers: Sequence[tuple[str, str]],
        bodies: Sequence[bytes],
        timeouts: tuple[float, float, float, float],
        limit: int,
    ) -> HttpBatch: ...
    def request_sync(
        self,
        method: str,
        url: str,
        headers: Sequence[tuple[str, str]],
        body: bytes,
        timeouts: tuple[float, float, float, float],
    ) -> HttpReply: ...
    def stream(
        self,
        method: str,
        url: str,
        headers: Sequence[tuple[str, str]],
        body: bytes,
        timeouts: tuple[float, float, float, float],
        events: bool,
    ) -> HttpStream: ...
    def cancel(self, request: int) -> None: ...
    def close(self) -> bool: ...

def curl_erases_what_it_frees() -> bool: ...
def dropped_completions() -> int: ...
