"""`dure import litellm CONFIG`: another gateway's configuration as settings of this one."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dure.errors import InvalidArgumentError, InvalidModelError, MissingExtraError

from .output import print_json, say
from .places import data_folder

if TYPE_CHECKING:
    import argparse

    from dure.service.litellm_config import Imported


def run(options: argparse.Namespace) -> int:
    """Show what it comes to; with `--out` write its files, with `--apply` its budgets."""
    try:
        from dure.service import litellm_config
    except ModuleNotFoundError as missing:
        raise MissingExtraError.of("service", missing.name or "PyYAML") from None
    found = litellm_config.convert(litellm_config.read(Path(options.file)), _knows)
    if options.out:
        _write(Path(options.out), found)
    if options.apply:
        _apply(options, found)
    if options.json:
        print_json(asdict(found))
    else:
        _tell(found)
    return 0


def _knows(model: str) -> bool:
    from dure.manager import OpenAIClientManager

    try:
        OpenAIClientManager().get_model_config(model)
    except InvalidModelError:
        return False
    return True


def _write(folder: Path, found: Imported) -> None:
    from dure.costs import PriceBook

    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{ours}={_joined(names)}" for ours, names in found.environment.items()]
    if found.prices:
        PriceBook(found.prices)  # what cannot be a price file is not written
        path = folder / "prices.json"
        path.write_text(json.dumps(found.prices, indent=1) + "\n")
        lines.append(f"DURE_PRICES={path.resolve()}")
    (folder / "dure.env").write_text("".join(f"{line}\n" for line in lines))


def _joined(names: list[str]) -> str:
    return ",".join(f"${{{name}}}" for name in names)


def _apply(options: argparse.Namespace, found: Imported) -> None:
    from datetime import timedelta

    from dure._core import money
    from dure.costs import Budgets

    if not found.budgets:
        raise InvalidArgumentError("there is no budget in it to apply", argument="apply")
    budgets = Budgets(money.Account.shared(str(data_folder(options))))
    for one in found.budgets:
        window: Any = one["window"]
        if window.isdigit():
            window = timedelta(seconds=int(window))
        budgets.set(one["scope"], limit=one["limit"], window=window, unit="usd")


def _tell(found: Imported) -> None:
    for name, model in found.models.items():
        say(f"model    {name}" + ("" if name == model else f" -> {model}"))
    for ours, names in found.environment.items():
        say(f"variable {ours} from {', '.join(names)}")
    for record in found.prices:
        say(f"prices   {record['id']}")
    for budget in found.budgets:
        say(f"budget   {budget['scope']} {budget['limit']} USD per {budget['window']}")
    for left in found.left_out:
        say(f"left out {left.path}: {left.reason}")
