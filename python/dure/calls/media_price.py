"""The account of images and speech: held at most before they are sent, settled by their usage.

What a call can use at most is known from its parameters: the characters to speak, the length of
the sound, the images to draw. What it did use is in the answer, in one of these shapes:

    images                {"usage": {"input_tokens", "output_tokens", "..._details"}}
    speech                nothing: its characters; a stream: `speech.audio.done` with a `usage`
    transcription         {"usage": {"type": "tokens", ...} | {"type": "duration", "seconds"}}

A call whose answer says nothing has spent what was held for it, flagged `possible_spend`.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from decimal import Decimal
from io import BytesIO
from typing import TYPE_CHECKING, Any

from dure import _core
from dure._usage_bodies import member, read_usage
from dure.calls import sound
from dure.calls.fixed_price import FixedPrice, unpriced
from dure.calls.paths import plain
from dure.costs import shipped
from dure.errors import InvalidArgumentError, InvalidModelError, UnknownPriceError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dure._core import client as core
    from dure.calls import Call
    from dure.costs import PriceBook

__all__ = ["MediaPrice", "fields_of_form", "is_media"]

IMAGES = ("/images/generations", "/images/edits", "/images/variations")
HEARD = ("/audio/transcriptions", "/audio/translations")
SPOKEN = "/audio/speech"

_MOST_IMAGES = 128
_MOST_PARTIAL = 3  # pictures on the way of a stream, 100 tokens each
_PARTIAL_TOKENS = 100
# Speech has about 1,250 tokens a minute; nobody speaks slower than five letters a second.
_TOKENS_A_LETTER = 5
_FORM_FIELD = re.compile(rb'form-data; name="([^"\r\n]+)"\r\n(?:[^\r\n]+\r\n)*\r\n([^\r\n]*)\r\n')
_FORM_FILE = re.compile(
    rb'form-data; name="([^"\r\n]+)"; filename=[^\r\n]*\r\n(?:[^\r\n]+\r\n)*\r\n'
)


def is_media(path: str) -> bool:
    """Whether a path draws, speaks or listens."""
    path = plain(path)
    return path in IMAGES or path in HEARD or path == SPOKEN


def fields_of_form(body: bytes) -> dict[str, Any]:
    """Return the plain fields of a `multipart/form-data` body."""
    return {
        name.decode("utf-8", "replace"): value.decode("utf-8", "replace")
        for name, value in _FORM_FIELD.findall(body)
    }


class MediaPrice(FixedPrice):
    """Holds the most that an image or a piece of speech may cost; its usage settles it.

    `heard(reply)` inside the block takes the usage of the answer.

    Raises:
        UnknownPriceError: the price book has nothing for the model, or not by what it is billed.
        BudgetExceededError: the most does not fit a budget, or exceeds the call's `max_cost`.
    """

    def __init__(
        self,
        account: _core.money.Account,
        call: Call,
        path: str,
        parameters: Mapping[str, Any],
        body: object,
        *,
        prices: PriceBook | None = None,
        key_ids: Sequence[str] = (),
    ) -> None:
        self._path = plain(path)
        self._given = parameters
        self._body = body if isinstance(body, bytes) else b""
        self._book = prices or shipped()
        self._region = call.region or ""
        model = parameters.get("model")
        if not isinstance(model, str) or not model:
            raise unpriced("POST", path, None)
        self._named = model
        self._exact: dict[str, Any] | None = None  # known before the answer
        self._used: dict[str, Any] | None = None
        self._request_id = ""
        self._at_us = _core.money.wall_us()
        most = self._most()
        if most is None:
            raise unpriced("POST", path, model)
        super().__init__(account, call, model, key_ids, pico=most)

    # What it may cost

    def _most(self) -> int | None:
        """Return the pico-dollars of the most that the call may use; None: nobody can say."""
        if self._path == SPOKEN:
            kinds = [self._characters(), self._spoken_tokens()]
        elif self._path in HEARD:
            kinds = [self._seconds(), self._heard_tokens()]
        else:
            kinds = [{"images": self._images()}, self._drawn_tokens()]
        for usage in kinds:
            if usage is not None and (cost := self._cost(usage)) is not None:
                if "characters" in usage or "images" in usage or self._exact:
                    self._exact = usage
                return cost
        return None

    def _cost(self, usage: Mapping[str, Any]) -> int | None:
        try:
            return self._book.cost(
                usage,
                model=self._named,
                region=self._region or None,
                quality=self._picture("quality") or None,
                size=self._picture("size") or None,
            ).pico
        except (UnknownPriceError, InvalidModelError):
            return None

    def _picture(self, name: str) -> str:
        value = self._given.get(name)
        return value if self._path in IMAGES and isinstance(value, str) else ""

    def _characters(self) -> dict[str, Any] | None:
        text = self._given.get("input")
        return {"characters": len(text)} if isinstance(text, str) and text else None

    def _spoken_tokens(self) -> dict[str, Any] | None:
        limits = self._limits()
        text = self._given.get("input")
        if limits is None or not isinstance(text, str):
            return None
        pace = self._given.get("speed")
        slower = max(1.0, 1 / pace) if isinstance(pace, int | float) and pace > 0 else 1.0
        letters = int(len(text) * _TOKENS_A_LETTER * slower) + _TOKENS_A_LETTER
        told = self._text_tokens("input") + self._text_tokens("instructions")
        return _tokens(told, min(letters, limits[1]))

    def _seconds(self) -> dict[str, Any] | None:
        found = _FORM_FILE.search(self._body)
        if found is None:
            return None
        content = BytesIO(self._body[found.end() :])
        size = len(self._body) - found.end()
        known = sound.known_length(content, size)
        if known is not None and self._cost({"seconds": str(known)}) is not None:
            self._exact = {"seconds": str(known)}
            return self._exact
        return {"seconds": str(sound.longest(content, size))}

    def _heard_tokens(self) -> dict[str, Any] | None:
        limits = self._limits()
        if limits is None:
            return None
        return _tokens(limits[0], limits[1], input_details={"audio_tokens": limits[0]})

    def _images(self) -> int:
        count = self._given.get("n") or 1
        if isinstance(count, str) and count.isdecimal():
            count = int(count)
        if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= _MOST_IMAGES:
            raise InvalidArgumentError(
                f"n must be a whole number from 1 to {_MOST_IMAGES}", argument="n"
            )
        return count

    def _drawn_tokens(self) -> dict[str, Any] | None:
        limits = self._limits()
        if limits is None:
            return None
        each = limits[1] + _MOST_PARTIAL * _PARTIAL_TOKENS
        seen = min(limits[0], len(_FORM_FILE.findall(self._body)) * limits[1])
        drawn = self._images() * each
        told = min(limits[0], self._text_tokens("prompt")) + seen
        return _tokens(told, drawn, {"image_tokens": seen}, {"image_tokens": drawn})

    def _limits(self) -> tuple[int, int] | None:
        """Return the most tokens in, and out for one answer; None: it has no tokens."""
        from dure.models import MODEL_CATALOG

        config = MODEL_CATALOG.get(self._named)
        if config is None or not config.max_tokens:
            return None
        return config.max_input_tokens, config.max_tokens

    def _text_tokens(self, name: str) -> int:
        from dure import tokens

        text = self._given.get(name)
        return tokens.count(text) if isinstance(text, str) else 0

    # What it did cost

    def heard(self, reply: core.Reply) -> None:
        """Take what the answer says it used."""
        if self._exact is not None and self._path not in HEARD:
            return
        with suppress(Exception):  # a body that is still to come, or that is none of JSON
            self._request_id = dict(reply.headers).get("x-request-id", "")
            self._used = usage_of(reply.body)

    def _settle(self, account: _core.money.Account, hold: tuple[int, int]) -> None:
        used = self._used or self._exact
        if used is not None and self._path in IMAGES and "output_tokens" in used:
            used = drawn(used)
        if used is None:
            return account.settle_possible_spend(hold)
        try:
            fields, contains = read_usage(used, self._named)
            found = account.settle_usage(
                hold, self._book.native, fields, contains,
                model=self._named, at_us=self._at_us, region=self._region,
                quality=self._picture("quality"), size=self._picture("size"),
                request_id=self._request_id,
            )  # fmt: skip
        except (InvalidArgumentError, UnknownPriceError):  # in units that have no price
            return account.settle_possible_spend(hold)
        self.pico = found[0]
        return None


def _tokens(
    told: int,
    made: int,
    input_details: Mapping[str, int] | None = None,
    output_details: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    return {
        "input_tokens": told,
        "output_tokens": made,
        "input_tokens_details": input_details or {},
        "output_tokens_details": output_details or {},
    }


def drawn(usage: Mapping[str, Any]) -> dict[str, Any]:
    """Return the usage of images: what is not told to be text was drawn."""
    details = usage.get("output_tokens_details")
    if isinstance(details, dict) and details:
        return dict(usage)
    return {**usage, "output_tokens_details": {"image_tokens": usage["output_tokens"]}}


def usage_of(body: bytes) -> dict[str, Any] | None:
    """Return the usage that an answer or the last event of a stream tells; None: it tells none."""
    found = None
    texts = [body]
    if body.lstrip().startswith((b"data:", b"event:")):
        texts = [line[5:] for line in body.splitlines() if line.startswith(b"data:")]
    for text in texts:
        with suppress(ValueError):
            found = _told(json.loads(text, parse_float=Decimal)) or found
    return found


def _told(answer: object) -> dict[str, Any] | None:
    usage = member(answer, "usage") if isinstance(answer, dict) else None
    if isinstance(usage, dict):
        return usage
    seconds = member(answer, "duration") if isinstance(answer, dict) else None
    return None if seconds is None else {"seconds": seconds}
