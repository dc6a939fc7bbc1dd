"""The account of a batch: one hold a line, from before it is sent until the line's answer is there.

A batch runs for a day and outlives its process, so its holds do, too: they are detached, and found
again in the ledger by the name that the batch carries in its metadata. Each line is settled by its
own usage, at the batch price of the moment at which it was held and in that moment's windows.
"""

from __future__ import annotations

import json
import secrets
from contextlib import suppress
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from dure import _core
from dure._usage_bodies import member, read_usage
from dure.calls.fixed_price import was_refused, was_sent
from dure.costs import ledger_records, shipped
from dure.errors import DureError, InvalidArgumentError, NotFoundError, UnknownPriceError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dure.calls import Call
    from dure.calls.settings import View

__all__ = [
    "ENDED",
    "METADATA",
    "BatchLine",
    "hold",
    "not_made",
    "open_lines",
    "read_lines",
    "settle",
]

METADATA = "dure_batch"  # of the batch: the name under which its lines are held
ENDED = frozenset(("completed", "expired", "cancelled", "failed"))
_LONGEST_US = 25 * 3600 * 1_000_000  # the provider's window and an hour
_MARK = "batch-"
_FLAG_BATCH = 1 << 7

HoldId = tuple[int, int]


class BatchLine:
    """One line of an input file and the hold of it."""

    __slots__ = ("at_us", "digest", "hold", "model")

    def __init__(self, hold: HoldId, digest: str, model: str, at_us: int) -> None:
        self.hold, self.digest, self.model, self.at_us = hold, digest, model, at_us


def _digest(custom_id: object) -> str:
    return sha256(str(custom_id).encode()).hexdigest()[:32]


def read_lines(text: str, what: str) -> list[dict[str, Any]]:
    """Return the objects of a JSONL file.

    Raises:
        InvalidArgumentError: a line is none, or has no `custom_id`.
    """
    lines = []
    for number, line in enumerate(text.split("\n"), 1):  # no other sign ends a line of JSON
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except ValueError:
            found = None
        if not isinstance(found, dict) or "custom_id" not in found:
            raise InvalidArgumentError(
                f"line {number} of the {what} file is no JSON object with a custom_id",
                argument="input_file_id",
            )
        lines.append(found)
    return lines


def hold(view: View, call: Call | None, endpoint: str, text: str) -> str:
    """Hold every line of an input file and note that it is about to be sent; return the name.

    Raises:
        BudgetExceededError: a line does not fit; none is held.
        UnknownPriceError: a model has no price for batches.
        InvalidArgumentError: a line is no request, or its `custom_id` stands twice.
        StorageError: the ledger cannot be written.
    """
    view.native()  # a closed view refuses
    native = view.core
    account, options = native.account, view.options(call)
    now_us = _core.money.wall_us()
    path = "/" + endpoint.strip("/").removeprefix("v1/")
    name = _MARK + secrets.token_hex(8)
    held: dict[str, HoldId] = {}
    try:
        for line in read_lines(text, "input"):
            digest = _digest(line["custom_id"])
            if digest in held:
                raise InvalidArgumentError(
                    f"the custom_id {line['custom_id']!r} stands twice", argument="input_file_id"
                )
            body = json.dumps(line.get("body")).encode()
            model, input_pico, input_tokens, rate, outputs, hidden = native.estimate(
                view.endpoint, path, body, options, "batch", now_us + _LONGEST_US
            )
            held[digest] = account.reserve(
                [*(call.scopes() if call else []), f"model:{model}",
                 f"provider:{view.endpoint.provider}"],
                input_pico=input_pico, input_tokens=input_tokens, output_rate=rate,
                max_output=outputs, hidden_output=hidden, detached=True, model=model,
                service=(call.service or "") if call else "", call_id=f"{name}/{digest}",
                flags=_FLAG_BATCH,
            )  # fmt: skip
        for one in held.values():
            account.sent(one)
    except BaseException:
        _give_up(account, held.values())
        raise
    if not held:
        raise InvalidArgumentError("the input file has no line", argument="input_file_id")
    return name


def _give_up(account: _core.money.Account, holds: Iterable[HoldId]) -> None:
    for one in holds:
        with suppress(DureError):
            account.settle(one, pico=0, input_tokens=0, output_tokens=0)


def not_made(view: View, name: str, error: BaseException) -> None:
    """End the holds of a batch whose creation failed: by whether the provider may have it."""
    account = view.core.account
    nothing = was_refused(error) or not was_sent(error)
    for line in open_lines(account, name):
        with suppress(DureError):
            if nothing:
                account.settle(line.hold, pico=0, input_tokens=0, output_tokens=0)
            else:
                account.settle_possible_spend(line.hold)


def open_lines(account: _core.money.Account, name: str) -> list[BatchLine]:
    """Return the lines of a batch that nobody has settled, whichever process held them."""
    held: dict[HoldId, BatchLine] = {}
    ended: set[HoldId] = set()
    for record in ledger_records(account.folder):
        one: Any = record.get("id")
        if record["type"] == "RESERVE":
            batch, _, digest = str(record["call_id"]).partition("/")
            if batch == name:
                at_us: Any = record["at_us"]
                held[one] = BatchLine(one, digest, str(record["model"]), at_us)
        elif record["type"] in {"SETTLE", "VOID", "EXPIRE"}:
            ended.add(one)
    return [line for one, line in held.items() if one not in ended]


def settle(view: View, name: str, *texts: str) -> int:
    """Settle each line by its answer in the output and error files; return how many there were.

    A line without an answer was not carried out: the provider bills nothing for it.
    """
    account = view.core.account
    answers = {
        _digest(line["custom_id"]): line for text in texts for line in read_lines(text, "output")
    }
    lines = open_lines(account, name)
    for line in lines:
        with suppress(NotFoundError):  # another process settled it meanwhile
            _settle_line(view, account, line, answers.get(line.digest))
    return len(lines)


def _settle_line(
    view: View, account: _core.money.Account, line: BatchLine, answer: dict[str, Any] | None
) -> None:
    response = member(answer, "response") or {}
    body = member(response, "body") or {}
    if member(response, "status_code") != 200:
        account.settle(line.hold, pico=0, input_tokens=0, output_tokens=0)
        return
    try:
        fields, contains = read_usage(body, line.model)
        account.settle_usage(
            line.hold,
            (view.prices or shipped()).native,
            fields,
            contains,
            model=line.model,
            at_us=line.at_us,
            mode="batch",
            returned_model=str(member(body, "model") or ""),
            request_id=str(member(response, "request_id") or ""),
        )
    except (InvalidArgumentError, UnknownPriceError):  # no usage, or none that can be priced
        account.settle_possible_spend(line.hold)
