"""Everything that dure raises.

The tree::

    DureError
      InvalidArgumentError(ValueError)
        DimensionMismatchError, ModelMismatchError
        InvalidVectorError
        FilterError
        FileRefusedError
        DisallowedSpecialTokenError
      NotFoundError(LookupError)
      InvalidModelError
        UnknownPriceError
      BudgetExceededError
        RequestExceedsLimitError
      RateLimitError, QueueFullError
      DeadlineError(TimeoutError)
      UnavailableError(ConnectionError)
      UpstreamError
      TruncatedStreamError
      StorageError(OSError), StoreCorruptError(OSError)
        StoreVersionError(StorageError)
      OutOfMemoryError(MemoryError)
      UnsupportedError
      InternalError
      MissingExtraError(ImportError)

A cancel is `asyncio.CancelledError`, never one of these. No message, repr or attribute holds a key.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal

__all__ = [
    "BudgetExceededError",
    "DeadlineError",
    "DimensionMismatchError",
    "DisallowedSpecialTokenError",
    "DureError",
    "FileRefusedError",
    "FilterError",
    "InternalError",
    "InvalidArgumentError",
    "InvalidModelError",
    "InvalidVectorError",
    "MissingExtraError",
    "ModelMismatchError",
    "NotFoundError",
    "OutOfMemoryError",
    "QueueFullError",
    "RateLimitError",
    "RequestExceedsLimitError",
    "StorageError",
    "StoreCorruptError",
    "StoreVersionError",
    "TruncatedStreamError",
    "UnavailableError",
    "UnknownPriceError",
    "UnsupportedError",
    "UpstreamError",
]


class DureError(Exception):
    """The root: catch this to catch all of ours.

    Attributes:
        code: A stable word for programs, for example `"invalid_argument"`; the provider's own
            code where it sent one.
        http_status: The status with which a service answers for this error.
        retry_after: Seconds after which the same call may succeed, if that is known.
    """

    default_code: ClassVar[str] = "internal"
    default_http_status: ClassVar[int] = 500

    code: str
    http_status: int
    retry_after: float | None = None

    def __init__(self, *args: object, **details: object) -> None:
        super().__init__(*args)
        self.code = self.default_code
        self.http_status = self.default_http_status
        for name, value in details.items():
            setattr(self, name, value)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.args, dict(self.__dict__)))

    def to_dict(self) -> dict[str, object]:
        """Return type, message and every attribute that can be shown to a user."""
        public = {name: value for name, value in self.__dict__.items() if not name.startswith("_")}
        return {"type": type(self).__name__, "message": str(self), **public}


def _rebuild(
    kind: type[DureError], args: tuple[object, ...], state: dict[str, object]
) -> DureError:
    error = kind(*args)
    error.__dict__.update(state)
    return error


class InvalidArgumentError(DureError, ValueError):
    """The caller gave something that cannot work; `.argument` names it, `.path` where inside."""

    default_code = "invalid_argument"
    default_http_status = 400
    argument: str | None = None
    path: str | None = None


class DimensionMismatchError(InvalidArgumentError):
    """Vectors of another length than the collection stores."""

    collection: str
    stored: int
    given: int


class ModelMismatchError(InvalidArgumentError):
    """Vectors of another embedding model than the collection stores."""

    collection: str
    stored: str
    given: str


class InvalidVectorError(InvalidArgumentError):
    """A vector with NaN, infinity, or of length zero under cosine; `.row` says which."""

    row: int


class FilterError(InvalidArgumentError):
    """A `where=` that cannot be read; `.position` and `.reason` say where and why."""

    position: int
    reason: str


class FileRefusedError(InvalidArgumentError):
    """A file that is not loaded: unknown type, damaged, too large, unreadable."""

    path: str
    reason: str


class DisallowedSpecialTokenError(InvalidArgumentError):
    """The text holds a special token that was not allowed; the message is tiktoken's."""

    token: str
    position: int


class NotFoundError(DureError, LookupError):
    """No such thing, or not yours: the caller cannot tell which."""

    default_code = "not_found"
    default_http_status = 404


