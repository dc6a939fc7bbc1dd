"""Structured output: the schema that is sent, the object that comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable
from weakref import WeakKeyDictionary

from dure.errors import InvalidArgumentError

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Schema", "response_format_of"]


@runtime_checkable
class Schema(Protocol):
    """A class that describes itself and reads itself from JSON: every pydantic model."""

    @classmethod
    def model_json_schema(cls) -> dict[str, Any]:
        """Return its JSON schema."""

    @classmethod
    def model_validate_json(cls, json_data: str | bytes) -> Self:
        """Read one from JSON."""


S = TypeVar("S", bound=Schema)
_FORMATS: WeakKeyDictionary[type, dict[str, Any]] = WeakKeyDictionary()


def response_format_of(kind: type[Schema]) -> dict[str, Any]:
    """Return the `response_format` that asks for `kind`; made once a class.

    Raises:
        InvalidArgumentError: `kind` is no class with `model_json_schema` and
            `model_validate_json`.
    """
    if not isinstance(kind, type) or not hasattr(kind, "model_validate_json"):
        raise InvalidArgumentError(
            "response_format must be a class with model_json_schema and model_validate_json, "
            "for example a pydantic BaseModel",
            argument="response_format",
        )
    found = _FORMATS.get(kind)
    if found is None:
        schema = strict(kind.model_json_schema())
        inside = {"name": kind.__name__, "schema": schema, "strict": True}
        found = _FORMATS[kind] = {"type": "json_schema", "json_schema": inside}
    return found


def strict(schema: Any) -> Any:  # noqa: ANN401 - JSON
    """Return a schema in the strict form: objects are closed, and all their members required."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    out = {
        name: strict(value)
        for name, value in schema.items()
        if name != "default" or value is not None
    }
    if isinstance(out.get("properties"), dict):
        out["additionalProperties"] = False
        out["required"] = list(out["properties"])
    return out
