"""dure.costs: prices, cost against independent calculators, budgets, the ledger's face."""

from __future__ import annotations

import itertools
import json
import pickle
import warnings
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING

import dure
import pytest
from dure import _core, costs
from dure._dollars import to_dollars
from dure._testing import FakeClock
from dure._windows import window_edges
from dure.costs import AsyncBudgets, Budgets, PriceBook
from dure.errors import (
    BudgetExceededError,
    InvalidArgumentError,
    NotFoundError,
    RequestExceedsLimitError,
    UnknownPriceError,
)

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
OPENAI = [
    "gpt-4o-mini", "gpt-4o", "gpt-4-turbo", "o1-preview", "gpt-4", "gpt-3.5-turbo", "gpt-4.1",
    "gpt-4.1-mini", "o3", "o4-mini", "gpt-5", "gpt-5-nano", "gpt-5.4", "gpt-6-sol", "gpt-6-luna",
]  # fmt: skip
ANTHROPIC = ["claude-sonnet-4-5", "claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5"]
COUNTS = [(0, 0, 0), (1, 0, 1), (1_000, 0, 500), (1_000, 800, 3), (272_000, 5, 7), (272_001, 9, 1)]


def chat_usage(total: int, cached: int, output: int) -> dict[str, object]:
    return {
        "prompt_tokens": total,
        "completion_tokens": output,
        "total_tokens": total + output,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


# Cost --------------------------------------------------------------------------------------------


def test_the_seeds_check() -> None:
    cost = dure.cost({"prompt_tokens": 1000, "completion_tokens": 500}, model="gpt-4o-mini")
    assert cost.pico == 450_000_000
    assert cost.usd == Decimal("0.00045")
    assert cost.to_dict()["usd"] == "0.00045"
    assert [line.unit for line in cost.lines] == ["input.text", "output.text"]


@pytest.mark.parametrize("model", OPENAI)
def test_equal_to_genai_prices_openai(model: str) -> None:
    """The peer computes in Decimal from its own data; ours are integers from our table."""
    genai_prices = pytest.importorskip("genai_prices")
    for (total, cached, output), tier in itertools.product(COUNTS, ("default", "flex", "priority")):
        try:
            ours = dure.cost(
                chat_usage(total, cached, output), model=model, at=NOW, service_tier=tier
            )
        except UnknownPriceError:
            assert tier != "default"
            continue
        usage = genai_prices.Usage(
            input_tokens=total, cache_read_tokens=cached, output_tokens=output
        )
        theirs = genai_prices.calc_price(
            usage,
            model,
            provider_id="openai",
            genai_request_timestamp=NOW,
            price_context={"service_tier": tier},
        )
        assert ours.usd == theirs.total_price, (model, total, cached, output, tier)


@pytest.mark.parametrize("model", ANTHROPIC)
def test_equal_to_genai_prices_anthropic(model: str) -> None:
    """Anthropic's input excludes what was cached: it is added, and priced by its own rates."""
    genai_prices = pytest.importorskip("genai_prices")
    for fresh, read, written in ((10, 0, 0), (1_000, 700, 300), (5, 300_000, 1)):
        body = {
            "input_tokens": fresh,
            "cache_read_input_tokens": read,
            "cache_creation_input_tokens": written,
            "output_tokens": 77,
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            usage = genai_prices.Usage(
                input_tokens=fresh + read + written,
                cache_read_tokens=read,
                cache_write_tokens=written,
                output_tokens=77,
            )
            theirs = genai_prices.calc_price(
                usage, model, provider_id="anthropic", genai_request_timestamp=NOW
            )
        ours = dure.cost(body, model=model, at=NOW)
        assert ours.usd == theirs.total_price, (model, fresh, read, written)


# (model, input, cached, output rates in dollars per million): written down apart from the table.
FRACTIONS = [
    ("gpt-4o-mini", "0.15", "0.075", "0.60"),
    ("gpt-4o", "2.50", "1.25", "10.00"),
    ("gpt-4-turbo", "10.00", "10.00", "30.00"),
    ("o1-preview", "15.00", "7.50", "60.00"),
    ("gpt-4", "30", "30", "60"),
    ("gpt-3.5-turbo", "0.50", "0.50", "1.50"),
    ("gpt-4.1", "2", "0.5", "8"),
]
SPELLINGS = ["{}", "openai/{}"]
BODIES = [
    ("chat", chat_usage),
    (
        "responses",
        lambda i, c, o: {
            "input_tokens": i,
            "input_tokens_details": {"cached_tokens": c, "cache_write_tokens": 0},
            "output_tokens": o,
            "output_tokens_details": {"reasoning_tokens": o // 2},
        },
    ),
    ("response", lambda i, c, o: {"usage": chat_usage(i, c, o), "service_tier": "default"}),
]


@pytest.mark.parametrize(("model", "input_", "cached", "output"), FRACTIONS)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_equal_to_fractions(
    model: str, input_: str, cached: str, output: str, spelling: str
) -> None:
    """252 golden bodies against exact fractions."""
    counts = [*COUNTS[:5], (127_999, 127_999, 16_384)]
    for (total, read, out), (shape, body) in itertools.product(counts, BODIES):
        expected = (
            Fraction(input_) * (total - read) + Fraction(cached) * read + Fraction(output) * out
        ) / 10**6
        got = dure.cost(body(total, read, out), model=spelling.format(model), at=NOW)
        assert Fraction(got.pico, 10**12) == expected, (shape, total, read, out)
        assert sum(line.pico for line in got.lines) == got.pico


def test_unknown_is_never_free() -> None:
    with pytest.raises(UnknownPriceError) as failure:
        dure.cost({"prompt_tokens": 1}, model="nobody-knows")
    assert failure.value.model == "nobody-knows"
    with pytest.raises(UnknownPriceError) as failure:
        dure.cost({"type": "duration", "seconds": 3}, model="gpt-4o", at=NOW)
    assert failure.value.unit == "millisecond"
    assert failure.value.at == "2026-11-20T12:00:00Z"
    with pytest.raises(UnknownPriceError):
        dure.cost({"prompt_tokens": 1}, model="gpt-4o", service_tier="no-such-tier")


def test_bad_usage() -> None:
    for bad in ({}, None, 5, {"prompt_tokens": 1.5}, {"prompt_tokens": True}, {"tokens": 1}):
        with pytest.raises(InvalidArgumentError):
            dure.cost(bad, model="gpt-4o")
    cost = dure.cost(chat_usage(10, 25, 0), model="gpt-4o", at=NOW)
    assert cost.flags == ("usage_inconsistent",)
    assert cost.pico == 25 * 1_250_000  # the larger reading
    with pytest.raises(InvalidArgumentError, match="time zone"):
        dure.cost({"prompt_tokens": 1}, model="gpt-4o", at=datetime(2026, 1, 1))


@pytest.mark.parametrize(
    ("usage", "path"),
    [
        ({"prompt_tokens": 2**80, "completion_tokens": 3}, "prompt_tokens"),
        ({"prompt_tokens": -(2**64)}, "prompt_tokens"),
        ({"prompt_tokens": 1, "prompt_tokens_details": {"cached_tokens": 2**63}},
         "prompt_tokens_details.cached_tokens"),
        ({"prompt_tokens": 1.0}, "prompt_tokens"),
        ({"seconds": "x"}, "seconds"),
        ({"seconds": "NaN"}, "seconds"),
        ({"seconds": float("inf")}, "seconds"),
        ({"seconds": "1e30"}, "seconds"),
        ({"seconds": True}, "seconds"),
    ],
    ids=str,
)  # fmt: skip
def test_usage_that_is_no_number_of_units(usage: dict[str, object], path: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        dure.cost(usage, model="gpt-4o")
    assert (caught.value.argument, caught.value.path) == ("usage", path)


def test_a_part_of_a_millisecond_is_not_free() -> None:
    book = PriceBook([{"id": "m", "prices": [{"rates": {"millisecond": 7}}]}])
    for seconds, milliseconds in ((0, 0), ("0.0009", 1), (0.001, 1), (1.5, 1500), ("2.0001", 2001)):
        assert book.cost({"seconds": seconds}, model="m").pico == 7 * milliseconds


def test_overlay(tmp_path: Path) -> None:
    short = PriceBook({"gpt-4o": {"input": "1", "output": "2"}, "mine": {"input": Decimal("0.01")}})
    usage = {"prompt_tokens": 1_000_000, "completion_tokens": 1_000_000}
    assert short.cost(usage, model="openai/gpt-4o").usd == 3
    assert short.cost({"prompt_tokens": 3}, model="mine").pico == 30_000
    assert short.cost(usage, model="gpt-4o-mini").usd == Decimal("0.75")
    assert short.price_version != PriceBook().price_version
    record = {
        "id": "mine",
        "aliases": ["ours"],
        "prices": [
            {"until": "2026-01-01T00:00:00Z", "rates": {"input.text": 1}},
            {"from": "2026-01-01T00:00:00Z", "rates": {"input.text": [5, 2]}},
        ],
    }
    path = tmp_path / "prices.json"
    path.write_text(json.dumps([record]))
    book = PriceBook(path)
    assert book.cost({"prompt_tokens": 7}, model="ours", at=NOW - timedelta(days=400)).pico == 7
    assert book.cost({"prompt_tokens": 7}, model="ours", at=NOW).pico == 18  # 17.5, half-even


@pytest.mark.parametrize(
    "overlay",
    [
        {"m": {"input": 0.15}},
        {"m": {"inputs": "1"}},
        {"m": {"input": "-1"}},
        {"m": {"input": "1e-20"}},
        {"m": "1"},
        [{"id": "m", "prices": [{"rates": {"input.text": 1}}, {"rates": {"input.text": 2}}]}],
        [{"id": "m", "prices": [{"rates": {"no.unit": 1}}]}],
        [{"id": "m", "prices": [{"rates": {"input.text": 1.5}}]}],
        [{"id": "m", "prices": [{"from": "yesterday", "rates": {"input.text": 1}}]}],
        [{"id": "m", "prices": [{"when": {"colour": "red"}, "rates": {"input.text": 1}}]}],
        7,
    ],
)
def test_bad_overlay_is_refused(overlay: object) -> None:
    with pytest.raises(InvalidArgumentError):
        PriceBook(overlay)  # type: ignore[arg-type]


# Budgets -----------------------------------------------------------------------------------------


@pytest.fixture
def account(tmp_path: Path) -> _core.money.Account:
    return _core.money.Account.open(str(tmp_path))


def hold(account: _core.money.Account, pico: int, scope: str = "org:acme") -> tuple[int, int]:
    return account.reserve([scope], input_pico=pico, input_tokens=10, output_rate=0, max_output=0)


def test_set_read_grant(account: _core.money.Account) -> None:
    budgets = Budgets(account)
    budgets.set("org:acme", limit="250.00", window="month", zone="Asia/Seoul")
    budget = budgets.read("org:acme")
    assert (budget.limit, budget.used, budget.held, budget.left) == (250, 0, 0, 250)
    assert budget.resets_at is not None
    assert budget.resets_at.hour == 15  # midnight in Seoul
    hold(account, 100 * 10**12)
    assert budgets.read("org:acme").held == 100
    with pytest.raises(BudgetExceededError) as refused:
        hold(account, 200 * 10**12)
    assert refused.value.scope == "org:acme"
    assert refused.value.left == Decimal(150)
    assert refused.value.resets_at == budget.resets_at
    assert refused.value.code == "limit_exceeded"
    until = datetime(2100, 1, 1, tzinfo=UTC)
    budgets.grant("org:acme", amount="50", until=until)
    hold(account, 200 * 10**12)
    assert budgets.read("org:acme").left == 0
    assert budgets.read("org:acme").to_dict()["granted"] == "50"


async def test_alerts_are_told_once(account: _core.money.Account) -> None:
    budgets = Budgets(account)
    budgets.set("org:acme", limit="1", window="lifetime", alerts=(50, 90))
    budgets.set("user:7", limit=100, unit="tokens", window="lifetime", alerts=(1,))
    for _ in range(2):
        call = account.reserve(
            ["org:acme", "user:7"],
            input_pico=300_000_000_000, input_tokens=1, output_rate=0, max_output=0,
        )  # fmt: skip
        account.sent(call)
        account.settle(call, pico=300_000_000_000, input_tokens=1, output_tokens=0)
    money = costs.Alert("org:acme", "usd", "lifetime", 50, Decimal("0.6"), Decimal(1))
    tokens = costs.Alert("user:7", "tokens", "lifetime", 1, 1, 100)
    assert budgets.alerts() == (tokens, money)
    assert await AsyncBudgets(account).alerts() == ()


def test_larger_than_the_limit(account: _core.money.Account) -> None:
    Budgets(account).set("org:acme", limit=1, window="lifetime")
    with pytest.raises(RequestExceedsLimitError) as refused:
        hold(account, 2 * 10**12)
    assert refused.value.http_status == 400
    assert refused.value.resets_at is None


def test_several_budgets_of_a_scope(account: _core.money.Account) -> None:
    budgets = Budgets(account)
    budgets.set("user:7", limit=100, window="day", unit="requests")
    budgets.set("user:7", limit=10_000, window=timedelta(hours=24), unit="tokens")
    with pytest.raises(InvalidArgumentError, match="several"):
        budgets.read("user:7")
    assert budgets.read("user:7", unit="tokens").window == timedelta(hours=24)
    with pytest.raises(NotFoundError):
        budgets.read("user:8")
    assert len(budgets.list()) == 2


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"limit": 1.5}, InvalidArgumentError),
        ({"limit": True}, InvalidArgumentError),
        ({"limit": "-1"}, InvalidArgumentError),
        ({"limit": "ten"}, InvalidArgumentError),
        ({"window": "fortnight"}, InvalidArgumentError),
        ({"window": timedelta(0)}, InvalidArgumentError),
        ({"zone": "Mars/Olympus"}, InvalidArgumentError),
        ({"unit": "bananas"}, InvalidArgumentError),
        ({"scope": "acme"}, InvalidArgumentError),
        ({"on_limit": "shout"}, InvalidArgumentError),
        ({"on_limit": 5}, InvalidArgumentError),
        ({"unit": "tokens", "limit": "10"}, InvalidArgumentError),
        ({"unit": "tokens", "limit": -1}, InvalidArgumentError),
        ({"unit": "tokens", "limit": 2**63}, InvalidArgumentError),
        ({"unit": "tokens", "limit": 1.0}, InvalidArgumentError),
        ({"limit": "NaN"}, InvalidArgumentError),
        ({"limit": Decimal("NaN")}, InvalidArgumentError),
        ({"limit": Decimal("-0.01")}, InvalidArgumentError),
        ({"limit": Decimal("Infinity")}, InvalidArgumentError),
        ({"limit": float("nan")}, InvalidArgumentError),
        ({"limit": "0.0000000000001"}, InvalidArgumentError),
        ({"limit": "10000000"}, InvalidArgumentError),
        ({"limit": None}, InvalidArgumentError),
        ({"window": 5}, InvalidArgumentError),
        ({"window": timedelta(days=-1)}, InvalidArgumentError),
        ({"window": timedelta.max}, InvalidArgumentError),
        ({"scope": "planet:earth"}, InvalidArgumentError),
        ({"scope": "org:"}, InvalidArgumentError),
        ({"scope": 7}, TypeError),
        ({"zone": None}, TypeError),
        ({"alerts": (0,)}, InvalidArgumentError),
        ({"alerts": (80.0,)}, InvalidArgumentError),
        ({"alerts": (256,)}, InvalidArgumentError),
    ],
)
def test_bad_budgets(
    account: _core.money.Account, change: dict[str, object], error: type[Exception]
) -> None:
    arguments: dict[str, object] = {"scope": "org:a", "limit": 1, "window": "day", **change}
    with pytest.raises(error):
        Budgets(account).set(arguments.pop("scope"), **arguments)  # type: ignore[arg-type]
    assert Budgets(account).list() == []


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"amount": 1.5}, InvalidArgumentError),
        ({"amount": "-1"}, InvalidArgumentError),
        ({"amount": 0}, InvalidArgumentError),
        ({"until": datetime(2100, 1, 1)}, InvalidArgumentError),
        ({"until": datetime(2020, 1, 1, tzinfo=UTC)}, InvalidArgumentError),
        ({"until": "2100-01-01"}, TypeError),
        ({"until": None}, TypeError),
        ({"unit": "bananas"}, InvalidArgumentError),
        ({"scope": "org:none"}, NotFoundError),
    ],
)
def test_bad_grants(
    account: _core.money.Account, change: dict[str, object], error: type[Exception]
) -> None:
    budgets = Budgets(account)
    budgets.set("org:a", limit="1", window="day")
    arguments: dict[str, object] = {
        "scope": "org:a",
        "amount": "1",
        "until": datetime(2100, 1, 1, tzinfo=UTC),
        **change,
    }
    with pytest.raises(error):
        budgets.grant(arguments.pop("scope"), **arguments)  # type: ignore[arg-type]
    assert budgets.read("org:a").granted == 0