class InvalidModelError(DureError):
    """The model is unknown, or the service may not use it."""

    default_code = "invalid_model"
    default_http_status = 400
    model: str
    service: str | None = None


class UnknownPriceError(InvalidModelError):
    """No price is known for this model, unit and date: never taken as zero."""

    default_code = "unknown_price"
    unit: str
    at: str


class BudgetExceededError(DureError):
    """The call's upper bound does not fit what is left of a budget.

    Attributes:
        scope: The budget's scope, for example `"org:acme"`.
        unit: `usd`, `tokens` or `requests`.
        left_units: What is left in the smallest unit: pico-dollars, tokens or requests.
        resets_at_us: When enough becomes free, microseconds UTC; None: not by waiting.
        approval_id: What an administrator needs for a grant, where the budget asks for one.
    """

    default_code = "limit_exceeded"
    default_http_status = 429
    scope: str
    unit: str = "usd"
    left_units: int | None = None
    resets_at_us: int | None = None
    approval_id: str | None = None

    @property
    def left(self) -> Decimal | int | None:
        """What is left: dollars, or a count of tokens or requests."""
        if self.left_units is None or self.unit != "usd":
            return self.left_units
        from dure._dollars import to_dollars

        return to_dollars(self.left_units)

    @property
    def resets_at(self) -> datetime | None:
        """When enough becomes free (aware, UTC); None: waiting does not help."""
        if self.resets_at_us is None:
            return None
        from datetime import UTC, datetime, timedelta

        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=self.resets_at_us)


class RequestExceedsLimitError(BudgetExceededError):
    """The call is larger than the whole limit: waiting does not help."""

    default_code = "request_exceeds_limit"
    default_http_status = 400


class RateLimitError(DureError):
    """Too many requests; `.retry_after` says when to come back."""

    default_code = "rate_limited"
    default_http_status = 429


class QueueFullError(DureError):
    """The waiting line is full; `.retry_after` says when to come back."""

    default_code = "queue_full"
    default_http_status = 429


class DeadlineError(DureError, TimeoutError):
    """Time ran out; `.stage` says where (queue, connect, first_byte, idle, total)."""

    default_code = "deadline"
    default_http_status = 504
    stage: str
    bytes: int  # of the reply, that had come


class UnavailableError(DureError, ConnectionError):
    """The provider accepted nothing: the call cost nothing and may be sent again."""

    default_code = "unavailable"
    default_http_status = 502
    host: str | None = None
    stage: str | None = None
    tried: str | None = None


class UpstreamError(DureError):
    """The provider answered with an error, or with something unreadable."""

    default_code = "upstream"
    default_http_status = 502
    status_code: int | None = None
    request_id: str | None = None
    body: object = None
    param: str | None = None
    type: str | None = None


class TruncatedStreamError(DureError):
    """The answer broke off; `.text` and `.usage` hold what came before."""

    default_code = "truncated"
    default_http_status = 502
    text: str = ""
    usage: object = None


class StorageError(DureError, OSError):
    """The disk refused: full, read-only, broken. What was acknowledged is still there."""

    default_code = "storage"
    default_http_status = 503


class StoreVersionError(StorageError):
    """The file was written by a newer dure; it is left untouched."""

    default_code = "store_version"


class StoreCorruptError(DureError, OSError):
    """The file is damaged beyond what can be rebuilt."""

    default_code = "store_corrupt"
    default_http_status = 500


class OutOfMemoryError(DureError, MemoryError):
    """Memory ran out; smaller batches may pass."""

    default_code = "out_of_memory"
    default_http_status = 503


class UnsupportedError(DureError):
    """This backend cannot do that, and nothing is emulated in silence."""

    default_code = "unsupported"
    default_http_status = 501
    backend: str | None = None
    flag: str | None = None


class InternalError(DureError):
    """A bug in dure: please report it with `dure versions`."""


class MissingExtraError(DureError, ImportError):
    """An optional dependency is not installed; the message says how to get it."""

    default_code = "missing_extra"

    @classmethod
    def of(cls, extra: str, module: str) -> MissingExtraError:
        """Return the error for `module`, which extra `extra` brings."""
        return cls(f'{module} is not installed: pip install "dure[{extra}]"')
