"""dure.models and dure.manager: the catalogue, the policies, the one manager."""

from __future__ import annotations

import json
import logging
import os
import threading
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import dure
import pytest
from dure import _core, costs, models
from dure.errors import InvalidArgumentError, InvalidModelError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SEED = {
    "gpt-4o-mini": (dure.ModelTier.MINI, 0.15, 0.60),
    "gpt-4o": (dure.ModelTier.STANDARD, 2.50, 10.00),
    "gpt-4-turbo": (dure.ModelTier.ADVANCED, 10.00, 30.00),
    "o1-preview": (dure.ModelTier.PREMIUM, 15.00, 60.00),
}


@pytest.fixture(autouse=True)
def shipped_policies() -> Iterator[None]:
    yield
    _core.policy.reset()


def test_names_match_the_core() -> None:
    assert [tier.value for tier in dure.ModelTier] == list(_core.catalog.TIERS)
    assert [one.value for one in dure.ModelCapability] == list(_core.catalog.CAPABILITIES)


@pytest.mark.parametrize("model", SEED)
def test_the_seeds_models(model: str) -> None:
    config = dure.MODEL_CATALOG[model]
    assert (config.tier, config.input_price_per_1m, config.output_price_per_1m) == SEED[model]
    assert dure.ModelCapability.CHAT in config.capabilities
    assert dure.MODEL_CATALOG[f"openai/{model}"] is config


def test_catalogue_is_a_mapping() -> None:
    assert "gpt-4o-2024-08-06" in dure.MODEL_CATALOG
    assert "no-such-model" not in dure.MODEL_CATALOG
    assert len(dure.MODEL_CATALOG) == len(list(dure.MODEL_CATALOG)) > 20
    with pytest.raises(KeyError):
        dure.MODEL_CATALOG["no-such-model"]
    assert dure.MODEL_CATALOG["text-embedding-3-small"].output_price_per_1m == 0


def test_validation_says_what_the_seed_says() -> None:
    manager = dure.OpenAIClientManager()
    assert manager.validate_model_for_service("gpt-4o", "ChatOpsAdvanced").model_id == "gpt-4o"
    with pytest.raises(InvalidModelError) as refused:
        manager.validate_model_for_service("gpt-4-turbo", "StrategyBuilder")
    assert str(refused.value) == "Model gpt-4-turbo not allowed for service StrategyBuilder"
    assert refused.value.http_status == 400
    assert (refused.value.model, refused.value.service) == ("gpt-4-turbo", "StrategyBuilder")
    for model, service in (("nonsense", "StrategyBuilder"), ("gpt-4o", "Nobody"), ("", "X")):
        with pytest.raises(InvalidModelError, match="not allowed for service"):
            manager.validate_model_for_service(model, service)


def test_defaults_of_the_three_services() -> None:
    manager = dure.OpenAIClientManager()
    for service, default in {
        "StrategyBuilder": "gpt-4o-mini",
        "NarrativeReport": "gpt-4o",
        "ChatOpsAdvanced": "gpt-4o",
    }.items():
        policy = manager.get_service_policy(service)
        assert policy.default_model == default
        assert manager.validate_model_for_service(default, service)
        config = manager.get_model_config(default)
        assert config.tier in policy.allowed_tiers
    with pytest.raises(NotFoundError):
        manager.get_service_policy("Nobody")
    with pytest.raises(InvalidModelError):
        manager.get_model_config("no-such-model")


def test_load_policies(tmp_path: Path) -> None:
    good = {"Mine": {"allowed_tiers": ["MINI"], "default_model": "gpt-4o-mini"}}
    path = tmp_path / "policies.json"
    path.write_text(json.dumps(good))
    models.load_policies(path)
    assert list(models.policies()) == ["Mine"]
    wrong: list[object] = [
        {"Mine": {"allowed_tiers": ["mini"], "default_model": "gpt-4o"}},
        {"Mine": {"allowed_tiers": ["huge"], "default_model": "gpt-4o"}},
        {"Mine": {"allowed": []}},
        {"Mine": 3},
        [],
    ]
    for bad in wrong:
        with pytest.raises(InvalidArgumentError):
            models.load_policies(bad)  # type: ignore[arg-type]
        assert list(models.policies()) == ["Mine"]  # the last good ones stay
    path.write_text("{")
    with pytest.raises(InvalidArgumentError):
        models.load_policies(path)


@pytest.mark.parametrize(
    ("entry", "path"),
    [
        ({"allowed_tiers": ["huge"], "default_model": "gpt-4o"}, "Mine.allowed_tiers"),
        ({"allowed_tiers": "mini", "default_model": "gpt-4o"}, "Mine.allowed_tiers"),
        ({"allowed_tiers": [1], "default_model": "gpt-4o"}, "Mine.allowed_tiers"),
        (
            {"allowed_tiers": ["mini"], "default_model": "gpt-4o", "required_capabilities": ["x"]},
            "Mine.required_capabilities",
        ),
        ({"allowed_tiers": ["mini"], "default_model": "gpt-4o"}, "Mine.default_model"),
        ({"allowed_tiers": ["mini"], "default_model": "nobody"}, "Mine.default_model"),
        ({"allowed_tiers": ["mini"]}, "Mine.default_model"),
        ({"allowed_tiers": ["mini"], "default_model": 3}, "Mine.default_model"),
        ({"allowed_tier": []}, "Mine.allowed_tier"),
        (
            {"service_name": "Other", "allowed_tiers": ["mini"], "default_model": "gpt-4o-mini"},
            "Mine.service_name",
        ),
        (3, "Mine"),
    ],
)
def test_a_wrong_policy_file_names_file_record_and_field(
    tmp_path: Path, entry: object, path: str
) -> None:
    before = models.policies()
    good = {"allowed_tiers": ["mini"], "default_model": "gpt-4o-mini"}
    file = tmp_path / "policies.json"
    file.write_text(json.dumps({"Good": good, "Mine": entry}))
    with pytest.raises(InvalidArgumentError) as refused:
        models.load_policies(file)
    assert str(file) in str(refused.value)
    assert "Mine" in str(refused.value)
    assert refused.value.path == path
    assert models.policies() == before