def test_a_refusal_says_what_helps(account: _core.money.Account) -> None:
    budgets = Budgets(account)

    def refused(scope: str) -> str:
        with pytest.raises(BudgetExceededError) as error:
            account.reserve([scope], input_pico=600, input_tokens=1, output_rate=0, max_output=0)
        return str(error.value)

    for scope, window in (("org:a", "day"), ("user:7", "lifetime")):
        budgets.set(scope, limit="0.000000001", window=window)  # type: ignore[arg-type]
        hold = account.reserve([scope], input_pico=600, input_tokens=1, output_rate=0, max_output=0)
        assert ("reset" if window == "day" else "running calls have settled") in refused(scope)
        account.sent(hold)
        account.settle(hold, pico=600, input_tokens=1, output_tokens=0)
    assert "wait for its reset" in refused("org:a")
    assert "never resets" in refused("user:7")
    assert "wait" not in refused("user:7")


async def test_async_budgets(account: _core.money.Account) -> None:
    budgets = AsyncBudgets(account)
    await budgets.set("org:acme", limit="1", window="week")
    await budgets.grant("org:acme", amount="2", until=datetime(2100, 1, 1, tzinfo=UTC))
    assert (await budgets.read("org:acme")).left == 3
    assert len(await budgets.list()) == 1


