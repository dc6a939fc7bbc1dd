"""Overlays of a `PriceBook`: read whole and checked before anything of them counts.

A slip of the pen must not become a price: every key, name and number is known or refused, and the
error says where it stands (`prices.json: gpt-4o.prices[1].when.mode`).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from dure import _core
from dure.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterable

    Rate = tuple[str, int, int]

__all__ = ["Overlay", "read_json"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MOST = 2**63 - 1
_SHORT = {"input": "input.text", "output": "output.text", "cache_read": "input.text.cache_read"}
_OF_RECORD = ("id", "aliases", "prices")
_OF_ROW = ("from", "until", "source", "when", "rates", "factor")
_OF_WHEN = ("service_tier", "mode", "region", "quality", "size", "input_over", "hours")
_TIERS = {
    "default": "default",
    "standard": "default",
    "flex": "flex",
    "priority": "priority",
    "fast": "priority",  # another word for it
    "scale": "scale",
}
_MODES = {"standard": "standard", "batch": "batch"}
_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")
_DAY = 24 * 3600


def read_json(path: str | os.PathLike[str], argument: str) -> object:
    """Return a JSON file with its numbers as decimals; a key that stands twice is refused.

    Raises:
        InvalidArgumentError: The file cannot be read, or is no such JSON; `.path` is the file.
    """

    def refuse(what: str) -> NoReturn:
        raise InvalidArgumentError(f"{path} {what}", argument=argument, path=str(path))

    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            refuse(f"has the key {twice!r} twice in one object")
        return found

    try:
        text = Path(path).read_text("utf-8")
        return json.loads(text, parse_float=Decimal, object_pairs_hook=once)
    except OSError as error:
        refuse(f"cannot be read: {error.strerror or error}")
    except InvalidArgumentError:
        raise
    except (ValueError, RecursionError) as error:
        refuse(f"is no JSON: {error}")


class Overlay:
    """One layer of prices as the core takes it, and where it came from."""

    def __init__(self, source: object) -> None:
        """Read a path, a list of records or a mapping.

        Raises:
            InvalidArgumentError: Anything in it is unknown, missing or out of range; `.path` says
                file, record and field.
        """
        self._file = ""
        if isinstance(source, str | os.PathLike):
            self._file = os.fspath(source)
            source = read_json(source, "overlay")
        self.prices = self._read(source)

    def located(self, error: InvalidArgumentError) -> InvalidArgumentError:
        """Return the core's refusal of this layer, its path with the file before it."""
        if not self._file:
            return error
        path = f"{self._file}: {getattr(error, 'path', None) or ''}"
        return InvalidArgumentError(f"{error} ({self._file})", argument="overlay", path=path)

    def _read(self, source: object) -> list[_core.catalog._Prices]:
        if isinstance(source, Mapping) and "models" in source:
            self._known("overlay", source, ("models",))
            source = source["models"]
        if isinstance(source, Mapping):
            return [self._short(self._text(model, "", "id"), source[model]) for model in source]
        if not isinstance(source, list | tuple):
            self._wrong("", "", "overlay must be a path, dict or list")
        return [self._record(number, entry) for number, entry in enumerate(source)]

    # What is wrong, and where ------------------------------------------------------------------

    def _wrong(self, model: str, field: str, what: str) -> NoReturn:
        place = f"{model}.{field}" if model and field else model or field
        path = f"{self._file}: {place}" if self._file else place
        text = f"price book, {model}: {what}" if model else f"price book: {what}"
        where = f" (at {path})" if self._file or field else ""
        raise InvalidArgumentError(text + where, argument="overlay", path=path or None)

    def _known(self, model: str, given: Mapping[str, object], names: tuple[str, ...],
               field: str = "") -> None:  # fmt: skip
        for name in given:
            if name not in names:
                at = f"{field}.{name}" if field else str(name)
                self._wrong(model, at, f"unknown field {name!r}; there are {', '.join(names)}")

    def _mapping(self, value: object, model: str, field: str) -> Mapping[str, object]:
        if not isinstance(value, Mapping):
            self._wrong(model, field, f"must be a dict, not {type(value).__name__}")
        return value

    def _text(self, value: object, model: str, field: str) -> str:
        if not isinstance(value, str) or not value:
            self._wrong(model, field, f"must be a text that is not empty, not {value!r}")
        return value

    def _one_of(self, value: object, names: dict[str, str], model: str, field: str) -> str:
        if not isinstance(value, str) or value not in names:
            self._wrong(model, field, f"{value!r} is none of {', '.join(names)}")
        return names[value]

    def _integer(self, value: object, least: int, model: str, field: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            self._wrong(model, field, f"must be an int, not {type(value).__name__}")
        if not least <= value <= _MOST:
            self._wrong(model, field, f"must be {least} to 2^63-1, not {value}")
        return value

    # Records -----------------------------------------------------------------------------------

    def _short(self, model: str, prices: object) -> _core.catalog._Prices:
        rates: list[Rate] = []
        for name, dollars in self._mapping(prices, model, "").items():
            if name not in _SHORT:
                self._wrong(model, str(name), f"{name!r} is none of {', '.join(_SHORT)}")
            if isinstance(dollars, bool) or not isinstance(dollars, str | int | Decimal):
                what = f"a {type(dollars).__name__} is not exact"
                self._wrong(model, name, f'must be dollars, for example "0.15": {what}')
            try:
                pico = _core.money.parse_dollars(str(dollars))
            except InvalidArgumentError as error:
                self._wrong(model, name, str(error))
            rates.append((_SHORT[name], self._integer(pico, 0, model, name), 1_000_000))
        if not rates:
            self._wrong(model, "", "has no price")
        return model, [], [
            (None, None, "default", "standard", "*", 0, (0, 0), rates, "overlay", ("*", "*"))
        ]  # fmt: skip

    def _record(self, number: int, entry: object) -> _core.catalog._Prices:
        record = self._mapping(entry, "", f"[{number}]")
        model = self._text(record.get("id"), "", f"[{number}].id")
        self._known(model, record, _OF_RECORD)
        aliases = [
            self._text(alias, model, f"aliases[{i}]")
            for i, alias in enumerate(self._list(record.get("aliases"), model, "aliases"))
        ]
        given = [
            self._mapping(row, model, f"prices[{i}]")
            for i, row in enumerate(self._list(record.get("prices"), model, "prices"))
        ]
        if not given:
            self._wrong(model, "prices", "must have at least one row")
        rows = [self._row(model, f"prices[{i}]", row) for i, row in enumerate(given)]
        for i, row in enumerate(given):
            if "factor" in row:
                rows[i] = self._with_factor(model, f"prices[{i}].factor", row["factor"], i, rows)
        self._hours_apart(model, rows)
        return model, aliases, rows

    def _list(self, value: object, model: str, field: str) -> list[object]:
        if value is None:
            return []
        if not isinstance(value, list | tuple):
            self._wrong(model, field, f"must be a list, not {type(value).__name__}")
        return list(value)

    def _row(self, model: str, field: str, row: Mapping[str, object]) -> _core.catalog._PriceRow:
        self._known(model, row, _OF_ROW, field)
        if ("rates" in row) == ("factor" in row):
            self._wrong(model, field, "a row has either rates or a factor")
        when = self._mapping(row.get("when", {}), model, f"{field}.when")
        self._known(model, when, _OF_WHEN, f"{field}.when")
        of = f"{field}.when"
        return (
            self._moment(row.get("from"), model, f"{field}.from"),
            self._moment(row.get("until"), model, f"{field}.until"),
            self._one_of(when.get("service_tier", "default"), _TIERS, model, f"{of}.service_tier"),
            self._one_of(when.get("mode", "standard"), _MODES, model, f"{of}.mode"),
            self._text(when.get("region", "*"), model, f"{of}.region"),
            self._integer(when.get("input_over", 0), 0, model, f"{of}.input_over"),
            self._hours(when.get("hours"), model, f"{of}.hours"),
            self._rates(row["rates"], model, f"{field}.rates") if "rates" in row else [],
            self._text(row.get("source", "overlay"), model, f"{field}.source"),
            (
                self._text(when.get("quality", "*"), model, f"{of}.quality"),
                self._text(when.get("size", "*"), model, f"{of}.size"),
            ),
        )

    def _rates(self, given: object, model: str, field: str) -> list[Rate]:
        rates: list[Rate] = []
        for unit, value in self._mapping(given, model, field).items():
            at = f"{field}.{unit}"
            if unit not in _core.catalog.UNITS:
                self._wrong(
                    model,
                    at,
                    f"there is no unit {unit}; there are: {' '.join(_core.catalog.UNITS)}",
                )
            pair = value if isinstance(value, list | tuple) else (value, 1)
            if len(pair) != 2:
                self._wrong(model, at, "must be an int of pico-dollars, or [int, per]")
            pico, per = pair
            rates.append(
                (unit, self._integer(pico, 0, model, at), self._integer(per, 1, model, at))
            )
        if not rates:
            self._wrong(model, field, "has no rate")
        return rates

    def _moment(self, value: object, model: str, field: str) -> int | None:
        if value is None:
            return None
        try:
            moment = datetime.fromisoformat(self._text(value, model, field))
        except ValueError as error:
            if isinstance(error, InvalidArgumentError):
                raise
            self._wrong(model, field, f"{value!r} is no time like 2026-01-31T00:00:00Z ({error})")
        if moment.tzinfo is None:
            self._wrong(model, field, f"{value!r} needs a time zone, as in 2026-01-31T00:00:00Z")
        return (moment - _EPOCH) // timedelta(microseconds=1)

    def _hours(self, value: object, model: str, field: str) -> tuple[int, int]:
        """Return `"16:30-00:30"` (UTC) as seconds after midnight; (0, 0): all day."""
        if value is None:
            return 0, 0
        found = _HOURS.fullmatch(value) if isinstance(value, str) else None
        if found is None:
            self._wrong(model, field, f"{value!r} are no hours like 16:30-00:30")
        hours = [int(part) for part in found.groups()]
        first, last = hours[0] * 3600 + hours[1] * 60, hours[2] * 3600 + hours[3] * 60
        if first == last:
            self._wrong(model, field, f"{value!r} is no span of hours: leave all day out")
        return first, last

    def _with_factor(
        self, model: str, field: str, factor: object, number: int,
        rows: list[_core.catalog._PriceRow],
    ) -> _core.catalog._PriceRow:  # fmt: skip
        """Return a region's row with `factor: [num, den]` as rates: any region's times it."""
        if not isinstance(factor, list | tuple) or len(factor) != 2:
            self._wrong(
                model, field, "factor must be two ints above zero: [numerator, denominator]"
            )
        num, den = (self._integer(part, 1, model, field) for part in factor)
        row = rows[number]
        wanted = _conditions(row)
        bases = [r for r in rows if r[7] and r[4] == "*" and _conditions(r) == wanted]
        if not bases:
            self._wrong(model, field, "a factor needs a row of any region with the same conditions")
        rates = []
        for unit, pico, per in bases[0][7]:
            scaled = self._integer(pico * num, 0, model, field)
            rates.append((unit, scaled, self._integer(per * den, 1, model, field)))
        return (*row[:7], rates, *row[8:])

    def _hours_apart(self, model: str, rows: list[_core.catalog._PriceRow]) -> None:
        """Refuse two rows of overlapping hours; the same hours and all day the core compares."""
        for i, row in enumerate(rows):
            for j in range(i):
                other = rows[j]
                same = row[2:6] == other[2:6] and row[9] == other[9]
                if not same or not _dates_meet(row, other):
                    continue
                if row[6] != other[6] and _hours_meet(row[6], other[6]):
                    self._wrong(
                        model,
                        f"prices[{i}].when.hours",
                        f"its hours overlap those of prices[{j}]",
                    )


def _conditions(row: _core.catalog._PriceRow) -> tuple[object, ...]:
    """Return all that a row asks of a call but its region."""
    return (*row[:4], *row[5:7], row[9])


def _dates_meet(a: _core.catalog._PriceRow, b: _core.catalog._PriceRow) -> bool:
    def before(end: int | None, start: int | None) -> bool:
        return end is not None and start is not None and end <= start

    return not before(a[1], b[0]) and not before(b[1], a[0])


def _hours_meet(a: tuple[int, int], b: tuple[int, int]) -> bool:
    """Whether two windows of a day share a second; all day stands apart, it is the rest."""
    if (0, 0) in (a, b):
        return False

    def spans(hours: tuple[int, int]) -> Iterable[tuple[int, int]]:
        first, last = hours
        return [(first, last)] if first < last else [(first, _DAY), (0, last)]

    return any(x < v and u < y for x, y in spans(a) for u, v in spans(b))
