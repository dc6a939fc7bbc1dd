from asyncio import Future
from collections.abc import Sequence

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

class HttpStream:
    def take(self) -> list[bytes] | list[tuple[str, str, str]] | None: ...
    def wait(self) -> Future[None]: ...
    def head(self) -> tuple[int, list[tuple[str, str]]] | None: ...
    def cancel(self) -> None: ...

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
    ) -> None: ...
    def request(
        self,
        method: str,
        url: str,
        headers: Sequence[tuple[str, str]],
        body: bytes,
        timeouts: tuple[float, float, float, float],
    ) -> tuple[Future[HttpReply], int]: ...
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

def dropped_completions() -> int: ...