def stamp(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 10**6)


@pytest.mark.parametrize(
    ("window", "zone", "now", "edges"),
    [
        ("month", "Asia/Seoul", "2026-01-31T16:00Z", ["2026-01-31T15:00Z", "2026-02-28T15:00Z"]),
        ("month", "Asia/Kathmandu", "2026-01-31T18:00Z", ["2025-12-31T18:15Z"]),
        ("week", "UTC", "2026-11-22T12:00Z", ["2026-11-16T00:00Z", "2026-11-23T00:00Z"]),
        # Days of 23 and 25 hours.
        ("day", "Europe/Berlin", "2026-03-29T12:00Z", ["2026-03-28T23:00Z", "2026-03-29T22:00Z"]),
        ("day", "Europe/Berlin", "2026-10-25T12:00Z", ["2026-10-24T22:00Z", "2026-10-25T23:00Z"]),
        # Cairo has no midnight that night: the day begins at one o'clock.
        ("day", "Africa/Cairo", "2026-04-24T12:00Z", ["2026-04-23T22:00Z", "2026-04-24T21:00Z"]),
    ],
)
def test_windows_begin_at_the_first_local_instant(
    window: str, zone: str, now: str, edges: list[str]
) -> None:
    found = window_edges(window, zone, datetime.fromisoformat(now))
    assert found[: len(edges)] == [stamp(edge) for edge in edges]
    assert found == sorted(set(found))
    assert found[0] <= stamp(now) < found[1]
    assert found[-1] > stamp(now) + 360 * 86_400 * 10**6


