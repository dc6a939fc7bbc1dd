from typing import Any, TypedDict

from dure._core.base import Clock
from dure._core.catalog import PriceBook

class _BudgetState(TypedDict):
    scope: str
    unit: str
    window: str
    zone: str
    rolling_ns: int
    last_edge_us: int
    on_limit: str
    alerts: list[int]
    forbids_provider_side: bool
    limit: int
    granted: int
    used: int
    held: int
    left: int
    window_start_us: int
    resets_at_us: int | None
    waiting: list[int]

class _Alert(TypedDict):
    scope: str
    unit: str
    window: str
    percent: int
    window_start_us: int
    used: int
    limit: int

def parse_dollars(text: str) -> int: ...
def wall_us() -> int: ...
def flag_names(flags: int) -> list[str]: ...
def cost(
    prices: PriceBook,
    usage: dict[str, int],
    input_contains_parts: bool,
    *,
    model: str,
    at_us: int,
    service_tier: str,
    mode: str,
    region: str = "",
    quality: str = "",
    size: str = "",
) -> tuple[int, list[tuple[str, int, int, int, int]], str, int]: ...
def upper_bound(
    prices: PriceBook,
    *,
    model: str,
    at_us: int,
    until_us: int,
    mode: str,
    input_tokens: int,
    max_output: int,
) -> tuple[int, int]: ...
def ledger_files(path: str) -> list[str]: ...
def read_ledger(path: str) -> list[dict[str, object]]: ...
def read_ledger_on(
    path: str, records: int, bytes: int
) -> tuple[list[dict[str, Any]], int, int]: ...
def read_calls_on(
    path: str, records: int, bytes: int
) -> tuple[
    list[tuple[int, int, int, str, int, str, str, tuple[str, ...]]],
    list[tuple[str, int, int, int, int, int, int, int, list[str], dict[str, int], str]],
    list[dict[str, Any]],
    int,
    int,
]: ...
def verify_ledger(path: str) -> dict[str, Any]: ...

class Stop:
    def __init__(self) -> None: ...
    def set(self) -> None: ...

class Account:
    def __init__(self, *args: object, **kwargs: object) -> None: ...
    @staticmethod
    def shared(folder: str) -> Account: ...
    @staticmethod
    def open(folder: str, clock: Clock | None = None, power: bool = False) -> Account: ...
    @property
    def folder(self) -> str: ...
    def reserve(
        self,
        scopes: list[str],
        *,
        input_pico: int,
        input_tokens: int,
        output_rate: int,
        max_output: int,
        hidden_output: bool = False,
        detached: bool = False,
        wait: float = 0.0,
        model: str = "",
        service: str = "",
        key_id: str = "",
        call_id: str = "",
        flags: int = 0,
        parent: tuple[int, int] = ...,
        stop: Stop | None = None,
    ) -> tuple[int, int]: ...
    def sent(self, id: tuple[int, int]) -> None: ...
    def progress(self, id: tuple[int, int], output_tokens: int) -> None: ...
    def settle(
        self, id: tuple[int, int], *, pico: int, input_tokens: int, output_tokens: int
    ) -> None: ...
    def settle_usage(
        self,
        id: tuple[int, int],
        prices: PriceBook,
        usage: dict[str, int],
        input_contains_parts: bool,
        *,
        model: str,
        at_us: int,
        service_tier: str = "",
        mode: str = "",
        region: str = "",
        quality: str = "",
        size: str = "",
        returned_model: str = "",
        request_id: str = "",
    ) -> tuple[int, list[tuple[str, int, int, int, int]], str, int]: ...
    def settle_by_rule(self, id: tuple[int, int]) -> None: ...
    def settle_possible_spend(self, id: tuple[int, int]) -> None: ...
    def void_hold(self, id: tuple[int, int]) -> None: ...
    def adjust(self, id: tuple[int, int], *, pico: int, tokens: int) -> None: ...
    def record(
        self,
        prices: PriceBook,
        scopes: list[str],
        *,
        model: str,
        service: str,
        input_tokens: int,
        output_tokens: int,
        at_us: int,
    ) -> tuple[int, list[tuple[str, int, int, int, int]], str, int]: ...
    def set_budget(
        self,
        scope: str,
        *,
        limit: int,
        unit: str,
        window: str,
        zone: str,
        edges_us: list[int],
        rolling_us: int,
        on_limit: str,
        alerts: list[int],
        forbids_provider_side: bool = False,
    ) -> None: ...
    def budgets(self, scope: str) -> list[_BudgetState]: ...
    def grant(self, scope: str, *, unit: str, amount: int, until_us: int) -> None: ...
    def take_alerts(self) -> list[_Alert]: ...
    def totals(self) -> dict[str, int]: ...