def test_selection_is_the_cheapest_that_may_and_can() -> None:
    request = {"messages": [{"role": "user", "content": "plan " * 100}], "max_tokens": 500}
    choices = models.explain("StrategyBuilder", request)
    assert len(choices) == len(dure.MODEL_CATALOG)
    usable = [choice for choice in choices if choice.dropped_because is None]
    assert usable == choices[: len(usable)]
    prices = [choice.expected_cost for choice in usable]
    assert prices == sorted(prices)  # type: ignore[type-var]
    assert models.select("StrategyBuilder", request).model_id == choices[0].model_id
    with_image = {
        "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}],
        "tools": [{}],
    }
    chosen = models.select("ChatOpsAdvanced", with_image)
    assert dure.ModelCapability.VISION in chosen.capabilities
    with pytest.raises(InvalidModelError):
        models.select("StrategyBuilder", {"input_tokens": 10**9})
    with pytest.raises(NotFoundError):
        models.explain("Nobody", {})


def test_the_seeds_saving() -> None:
    """One token log, priced at gpt-4 and at StrategyBuilder's default: far more than 30 % less."""
    log = [(1_000 + 37 * i, 200 + 11 * i) for i in range(100)]

    def total(model: str) -> Decimal:
        usages = ({"prompt_tokens": i, "completion_tokens": o} for i, o in log)
        return sum((dure.cost(usage, model=model).usd for usage in usages), Decimal(0))

    assert 1 - total("gpt-4o-mini") / total("gpt-4") > Decimal("0.3")


def test_one_manager_even_under_threads() -> None:
    found: list[object] = []
    threads = [
        threading.Thread(target=lambda: found.append(dure.OpenAIClientManager())) for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(map(id, found)) == {id(dure.OpenAIClientManager())}


def test_track_usage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DURE_DATA", str(tmp_path))
    manager = dure.OpenAIClientManager()
    events: list[dict[str, object]] = []
    manager.add_sink(events.append)
    with caplog.at_level(logging.INFO, logger="dure"):
        cost = manager.track_usage("openai/gpt-4o-mini", 1000, 500, service="StrategyBuilder")
    manager.remove_sink(events.append)
    assert cost.usd == Decimal("0.00045")
    assert events[0]["event"] == "usage_tracked"
    assert events[0]["model"] == "gpt-4o-mini"
    assert events[0]["cost_usd"] == "0.00045"
    assert caplog.records[0].message == "usage_tracked"
    report = dure.verify_ledger()
    assert report.ok
    assert report.spent_pico == 450_000_000
    assert costs.replay_ledger()["by_service"] == {"StrategyBuilder": 450_000_000}
    for bad in (-1, 1.5, True):
        with pytest.raises(InvalidArgumentError):
            manager.track_usage("gpt-4o", bad, 0)  # type: ignore[arg-type]
    with pytest.raises(InvalidModelError):
        manager.track_usage("no-such-model", 1, 1)
    assert os.listdir(tmp_path) == ["ledger"]  # noqa: PTH208


def test_a_sink_that_fails_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DURE_DATA", str(tmp_path))
    manager = dure.OpenAIClientManager()
    events: list[dict[str, object]] = []

    def dead(_event: dict[str, object]) -> None:
        raise OSError("no such host")

    manager.add_sink(dead)
    manager.add_sink(events.append)
    for _ in range(50):
        manager.track_usage("gpt-4o-mini", 1, 1)
    manager.remove_sink(dead)
    manager.remove_sink(events.append)
    assert len(events) == 50
    assert sum("sink failed" in record.message for record in caplog.records) == 50
    assert dure.verify_ledger().spent_pico == 50 * 750_000


def test_wrong_types_are_named() -> None:
    manager: Any = dure.OpenAIClientManager()
    wrong: dict[str, Callable[[], object]] = {
        "model_id": lambda: manager.get_model_config(7),
        "service_name": lambda: manager.get_service_policy(None),
        "model_id must be str": lambda: manager.validate_model_for_service(b"gpt-4o", "x"),
        "service_name must be str": lambda: manager.validate_model_for_service("gpt-4o", 3),
        "model_id must": lambda: manager.track_usage(None, 1, 1),
        "service must": lambda: manager.track_usage("gpt-4o", 1, 1, service=5),
        "sink": lambda: manager.add_sink("print"),
    }
    for name, call in wrong.items():
        with pytest.raises(TypeError, match=name):
            call()
    with pytest.raises(InvalidArgumentError, match="never added"):
        manager.remove_sink(print)