# Ledger ------------------------------------------------------------------------------------------


async def test_verify_and_replay(account: _core.money.Account, tmp_path: Path) -> None:
    Budgets(account).set("org:acme", limit=10, window="day")
    first = hold(account, 10**12)
    account.sent(first)
    account.settle(first, pico=7, input_tokens=3, output_tokens=2)
    report = costs.verify_ledger(tmp_path)
    assert report.ok, report.first_difference
    assert (report.spent_pico, report.held_pico, report.open_holds) == (7, 0, 0)
    assert report == await dure.averify_ledger(tmp_path / "ledger")
    assert report.to_dict()["spent_usd"] == "0.000000000007"
    kinds = [record["type"] for record in costs.ledger_records(tmp_path)]
    assert kinds == ["LIMIT", "RESERVE", "SENT", "SETTLE"]
    replay = costs.replay_ledger(tmp_path)
    assert replay["spent_pico"] == 7
    assert replay["by_scope"] == {"org:acme": 7}


def test_verify_names_the_first_difference(account: _core.money.Account, tmp_path: Path) -> None:
    hold(account, 5)
    hold(account, 5)
    file = tmp_path / "ledger" / "00000001.ledger"
    data = bytearray(file.read_bytes())
    data[60] ^= 1
    file.write_bytes(data)
    report = dure.verify_ledger(tmp_path)
    assert not report.ok
    assert report.first_difference is not None
    assert "00000001.ledger" in report.first_difference
    with pytest.raises(NotFoundError):
        dure.verify_ledger(tmp_path / "nothing")


