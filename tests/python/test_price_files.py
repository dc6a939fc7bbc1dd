"""Price layers, regions, hours, and other projects' price files."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, cast

import pytest
from dure.costs import PriceBook, import_prices
from dure.errors import InvalidArgumentError, UnknownPriceError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from dure._price_files import Format


NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
USAGE = {"prompt_tokens": 1_000, "completion_tokens": 10}


def pico(
    book: PriceBook,
    model: str,
    usage: Mapping[str, object] = USAGE,
    *,
    at: datetime = NOW,
    service_tier: str | None = None,
    region: str | None = None,
) -> int:
    return book.cost(usage, model=model, at=at, service_tier=service_tier, region=region).pico


def read(text: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(text, parse_float=Decimal)
    return found


# Layers ------------------------------------------------------------------------------------------


def test_the_first_layer_that_knows_a_model_prices_it() -> None:
    snapshot = PriceBook()
    user = snapshot.with_layer({"gpt-4o": {"input": "1", "output": "1"}}, name="user")
    contract = user.with_layer({"gpt-4o-mini": {"input": "0.10", "output": 1}}, name="contract")
    call = contract.with_layer({"openai/gpt-4o": {"input": "3", "output": "3"}}, name="call")
    assert list(call.layers) == ["call", "contract", "user", "snapshot"]
    assert pico(snapshot, "gpt-4o") == 1_000 * 2_500_000 + 10 * 10_000_000
    assert pico(user, "gpt-4o") == pico(contract, "gpt-4o") == 1_010 * 1_000_000
    assert pico(call, "gpt-4o") == 1_010 * 3_000_000
    assert pico(call, "gpt-4o-mini") == 1_000 * 100_000 + 10 * 1_000_000
    assert pico(call, "o3") == pico(snapshot, "o3")


def test_each_layer_has_a_version_and_each_row_a_source() -> None:
    book = PriceBook({"gpt-4o": {"input": "1", "output": "1"}})
    assert book.layers["snapshot"] == PriceBook().layers["snapshot"]
    assert book.price_version != PriceBook().price_version
    (row,) = book.rows("openai/gpt-4o")
    assert row["source"] == "overlay"
    assert row["rates"] == {
        "input.text": (1_000_000_000_000, 1_000_000),
        "output.text": (1_000_000_000_000, 1_000_000),
    }
    assert all(row["source"] == "genai-prices 0.2.3" for row in book.rows("gpt-4o-mini"))
    assert book.rows("nobody's") == []


def test_a_gap_in_time_is_a_load_error() -> None:
    rows = [
        {"until": "2026-01-01T00:00:00Z", "rates": {"input.text": 1}},
        {"from": "2026-02-01T00:00:00Z", "rates": {"input.text": 2}},
    ]
    with pytest.raises(InvalidArgumentError, match="no price from 2026-01-01") as caught:
        PriceBook([{"id": "m", "prices": rows}])
    assert caught.value.path == "m"
    rows[1]["from"] = "2026-01-01T00:00:00Z"
    PriceBook([{"id": "m", "prices": rows}])


# Regions and hours -------------------------------------------------------------------------------

REGIONS = [
    {
        "id": "m",
        "prices": [
            {"rates": {"input.text": 10, "output.text": 7}},
            {"when": {"region": "eu"}, "factor": [11, 10]},
            {"when": {"region": "us"}, "rates": {"input.text": 1, "output.text": 2}},
        ],
    }
]


def test_a_region_has_its_own_rates_or_a_factor() -> None:
    book = PriceBook(REGIONS)
    assert pico(book, "m") == 10_070
    assert pico(book, "m", region="us") == 1_020
    assert pico(book, "m", region="eu") == 11_077  # 10 x 1000 x 11/10 and 7 x 10 x 11/10, exact
    assert pico(book, "m", region="kr") == 10_070  # no row names it
    assert pico(book, "m", {**USAGE, "inference_geo": "us"}) == 1_020


def test_a_price_of_one_region_is_none_elsewhere() -> None:
    book = PriceBook([{"id": "m", "prices": [{"when": {"region": "eu"}, "rates": {"call": 1}}]}])
    with pytest.raises(UnknownPriceError):
        pico(book, "m")


@pytest.mark.parametrize(
    ("hour", "price"), [(0, 5), (1, 9), (12, 9), (16, 9), (17, 5), (23, 5)], ids=str
)
def test_hours_of_the_day(hour: int, price: int) -> None:
    rows = [
        {"rates": {"input.text": 9, "output.text": 0}},
        {"when": {"hours": "16:30-00:30"}, "rates": {"input.text": 5, "output.text": 0}},
    ]
    book = PriceBook([{"id": "m", "prices": rows}])
    at = datetime(2026, 11, 20, hour, 15 if hour == 0 else 0, tzinfo=UTC)
    assert pico(book, "m", at=at) == 1_000 * price


@pytest.mark.parametrize(
    "row",
    [
        {"when": {"region": "eu"}, "factor": [1, 0]},
        {"when": {"region": "eu"}, "factor": 1.1},
        {"when": {"region": "eu", "mode": "batch"}, "factor": [1, 2]},
        {"when": {"hours": "25:00-01:00"}, "rates": {"input.text": 1}},
        {"when": {"hours": "early"}, "rates": {"input.text": 1}},
    ],
)
def test_wrong_conditions_name_the_model(row: dict[str, object]) -> None:
    with pytest.raises(InvalidArgumentError, match="price book, m:"):
        PriceBook([{"id": "m", "prices": [{"rates": {"input.text": 1}}, row]}])


@pytest.mark.parametrize(
    ("first", "second", "meet"),
    [
        ("08:00-12:00", "10:00-14:00", True),
        ("22:00-02:00", "01:59-03:00", True),
        ("22:00-02:00", "23:00-23:30", True),
        ("08:00-12:00", "12:00-14:00", False),
        ("22:00-02:00", "02:00-22:00", False),
    ],
)
def test_overlapping_hours_are_a_load_error(first: str, second: str, *, meet: bool) -> None:
    rows: list[dict[str, object]] = [
        {"rates": {"input.text": 9}},
        {"when": {"hours": first}, "rates": {"input.text": 5}},
        {"when": {"hours": second}, "rates": {"input.text": 7}},
    ]
    if not meet:
        assert len(PriceBook([{"id": "m", "prices": rows}]).rows("m")) == 3
        return
    with pytest.raises(
        InvalidArgumentError, match=r"its hours overlap those of prices\[1\]"
    ) as caught:
        PriceBook([{"id": "m", "prices": rows}])
    assert caught.value.path == "m.prices[2].when.hours"
    rows[1]["until"] = rows[2]["from"] = "2026-01-01T00:00:00Z"
    assert len(PriceBook([{"id": "m", "prices": rows}]).rows("m")) == 3  # never on one day


# What is wrong in an overlay ----------------------------------------------------------------------

R = {"input.text": 5, "output.text": 1}


@pytest.mark.parametrize(
    ("entry", "field"),
    [
        ({"id": "m", "alias": ["x"], "prices": [{"rates": R}]}, "m.alias"),
        ({"id": "m", "prices": [{"unti": "2026-01-01T00:00:00Z", "rates": R}]}, "m.prices[0].unti"),
        ({"id": "m", "prices": [{"rates": R}, {"when": {"colour": 1}, "rates": R}]},
         "m.prices[1].when.colour"),
        ({"prices": [{"rates": R}]}, "[0].id"),
        ({"id": 7, "prices": [{"rates": R}]}, "[0].id"),
        ({"id": "m"}, "m.prices"),
        ({"id": "m", "prices": {"rates": R}}, "m.prices"),
        ({"id": "m", "prices": ["x"]}, "m.prices[0]"),
        ({"id": "m", "aliases": [5], "prices": [{"rates": R}]}, "m.aliases[0]"),
        ({"id": "m", "prices": [{}]}, "m.prices[0]"),
        ({"id": "m", "prices": [{"rates": R, "factor": [1, 2]}]}, "m.prices[0]"),
        ({"id": "m", "prices": [{"rates": {}}]}, "m.prices[0].rates"),
        ({"id": "m", "prices": [{"rates": ["x"]}]}, "m.prices[0].rates"),
        ({"id": "m", "prices": [{"rates": {"input.smell": 5}}]}, "m.prices[0].rates.input.smell"),
        ({"id": "m", "prices": [{"rates": {"input.text": -5}}]}, "m.prices[0].rates.input.text"),
        ({"id": "m", "prices": [{"rates": {"input.text": 2**70}}]}, "m.prices[0].rates.input.text"),
        ({"id": "m", "prices": [{"rates": {"input.text": [5]}}]}, "m.prices[0].rates.input.text"),
        ({"id": "m", "prices": [{"rates": {"call": [5, 0]}}]}, "m.prices[0].rates.call"),
        ({"id": "m", "prices": [{"rates": {"input.text": True}}]}, "m.prices[0].rates.input.text"),
        ({"id": "m", "prices": [{"when": ["x"], "rates": R}]}, "m.prices[0].when"),
        ({"id": "m", "prices": [{"when": {"service_tier": "prioirty"}, "rates": R}]},
         "m.prices[0].when.service_tier"),
        ({"id": "m", "prices": [{"when": {"mode": "bach"}, "rates": R}]}, "m.prices[0].when.mode"),
        ({"id": "m", "prices": [{"when": {"input_over": "5"}, "rates": R}]},
         "m.prices[0].when.input_over"),
        ({"id": "m", "prices": [{"when": {"input_over": 5.5}, "rates": R}]},
         "m.prices[0].when.input_over"),
        ({"id": "m", "prices": [{"when": {"hours": "08:00-08:00"}, "rates": R}]},
         "m.prices[0].when.hours"),
        ({"id": "m", "prices": [{"when": {"hours": "08:00:30-12:00"}, "rates": R}]},
         "m.prices[0].when.hours"),
        ({"id": "m", "prices": [{"from": "2026-13-01", "rates": R}]}, "m.prices[0].from"),
        ({"id": "m", "prices": [{"from": "2026-01-01T00:00:00", "rates": R}]}, "m.prices[0].from"),
        ({"id": "m", "prices": [{"source": 5, "rates": R}]}, "m.prices[0].source"),
        (5, "[0]"),
    ],
    ids=str,
)  # fmt: skip
def test_a_wrong_overlay_names_file_record_and_field(
    entry: object, field: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        PriceBook([entry])
    assert caught.value.path == field
    path = tmp_path / "prices.json"
    path.write_text(json.dumps([entry]))
    with pytest.raises(InvalidArgumentError, match=r"prices\.json") as caught:
        PriceBook(path)
    assert caught.value.path == f"{path}: {field}"


def test_what_the_core_refuses_names_the_file(tmp_path: Path) -> None:
    rows = [{"rates": R}, {"rates": R}]
    path = tmp_path / "prices.json"
    path.write_text(json.dumps([{"id": "m", "prices": rows}]))
    with pytest.raises(InvalidArgumentError, match="overlap in time") as caught:
        PriceBook(path)
    assert caught.value.path == f"{path}: m"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ('[{"id": "m", "prices": [], "prices": []}]', "has the key 'prices' twice"),
        (None, "cannot be read"),
    ],
    ids=["cut", "deep", "twice", "missing"],
)
def test_a_file_that_is_no_overlay(text: str | None, what: str, tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InvalidArgumentError, match=what) as caught:
        PriceBook(path)
    assert str(caught.value.path).startswith(str(path))


@pytest.mark.parametrize(
    ("written", "asked"),
    [("standard", None), ("standard", "default"), ("fast", "priority"), ("priority", "fast"),
     ("flex", "flex"), ("scale", "scale")],
)  # fmt: skip
def test_a_tier_has_one_name_in_rows_and_answers(written: str, asked: str | None) -> None:
    row = {"when": {"service_tier": written}, "rates": {"input.text": 3, "output.text": 0}}
    book = PriceBook([{"id": "m", "prices": [row]}])
    assert pico(book, "m", service_tier=asked) == 3_000


# Other projects' files ---------------------------------------------------------------------------

LITELLM = """{
 "sample_spec": {"input_cost_per_token": 0.0, "mode": "one of"},
 "acme-1": {"input_cost_per_token": 2.5e-06, "output_cost_per_token": 1.5e-05,
   "cache_read_input_token_cost": 2.5e-07, "cache_creation_input_token_cost": 3.125e-06,
   "cache_creation_input_token_cost_above_1hr": 5e-06,
   "input_cost_per_token_above_272k_tokens": 5e-06,
   "output_cost_per_token_above_272k_tokens": 2e-05,
   "input_cost_per_token_priority": 5e-06, "output_cost_per_token_priority": 3e-05,
   "input_cost_per_token_batches": 1.25e-06, "output_cost_per_token_batches": 7.5e-06,
   "search_context_cost_per_query": {"search_context_size_low": 0.01,
                                     "search_context_size_high": 0.01},
   "regional_processing_uplift_multiplier_eu": 1.1, "output_cost_per_second_1080p": 0.1,
   "max_input_tokens": 1050000},
 "acme-hear": {"input_cost_per_second": 0.0001},
 "acme-free": {"input_cost_per_token": 0.0, "output_cost_per_token": 0},
 "acme-fine": {"input_cost_per_token": 1.5e-13}
}"""


def test_litellm() -> None:
    found = import_prices(read(LITELLM), format="litellm")
    assert found.skipped == {
        "acme-1": ["output_cost_per_second_1080p"],
        "acme-free": ["no price"],
        "acme-fine": ["1.5E-13 is finer than a pico-dollar, or negative", "no price"],
    }
    book = PriceBook(found.records)
    assert pico(book, "acme-1") == 1_000 * 2_500_000 + 10 * 15_000_000
    assert pico(book, "acme-1", service_tier="priority") == 1_000 * 5_000_000 + 10 * 30_000_000
    assert pico(book, "acme-1", service_tier="batch") == 1_000 * 1_250_000 + 10 * 7_500_000
    assert pico(book, "acme-1", region="eu") == 1_000 * 2_750_000 + 10 * 16_500_000
    long = {"prompt_tokens": 272_001, "completion_tokens": 1,
            "prompt_tokens_details": {"cached_tokens": 1}}  # fmt: skip
    # Above the threshold what has no price of its own keeps that of below.
    assert pico(book, "acme-1", long) == 272_000 * 5_000_000 + 250_000 + 20_000_000
    claude = {"input_tokens": 1, "output_tokens": 0, "cache_creation_input_tokens": 3,
              "cache_creation": {"ephemeral_1h_input_tokens": 2},
              "server_tool_use": {"web_search_requests": 1}}  # fmt: skip
    assert pico(book, "acme-1", claude) == 2_500_000 + 3_125_000 + 2 * 5_000_000 + 10**10
    assert pico(book, "acme-hear", {"seconds": 1.5}) == 150_000_000
    with pytest.raises(UnknownPriceError):
        pico(book, "acme-free")


def test_litellm_tiers_of_the_input_are_thresholds() -> None:
    """Nothing becomes cheaper by being imported: the dearer of two prices, or no price at all."""
    entry = """{"input_cost_per_token": 9e-7, "output_cost_per_token": 2e-6, "tiered_pricing": [
      {"range": [0, 32000.0], "input_cost_per_token": 1e-6, "output_cost_per_token": 1.5e-6},
      {"range": [32000.0, 128000.0], "input_cost_per_token": 9e-6, "output_cost_per_token": 4e-6,
       "output_cost_per_video": 1}]}"""
    found = import_prices(read(f'{{"q": {entry}}}'), format="litellm")
    assert found.skipped == {"q": ["tiered_pricing[1].output_cost_per_video"]}
    book = PriceBook(found.records)
    assert pico(book, "q") == 1_000 * 1_000_000 + 10 * 2_000_000
    edge = {"prompt_tokens": 32_000, "completion_tokens": 1}
    assert pico(book, "q", edge) == 32_000 * 1_000_000 + 2_000_000
    long = {"prompt_tokens": 32_001, "completion_tokens": 1}
    assert pico(book, "q", long) == 32_001 * 9_000_000 + 4_000_000
    for shape in ('[{"up_to": 5, "input_cost_per_token": 1e-6}]',
                  '[{"range": [0, 5]}, {"range": [7, 9]}]'):  # fmt: skip
        odd = f'{{"q": {{"input_cost_per_token": 1e-6, "tiered_pricing": {shape}}}}}'
        found = import_prices(read(odd), format="litellm")
        assert found.records == []
        assert found.skipped == {"q": ["tiered_pricing of a shape we do not know", "no price"]}


PORTKEY = """{
 "default": {"pricing_config": {"pay_as_you_go": {"request_token": {"price": 0}}}},
 "acme-2": {"pricing_config": {
   "pay_as_you_go": {"request_token": {"price": 0.0003}, "response_token": {"price": 0.0015},
     "cache_read_input_token": {"price": 0.00003}, "image": {"default": {}},
     "additional_units": {"web_search": {"price": 1}, "file_search": {"price": 0.25},
                          "cache_write_1h": {"price": 0.0006}}},
   "batch_config": {"request_token": {"price": 0.00015}, "response_token": {"price": 0.00075}}}}
}"""


def test_portkey_counts_in_cents() -> None:
    found = import_prices(read(PORTKEY), format="portkey")
    assert found.skipped == {"acme-2": ["image", "file_search"]}
    book = PriceBook(found.records)
    assert pico(book, "acme-2") == 1_000 * 3_000_000 + 10 * 15_000_000
    assert pico(book, "acme-2", service_tier="batch") == 1_000 * 1_500_000 + 10 * 7_500_000
    searched = {
        "input_tokens": 0,
        "output_tokens": 0,
        "server_tool_use": {"web_search_requests": 2},
    }
    assert pico(book, "acme-2", searched) == 2 * 10**10


def test_portkey_in_another_currency_or_by_a_formula() -> None:
    prices = '"pay_as_you_go": {"request_token": {"price": 0.0003}}'
    euros = f'{{"m": {{"pricing_config": {{{prices}, "currency": "EUR"}}}}}}'
    found = import_prices(read(euros), format="portkey")
    assert found.records == []
    assert found.skipped == {"m": ["its prices are in EUR, not in dollars", "no price"]}
    more = '"currency": "USD", "calculate": {"request": 1}, "finetune_config": {"hour": 2}'
    found = import_prices(
        read(f'{{"m": {{"pricing_config": {{{prices}, {more}}}}}}}'), format="portkey"
    )
    assert [record["id"] for record in found.records] == ["m"]
    assert found.skipped == {"m": ["calculate", "finetune_config"]}


GENAI = """[{"id": "acme", "name": "Acme", "models": [
 {"id": "acme-3", "prices": [
   {"prices": {"input_mtok": {"base": 3, "tiers": [{"start": 200000, "price": 6}]},
               "output_mtok": {"base": 15, "tiers": [{"start": 200000, "price": 22.5}]},
               "storage_searches_kcount": 2.5}},
   {"constraint": {"start_date": "2026-03-13"}, "prices": {"input_mtok": 2, "output_mtok": 10}}]},
 {"id": "acme-night", "prices": [
   {"prices": {"input_mtok": 0.27, "output_mtok": 1.1}},
   {"constraint": {"start_time": "16:30:00Z", "end_time": "00:30:00Z"},
    "prices": {"input_mtok": 0.135, "output_mtok": 0.55}}]}]}]"""


def test_genai_prices_with_dates_sizes_and_hours(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_text(GENAI)
    found = import_prices(path, format="genai-prices")
    assert found.skipped == {"acme/acme-3": ["storage_searches_kcount"]}
    book = PriceBook(found.records)
    before = datetime(2026, 3, 12, 23, 59, tzinfo=UTC)
    assert pico(book, "acme/acme-3") == 1_000 * 2_000_000 + 10 * 10_000_000
    assert pico(book, "acme/acme-3", at=before) == 1_000 * 3_000_000 + 10 * 15_000_000
    large = {"prompt_tokens": 200_001, "completion_tokens": 2}
    assert pico(book, "acme/acme-3", large, at=before) == 200_001 * 6_000_000 + 2 * 22_500_000
    assert pico(book, "acme/acme-night") == 1_000 * 270_000 + 10 * 1_100_000
    night = datetime(2026, 11, 20, 23, tzinfo=UTC)
    assert pico(book, "acme/acme-night", at=night) == 1_000 * 135_000 + 10 * 550_000


def test_only_the_models_asked_for() -> None:
    found = import_prices(read(LITELLM), format="litellm", models=["acme-hear"])
    assert [record["id"] for record in found.records] == ["acme-hear"]
    assert found.skipped == {}


@pytest.mark.parametrize(
    ("data", "format"),
    [
        ({"m": {"input_cost_per_token": 1e-06}}, "litellm"),
        ([1, 2], "portkey"),
        ({"m": {}}, "portkey"),
        ({"m": {"input_cost_per_token": "free"}}, "litellm"),
        ({}, "openrouter"),
    ],
)
def test_what_is_no_price_file(data: dict[str, object], format: str) -> None:
    with pytest.raises(InvalidArgumentError):
        import_prices(data, format=cast("Format", format))


def test_a_file_that_is_no_json(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text("{")
    with pytest.raises(InvalidArgumentError, match="no JSON"):
        import_prices(path, format="litellm")


# Pictures, films, training -----------------------------------------------------------------------


def test_images_and_films_cost_by_quality_and_size() -> None:
    """Own rows; a picture that no row names is an error, never another one's price."""
    rows = [
        {"when": {"quality": "standard", "size": "1024x1024"}, "rates": {"image": 40_000_000_000}},
        {"when": {"quality": "hd", "size": "1024x1024"}, "rates": {"image": 80_000_000_000}},
        {
            "when": {"size": "1280x720"},
            "rates": {"video.millisecond": [100_000_000_000, 1_000]},
        },
    ]
    book = PriceBook([{"id": "painter", "prices": rows}])

    def cost(usage: Mapping[str, object], **picture: str) -> int:
        return book.cost(usage, model="painter", at=NOW, **picture).pico

    assert cost({"images": 2}, quality="hd", size="1024x1024") == 160_000_000_000
    assert cost({"images": 1}, quality="standard", size="1024x1024") == 40_000_000_000
    # A response that names them itself; a job for a film is its own usage.
    drawn = {"quality": "hd", "size": "1024x1024", "usage": {"images": 1}}
    assert cost(drawn) == 80_000_000_000
    film = {"object": "video", "seconds": "8", "size": "1280x720"}
    assert cost(film) == 800_000_000_000
    assert cost({"video_seconds": "0.5"}, size="1280x720") == 50_000_000_000
    for wrong in ({"quality": "hd", "size": "512x512"}, {"quality": "hd"}, {}):
        with pytest.raises(UnknownPriceError):
            cost({"images": 1}, **wrong)
    with pytest.raises(UnknownPriceError):
        cost(film, size="1920x1080")
    assert [row["size"] for row in book.rows("painter")] == ["1024x1024", "1024x1024", "1280x720"]


