"""A LiteLLM configuration: what fits is taken, nothing vanishes, no secret is copied."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from dure.costs import PriceBook
from dure.errors import InvalidArgumentError
from dure.service.litellm_config import _leaves, convert, read
from hypothesis import given
from hypothesis import strategies as st

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """
model_list:
  - model_name: gpt-4o-mini
    litellm_params:
      model: openai/gpt-4o-mini
      api_key: os.environ/FIRST_KEY
      rpm: 60
  - model_name: gpt-4o-mini
    litellm_params: {model: gpt-4o-mini, api_key: os.environ/SECOND_KEY}
  - model_name: house
    litellm_params:
      model: openai/house-7b
      api_base: os.environ/HOUSE_URL
      api_key: sk-plain-and-secret
      input_cost_per_token: 0.00000015
      output_cost_per_token: 6.0e-07
    model_info: {mode: chat}
  - model_name: claude
    litellm_params: {model: anthropic/claude-x, api_key: os.environ/A}
  - model_name: "*"
    litellm_params: {model: "openai/*"}
litellm_settings:
  max_budget: 100
  budget_duration: 30d
  drop_params: true
  fallbacks: [{"gpt-4o": ["gpt-4o-mini"]}]
router_settings: {routing_strategy: least-busy, num_retries: 2}
general_settings:
  master_key: sk-master-secret
  database_url: os.environ/PROXY_DB
environment_variables: {SLACK_URL: https://hooks.example/secret}
"""


def written(tmp_path: Path, text: str = CONFIG) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return path


def known(model: str) -> bool:
    return model.startswith("gpt-4o")


def test_what_fits_is_taken(tmp_path: Path) -> None:
    found = convert(read(written(tmp_path)), known)
    assert found.models == {"gpt-4o-mini": "gpt-4o-mini", "house": "house-7b"}
    assert found.environment == {
        "OPENAI_API_KEY": ["FIRST_KEY", "SECOND_KEY"],
        "OPENAI_BASE_URL": ["HOUSE_URL"],
        "DURE_DATABASE_URL": ["PROXY_DB"],
    }
    assert found.budgets == [
        {"scope": "org:default", "limit": "100", "unit": "usd", "window": "2592000"}
    ]
    book = PriceBook(found.prices)
    usage = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}
    for name in ("house", "house-7b"):
        assert book.cost(usage, model=name).pico == 450_000_000


def test_nothing_vanishes_and_no_secret_is_shown(tmp_path: Path) -> None:
    config = read(written(tmp_path))
    found = convert(config, known)
    left = [one.path for one in found.left_out]
    assert sorted(left + found.taken) == sorted(
        leaf for name, value in config.items() for leaf in _leaves(name, value)
    )
    reasons = {one.path: one.reason for one in found.left_out}
    assert "anthropic" in reasons["model_list[3].litellm_params.model"]
    assert "client.rates" in reasons["model_list[0].litellm_params.rpm"]
    assert "plain text" in reasons["model_list[2].litellm_params.api_key"]
    assert "first-start" in reasons["general_settings.master_key"]
    assert "secret" not in json.dumps([left, found.environment, found.prices, found.models])


names = st.sampled_from(
    ["model_name", "litellm_params", "model", "api_key", "rpm", "max_budget", "budget_duration",
     "database_url", "input_cost_per_token", "output_cost_per_token", "x"]
)  # fmt: skip
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True)
    | st.sampled_from(["gpt-4o", "openai/gpt-4o", "os.environ/A", "os.environ/", "30d", "1mo"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
sections = st.sampled_from(
    ["model_list", "litellm_settings", "general_settings", "router_settings", "other"]
)
models = st.fixed_dictionaries(
    {"model_name": st.sampled_from(["gpt-4o", "a"])},
    optional={"litellm_params": st.dictionaries(names, values, max_size=5), "x": values},
)


@given(st.dictionaries(sections, values | st.lists(models, max_size=3), max_size=5))
def test_whatever_a_file_says_nothing_vanishes(config: dict[str, Any]) -> None:
    found = convert(config, known)
    assert sorted([one.path for one in found.left_out] + found.taken) == sorted(
        leaf for name, value in config.items() for leaf in _leaves(name, value)
    )
    assert all(one.reason for one in found.left_out)


@pytest.mark.parametrize("text", ["- a", "a: [", "a: &x 1\nb: *x", "1", ""])
def test_a_file_that_is_none_says_so(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidArgumentError, match=r"config\.yaml"):
        read(written(tmp_path, text))


def test_the_command_writes_files_and_budgets(tmp_path: Path) -> None:
    data = tmp_path / "data"
    command = [sys.executable, "-m", "dure", "import", "litellm", str(written(tmp_path))]
    command += ["--out", str(tmp_path / "out"), "--apply", "--data", str(data), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    told = json.loads(done.stdout)
    assert told["models"]["house"] == "house-7b"
    lines = (tmp_path / "out" / "dure.env").read_text().splitlines()
    assert "OPENAI_API_KEY=${FIRST_KEY},${SECOND_KEY}" in lines
    assert f"DURE_PRICES={tmp_path / 'out' / 'prices.json'}" in lines
    PriceBook(tmp_path / "out" / "prices.json")
    from dure._core import money
    from dure.costs import Budgets

    (budget,) = Budgets(money.Account.shared(str(data))).list("org:default")
    assert (budget.limit, budget.unit) == (100, "usd")
    assert "secret" not in done.stdout.replace("a secret in plain text", "")