def test_small_dollars_are_plain_digits_everywhere() -> None:
    small = to_dollars(100_000)
    shown = {str(small), f"{small}", f"{small:f}", json.loads(json.dumps(small, default=str))}
    assert shown == {"0.0000001"}
    assert repr(small) == "Decimal('0.0000001')"
    assert small == Decimal("1E-7")
    assert hash(small) == hash(Decimal("1E-7"))
    assert repr(pickle.loads(pickle.dumps(small))) == repr(small)
    assert f"{small:.2e}" == "1.00e-7"
    assert str(to_dollars(-7)) == "-0.000000000007"


@pytest.mark.parametrize(
    ("zone", "start", "now", "expected"),
    [
        ("UTC", 15, "2026-03-03", "2026-02-15"),
        ("UTC", 15, "2026-03-15", "2026-03-15"),
        ("Asia/Seoul", 26, "2026-01-25T14:59:59+00:00", "2025-12-25T15:00:00+00:00"),
        ("Asia/Seoul", 26, "2026-01-25T15:00:00+00:00", "2026-01-25T15:00:00+00:00"),
        ("America/New_York", 8, "2026-03-09", "2026-03-08T05:00:00+00:00"),
    ],
)
def test_a_fiscal_month_begins_on_its_day(zone: str, start: int, now: str, expected: str) -> None:
    at = datetime.fromisoformat(now).replace(tzinfo=UTC)
    edges = window_edges("month", f"{zone};{start}", at)
    wanted = datetime.fromisoformat(expected)
    wanted = wanted if wanted.tzinfo else wanted.replace(tzinfo=UTC)
    assert edges[0] == costs.to_us(wanted)
    assert edges[1] > costs.to_us(at)


