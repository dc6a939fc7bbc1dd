"""What all tables share: names of constraints, ids, times as exact integers, JSON as text."""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from sqlalchemy import BigInteger, MetaData, String, Text
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeDecorator

__all__ = ["Base", "Json", "UtcTime", "new_id", "to_json"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


_encoder = json.JSONEncoder(ensure_ascii=False, sort_keys=True)


def to_json(value: Any) -> str:  # noqa: ANN401 - a plain value
    """Return a plain value as `Json` keeps it."""
    return _encoder.encode(value)


class UtcTime(TypeDecorator[datetime]):
    """An aware time, kept as microseconds UTC: equal and ordered alike in every database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Return what is stored."""
        del dialect
        return None if value is None else (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ANN401
        """Return what was meant."""
        del dialect
        return None if value is None else _EPOCH + timedelta(microseconds=int(value))


class Json(TypeDecorator[Any]):
    """A plain value, kept as compact JSON text with sorted names."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ANN401
        """Return what is stored."""
        del dialect
        return None if value is None else to_json(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:  # noqa: ANN401
        """Return what was meant."""
        del dialect
        return None if value is None else json.loads(value)


class Base(DeclarativeBase):
    """The root of all tables."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: UtcTime,
        dict[str, Any]: Json,
        list[str]: Json,
        int: BigInteger,
        str: String(255),
    }


def new_id(kind: str) -> str:
    """Return an id that cannot be guessed, for example `usr_5f0c...`."""
    return f"{kind}_{secrets.token_hex(12)}"
