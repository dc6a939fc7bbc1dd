"""What a call costs that the core does not price: by the settings, or by the tokens of a text."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from decimal import ROUND_CEILING, Decimal
from types import TracebackType
from typing import Any

from dure import tokens
from dure._core.catalog import canonical
from dure._core.money import Account
from dure.calls import Call
from dure.calls.fixed_price import FixedPrice, was_refused, was_sent
from dure.costs import PriceBook
from dure.errors import DureError, InvalidArgumentError, UnknownPriceError
from dure.service.settings import Settings

__all__ = ["CompletionHold", "Free", "SettledPrice", "price_of"]

_PICO = Decimal(1).scaleb(-12)
_MOST_COMPLETIONS = 128


def price_of(settings: Settings, model: str, **counts: Decimal | int) -> Decimal:
    """Return the dollars of a call, by the first unit that the settings have a price for.

    `counts` says how many of each unit the call is: `image=2`, `character=100`, `second=...`; a
    price by `call` counts once, one by `minute` goes by the seconds.

    Raises:
        UnknownPriceError: the settings have no price for the model in any of these units.
    """
    known = settings.call_prices.get(model) or settings.call_prices.get("*") or {}
    units = {"call": Decimal(1), **{unit: Decimal(count) for unit, count in counts.items()}}
    if "second" in units:
        units["minute"] = units["second"] / 60
    for unit, count in units.items():
        rate = known.get(unit)  # type: ignore[call-overload]
        if rate is not None:
            found: Decimal = (rate * count).quantize(_PICO, ROUND_CEILING)
            return found
    raise UnknownPriceError(
        f"no price is known for {model}: name one in DURE_CALL_PRICES, by {' or '.join(units)}",
        model=model,
        unit=next(iter(counts), "call"),
    )


class Free:
    """The account of a call that costs nothing, or that nobody counts."""

    pico: int | None = None

    def __enter__(self) -> Free:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class SettledPrice(FixedPrice):
    """A price that is an upper bound; what the answer says replaces it before the block ends."""

    def really(self, dollars: Decimal) -> None:
        """Settle this instead; never more than was held."""
        pico = int((dollars / _PICO).to_integral_value(ROUND_CEILING))
        self.pico = min(pico, self.pico)


class CompletionHold:
    """Holds the most that a text completion may cost; leaving the block settles what it did.

    `used` takes the usage that the provider reports; without one the text that came is counted.
    """

    def __init__(
        self, account: Account, call: Call, body: Mapping[str, Any], key_ids: list[str]
    ) -> None:
        """Count the prompt.

        Raises:
            InvalidModelError, UnknownPriceError: no such model, or none with a price.
            InvalidArgumentError: a number is none, or out of range.
        """
        self._account, self._call = account, call
        self._model = canonical(body["model"])
        self._book = PriceBook()
        prompts = _prompts(body.get("prompt", ""))
        self._input = sum(
            len(one) if isinstance(one, list) else tokens.count(one, model=self._model)
            for one in prompts
        )
        most = _number(body, "max_tokens", 16, 1 << 20)
        choices = max(
            _number(body, "n", 1, _MOST_COMPLETIONS), _number(body, "best_of", 1, _MOST_COMPLETIONS)
        )
        self._output = most * choices * len(prompts)
        self._keys = [key for key in key_ids if key]
        self._reported: dict[str, int] | None = None
        self._text: list[str] = []
        self.pico: int | None = None

    def used(self, usage: Mapping[str, Any] | None) -> None:
        """Take over what the provider reports."""
        if usage:
            self._reported = {
                name: int(usage[name]) for name in ("prompt_tokens", "completion_tokens")
            }

    def came(self, text: str) -> None:
        """Note a piece of the answer."""
        self._text.append(text)

    def _cost(self, prompt: int, completion: int) -> int:
        usage = {"prompt_tokens": prompt, "completion_tokens": completion}
        return self._book.cost(usage, model=self._model).pico

    def __enter__(self) -> CompletionHold:
        account = self._account
        scopes = [*self._call.scopes(), f"model:{self._model}"]
        self._hold = account.reserve(
            [*scopes, *(f"key:{key}" for key in self._keys)],
            input_pico=self._cost(self._input, 0),
            input_tokens=self._input,
            output_rate=self._cost(0, 1),
            max_output=self._output,
            model=self._model,
            service=self._call.service or "",
            key_id=self._keys[0] if len(self._keys) == 1 else "",
        )
        try:
            account.sent(self._hold)
        except BaseException:
            with suppress(DureError):
                account.void_hold(self._hold)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None and (was_refused(error) or not was_sent(error)):
            self._account.settle(self._hold, pico=0, input_tokens=0, output_tokens=0)
            return
        if error is not None and self._reported is None and not self._text:
            self._account.settle_possible_spend(self._hold)
            return
        found = self._reported or {
            "prompt_tokens": self._input,
            "completion_tokens": tokens.count("".join(self._text), model=self._model),
        }
        prompt, completion = found["prompt_tokens"], found["completion_tokens"]
        self.pico = self._cost(prompt, completion)
        self._account.settle(
            self._hold, pico=self.pico, input_tokens=prompt, output_tokens=completion
        )


def _prompts(given: object) -> list[str | list[int]]:
    """Return the prompts: a text, texts, token ids, or lists of these.

    Raises:
        InvalidArgumentError: it is none of them.
    """
    found: list[Any] = given if isinstance(given, list) else [given]
    if found and all(type(one) is int for one in found):
        found = [found]
    for one in found:
        ids = isinstance(one, list) and all(type(i) is int for i in one)
        if not isinstance(one, str) and not ids:
            raise InvalidArgumentError(
                "prompt must be a text, token ids, or a list of these", argument="prompt"
            )
    return found or [""]


def _number(body: Mapping[str, Any], name: str, default: int, most: int) -> int:
    value = body.get(name)
    if value is None:
        return default
    if type(value) is not int or not 0 <= value <= most:
        raise InvalidArgumentError(f"{name} must be a whole number to {most}", argument=name)
    return value