def test_a_fiscal_month_is_set_read_and_changed(account: _core.money.Account) -> None:
    """Another first day starts, as another zone does, with the next window."""
    budgets = costs.Budgets(account)
    budgets.set("org:a", limit=1, window="month", zone="Asia/Seoul", month_start=26)
    read = budgets.read("org:a")
    assert (read.zone, read.month_start, read.window) == ("Asia/Seoul", 26, "month")
    before = read.resets_at
    budgets.set("org:a", limit=1, window="month", zone="Asia/Seoul", month_start=5)
    (again,) = budgets.list("org:a")
    assert (again.month_start, again.resets_at) == (5, before)
    for wrong in ({"month_start": 0}, {"month_start": 29}, {"month_start": True},
                  {"month_start": 2, "window": "week"}, {"zone": "UTC;5"}):  # fmt: skip
        with pytest.raises(InvalidArgumentError):
            budgets.set("org:a", **{"limit": 1, "window": "month", **wrong})  # type: ignore[arg-type]


def test_a_window_from_first_use(tmp_path: Path) -> None:
    clock = FakeClock()
    account = _core.money.Account.open(str(tmp_path), clock)
    budgets = costs.Budgets(account)
    budgets.set("org:a", limit="0.000000001", window=timedelta(hours=5), from_first_use=True)
    read = budgets.read("org:a", window=timedelta(hours=5))
    assert (read.from_first_use, read.resets_at) == (True, None)

    def spend() -> None:
        hold = account.reserve(
            ["org:a"], input_pico=900, input_tokens=1, output_rate=0, max_output=0
        )
        account.sent(hold)
        account.settle(hold, pico=900, input_tokens=1, output_tokens=0)

    spend()
    with pytest.raises(BudgetExceededError) as refused:
        spend()
    assert refused.value.resets_at is not None
    clock.advance(5 * 3600)
    spend()
    assert budgets.read("org:a").used == Decimal("0.0000000009")
    budgets.set("org:a", limit=1, window=timedelta(hours=5))  # a rolling one is another budget
    assert len(budgets.list("org:a")) == 2
    with pytest.raises(InvalidArgumentError):
        budgets.set("org:a", limit=1, window="day", from_first_use=True)
    assert costs.verify_ledger(tmp_path).ok