def test_training_and_video_tokens_have_units_of_their_own() -> None:
    rates = {
        "input.text": 10, "output.text": 20, "input.video": 30, "input.video.cache_read": 3,
        "training": 25_000_000,
    }  # fmt: skip
    book = PriceBook([{"id": "m", "prices": [{"rates": rates}]}])
    assert book.cost({"trained_tokens": 7}, model="m", at=NOW).pico == 175_000_000
    seen = {
        "promptTokenCount": 100, "candidatesTokenCount": 5, "cachedContentTokenCount": 10,
        "promptTokensDetails": [{"modality": "VIDEO", "tokenCount": 40}],
        "cacheTokensDetails": [{"modality": "VIDEO", "tokenCount": 10}],
    }  # fmt: skip
    lines = {
        line.unit: line.quantity
        for line in book.cost({"usageMetadata": seen}, model="m", at=NOW).lines
    }
    assert lines == {
        "input.text": 60, "input.video": 30, "input.video.cache_read": 10, "output.text": 5,
    }  # fmt: skip
    made = {**seen, "candidatesTokensDetails": [{"modality": "VIDEO", "tokenCount": 5}]}
    with pytest.raises(UnknownPriceError):  # a film is not billed as text
        book.cost({"usageMetadata": made}, model="m", at=NOW)


def test_two_rows_of_one_picture_overlap() -> None:
    row = {"when": {"quality": "hd", "size": "1x1"}, "rates": {"image": 1}}
    with pytest.raises(InvalidArgumentError, match="overlap"):
        PriceBook([{"id": "m", "prices": [row, row]}])
    with pytest.raises(InvalidArgumentError, match="quality"):
        PriceBook([{"id": "m", "prices": [{"when": {"quality": 3}, "rates": {"image": 1}}]}])
