from asyncio import Future
from collections.abc import Mapping, Sequence
from typing import Any

from dure._core.catalog import PriceBook
from dure._core.money import Account
from dure.errors import DureError
from numpy import float32
from numpy.typing import NDArray

class Transport: ...

class Options:
    def __init__(
        self,
        scopes: Sequence[str],
        service: str,
        max_attempts: int,
        max_cost: int | None,
        resend_ambiguous: bool,
        timeouts: tuple[float, float, float, float],
        metered: bool = True,
        fallbacks: Sequence[Sequence[str]] = ...,
        priority: int = 0,
        caching: str = "off",
        cache_for: float = 86400.0,
        coalesce: bool | None = None,
        hedge: bool = False,
        prices: PriceBook | None = None,
        region: str = "",
    ) -> None: ...

class Endpoint:
    @property
    def base_url(self) -> str: ...
    @property
    def host(self) -> str: ...
    @property
    def key_ids(self) -> list[str]: ...
    @property
    def provider(self) -> str: ...

class Record:
    @property
    def call_id(self) -> str: ...
    @property
    def key_id(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def cost_pico(self) -> int: ...
    @property
    def warnings(self) -> list[str]: ...
    @property
    def attempts(self) -> int: ...
    @property
    def ambiguous(self) -> int: ...
    @property
    def input_tokens(self) -> int: ...
    @property
    def output_tokens(self) -> int: ...
    @property
    def cached(self) -> bool: ...
    @property
    def coalesced(self) -> bool: ...
    @property
    def hedged(self) -> bool: ...
    @property
    def saved_pico(self) -> int: ...
    @property
    def flags(self) -> list[str]: ...
    @property
    def latency(self) -> float: ...
    @property
    def first_event(self) -> float: ...

class Reply:
    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> list[tuple[str, str]]: ...
    @property
    def record(self) -> Record: ...
    @property
    def body(self) -> bytes: ...
    def json(self) -> Any: ...  # noqa: ANN401
    def member(self, name: str) -> Any: ...  # noqa: ANN401

class Stream:
    def wait_async(self) -> Future[None]: ...
    def wait_sync(self) -> None: ...
    def take(self) -> list[bytes]: ...
    def cancel(self) -> None: ...
    def abandon(self) -> None: ...
    @property
    def ended(self) -> bool: ...
    @property
    def head(self) -> tuple[int, list[tuple[str, str]]] | None: ...
    @property
    def reply(self) -> Reply | None: ...

class Batch:
    def wait_async(self) -> Future[None]: ...
    def wait_sync(self, seconds: float) -> bool: ...
    def take(self) -> list[Reply | DureError]: ...
    def cancel(self) -> None: ...
    @property
    def done(self) -> int: ...
    @property
    def total(self) -> int: ...

class Membership:
    def end(self) -> None: ...

class Client:
    @staticmethod
    def open(
        data: str,
        transport: object,
        clock: object,
        random: object,
        ca_fallbacks: Sequence[str] = ...,
    ) -> Client: ...
    def endpoint(
        self,
        base_url: str,
        keys: Sequence[str],
        organization: str,
        project: str,
        headers: Sequence[tuple[str, str]],
        proxy: str,
        wire: str = "openai",
        bearer: bool = False,
        query: str = "",
        deployments: Mapping[str, str] = ...,
        also: Sequence[str] = ...,
    ) -> Endpoint: ...
    def call_async(
        self,
        endpoint: Endpoint,
        method: str,
        path: str,
        body: object,
        headers: Sequence[tuple[str, str]],
        options: Options,
    ) -> tuple[Future[Reply], int]: ...
    def cancel_async(self, ticket: int) -> None: ...
    def join(self) -> Membership: ...
    def call_sync(
        self,
        endpoint: Endpoint,
        method: str,
        path: str,
        body: object,
        headers: Sequence[tuple[str, str]],
        options: Options,
    ) -> Reply: ...
    def stream(
        self,
        endpoint: Endpoint,
        path: str,
        body: object,
        headers: Sequence[tuple[str, str]],
        options: Options,
    ) -> Stream: ...
    def open_raw(
        self,
        endpoint: Endpoint,
        method: str,
        path: str,
        body: object,
        headers: Sequence[tuple[str, str]],
        options: Options,
    ) -> Stream: ...
    def batch(
        self,
        endpoint: Endpoint,
        path: str,
        bodies: list[Any],
        options: Sequence[Options],
        limit: int,
    ) -> Batch: ...
    def counters(self) -> dict[str, int]: ...
    def forget_answers(self) -> None: ...
    def set_rate(self, name: str, per_minute: float, burst: float) -> None: ...
    def read_rate(self, name: str) -> tuple[float, float, float] | None: ...
    @property
    def data(self) -> str: ...
    @property
    def account(self) -> Account: ...

def read_json(text: bytes) -> Any: ...  # noqa: ANN401
def write_json(value: object, argument: str = "body") -> bytes: ...
def read_vectors(body: bytes, inputs: int) -> NDArray[float32]: ...
