from typing import TypedDict

_Rate = tuple[str, int, int]
_PriceRow = tuple[
    int | None,
    int | None,
    str,
    str,
    str,
    int,
    tuple[int, int],
    list[_Rate],
    str,
    tuple[str, str],
]
_Prices = tuple[str, list[str], list[_PriceRow]]
_Layer = tuple[str, list[_Prices]]

class _RowDict(TypedDict):
    from_us: int | None
    until_us: int | None
    service_tier: str
    mode: str
    region: str
    quality: str
    size: str
    input_over: int
    hours: tuple[int, int]
    rates: dict[str, tuple[int, int]]
    source: str

class _ModelDict(TypedDict):
    model_id: str
    provider: str
    tier: str
    capabilities: list[str]
    context_window: int
    max_input_tokens: int
    max_tokens: int
    tokenizer: str
    supports_rag: bool
    description: str
    aliases: list[str]
    deprecated_on: str
    source: str

TIERS: list[str]
CAPABILITIES: list[str]
UNITS: list[str]

def models() -> list[_ModelDict]: ...
def canonical(name: str) -> str: ...

class PriceBook:
    def __init__(self, layers: list[_Layer]) -> None: ...
    @property
    def price_version(self) -> str: ...
    @property
    def layers(self) -> list[tuple[str, str]]: ...
    def rows(self, model: str) -> list[_RowDict]: ...
    def canonical(self, model: str) -> str: ...
    def rate(self, model: str, unit: str, at_us: int) -> tuple[int, int] | None: ...
