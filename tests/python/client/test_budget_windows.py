"""Windows of budgets go on for as long as anybody uses the data folder."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from dure import _core
from dure.errors import BudgetExceededError

if TYPE_CHECKING:
    from collections.abc import Callable

    import dure

    from .conftest import Scripted

DAY = timedelta(days=1) // timedelta(seconds=1)
RENEWALS: dict[str, Callable[[Scripted, dure.Client], object]] = {
    "read": lambda _, client: client.budgets.read("org:acme"),
    "list": lambda _, client: client.budgets.list(),
    "set": lambda _, client: client.budgets.set("user:7", limit=1, window="lifetime"),
    "alerts": lambda _, client: client.budgets.alerts(),
    "open": lambda scripted, _: scripted.client(),
}


def spend(client: dure.Client) -> None:
    account = client.budgets.account
    hold = account.reserve(
        ["org:acme"], input_pico=10**12, input_tokens=1, output_rate=0, max_output=0
    )
    account.sent(hold)
    account.settle(hold, pico=10**12, input_tokens=1, output_tokens=0)


@pytest.mark.parametrize("renewal", RENEWALS)
def test_a_window_still_resets_after_years(
    renewal: str, scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The core knows 400 days; whoever looks at a budget or opens a client gives it the next."""
    clock = scripted.clock
    monkeypatch.setattr(_core.money, "wall_us", clock.wall_us)
    client = scripted.client()
    client.budgets.set("org:acme", limit=1, window="day", zone="Asia/Seoul")
    spend(client)
    for _ in range(2):
        clock.advance(401 * DAY)
        spend(client)  # in the last window that is known
        with pytest.raises(BudgetExceededError):
            spend(client)
        clock.advance(2 * DAY)
        RENEWALS[renewal](scripted, client)
        spend(client)
        budget = client.budgets.read("org:acme")
        assert budget.used == 1
        assert budget.resets_at is not None
        assert 0 < budget.resets_at.timestamp() - clock.wall_us() / 1e6 <= DAY
        assert budget.resets_at.hour == 15  # midnight in Seoul
