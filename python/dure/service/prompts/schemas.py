"""Shapes of prompt templates, data sets and evaluations."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

__all__ = [
    "ANY",
    "DatasetCreate",
    "DatasetList",
    "DatasetOut",
    "EvaluationCreate",
    "EvaluationList",
    "EvaluationOut",
    "Item",
    "LabelMove",
    "LabelOut",
    "RenderRequest",
    "Rendered",
    "ScoreList",
    "ScoreOut",
    "Scorer",
    "TemplateCreate",
    "TemplateList",
    "TemplateOut",
    "TemplateUpdate",
    "VersionCreate",
    "VersionList",
    "VersionOut",
    "VersionScores",
]

ANY = "*"  # the text of languages that have none of their own
Kind = Literal["text", "image", "video"]
Mode = Literal["plain", "jinja"]
Locale = Annotated[str, Field(pattern=r"^(\*|[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3})$")]
Label = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9._-]{0,63}$")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=200_000)]
_FORBID = ConfigDict(extra="forbid")


class VersionCreate(BaseModel):
    """A new version: its text in each language, `*` where a language has none."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"texts": {"*": "Sum up: {text}", "ko": "요약: {text}"}}},
    )

    texts: dict[Locale, Text] = Field(min_length=1, max_length=32)
    mode: Mode = Field(
        default="plain", description="`plain`: {name}; `jinja`: Jinja2, for administrators."
    )
    parameters: dict[str, Any] = Field(
        default_factory=dict, max_length=64, description="What is sent beside the prompt."
    )


class TemplateCreate(VersionCreate):
    """A new template with its first version."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"name": "summary", "texts": {"*": "Sum up: {text}"}}},
    )

    name: str = Field(min_length=1, max_length=255)
    kind: Kind = "text"
    description: str = Field(default="", max_length=4000)


class TemplateUpdate(BaseModel):
    """What changes; what is left out stays."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"description": "Sums texts up."}}
    )

    name: str | None = Field(default=None, min_length=1, max_length=255)
    description: str | None = Field(default=None, max_length=4000)


class VersionOut(BaseModel):
    """A version in all its languages; `variables` is a JSON Schema."""

    version: int
    mode: str
    texts: dict[str, str]
    variables: dict[str, Any]
    parameters: dict[str, Any]
    created_by: str
    created_at: datetime


class VersionList(BaseModel):
    """A page of versions, newest first."""

    versions: list[VersionOut]
    next: str | None


class LabelOut(BaseModel):
    """A label and the version it points to."""

    model_config = ConfigDict(from_attributes=True)

    label: str
    version: int
    moved_by: str
    moved_at: datetime


class LabelMove(BaseModel):
    """Where a label points from now on."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"version": 2}})

    version: int = Field(ge=1, le=2**31 - 1)


class TemplateOut(BaseModel):
    """A template; `latest` is its newest version."""

    id: str
    name: str
    kind: str
    description: str
    owner_id: str
    latest: int
    labels: dict[str, int]
    created_at: datetime


class TemplateList(BaseModel):
    """A page of templates, by name."""

    templates: list[TemplateOut]
    next: str | None


class RenderRequest(BaseModel):
    """Which text, and its values. Without `version` and `label`: `production`, else the newest."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"variables": {"text": "A long letter."}}}
    )

    version: int | None = Field(default=None, ge=1, le=2**31 - 1)
    label: Label | None = None
    locale: Locale = ANY
    variables: dict[str, Any] = Field(default_factory=dict, max_length=256)


class Rendered(BaseModel):
    """A rendered prompt."""

    text: str
    version: int
    locale: str
    tokens: int = Field(description="Of the text, by the encoding o200k_base.")
    parameters: dict[str, Any]


class Item(BaseModel):
    """One case: values of the variables, and what is expected of the answer."""

    model_config = _FORBID

    variables: dict[str, Any] = Field(default_factory=dict, max_length=256)
    expected: str | None = Field(default=None, max_length=100_000)


class DatasetCreate(BaseModel):
    """Cases to score versions on."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "name": "letters",
                "items": [{"variables": {"text": "Dear all"}, "expected": "a greeting"}],
            }
        },
    )

    name: str = Field(min_length=1, max_length=255)
    items: list[Item] = Field(min_length=1, max_length=1000)


class DatasetOut(BaseModel):
    """A data set."""

    id: str
    name: str
    owner_id: str
    count: int
    created_at: datetime


class DatasetList(BaseModel):
    """A page of data sets, by name."""

    datasets: list[DatasetOut]
    next: str | None


class Exact(BaseModel):
    """1 where the answer is what was expected, but for space around it."""

    model_config = _FORBID

    kind: Literal["exact"]
    ignore_case: bool = False


class Contains(BaseModel):
    """1 where what was expected is in the answer."""

    model_config = _FORBID

    kind: Literal["contains"]
    ignore_case: bool = False


class Regex(BaseModel):
    """1 where the pattern is found in the answer."""

    model_config = _FORBID

    kind: Literal["regex"]
    pattern: str = Field(min_length=1, max_length=1000)


class Schema(BaseModel):
    """1 where the answer is JSON of this schema (type, properties, required, items, enum, ...)."""

    model_config = _FORBID

    kind: Literal["schema"]
    shape: dict[str, Any] = Field(alias="schema", max_length=64)


class Judge(BaseModel):
    """What a model says of the answer, from 0 to 1."""

    model_config = _FORBID

    kind: Literal["judge"]
    model: str = Field(min_length=1, max_length=255)
    rubric: str = Field(min_length=1, max_length=4000)


Scorer = Annotated[Exact | Contains | Regex | Schema | Judge, Field(discriminator="kind")]


class EvaluationCreate(BaseModel):
    """Versions of one template, on one data set, by some scorers, for so much money at most."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "dataset_id": "dst_...",
                "versions": [1, 2],
                "model": "gpt-4o-mini",
                "scorers": [{"kind": "exact"}],
                "max_cost_usd": "0.50",
            }
        },
    )

    dataset_id: str = Field(min_length=1, max_length=64)
    versions: list[Annotated[int, Field(ge=1, le=2**31 - 1)]] = Field(min_length=1, max_length=8)
    model: str = Field(min_length=1, max_length=255)
    locale: Locale = ANY
    scorers: list[Scorer] = Field(min_length=1, max_length=8)
    max_tokens: int = Field(default=512, ge=1, le=100_000)
    max_cost_usd: str = Field(default="1", pattern=r"^\d{1,6}(\.\d{1,12})?$")


class VersionScores(BaseModel):
    """What one version came to, beside the others."""

    version: int
    items: int
    errors: int
    scores: dict[str, float | None]
    cost_pico: int
    cost_usd: str
    mean_seconds: float | None


class EvaluationOut(BaseModel):
    """An evaluation: running, completed, capped (its money was used up), failed, interrupted."""

    id: str
    template_id: str
    dataset_id: str
    model: str
    locale: str
    state: str
    reason: str | None
    done: int
    total: int
    max_cost_usd: str
    cost_pico: int
    cost_usd: str
    versions: list[VersionScores]
    created_at: datetime
    ended_at: datetime | None


class EvaluationList(BaseModel):
    """A page of evaluations, newest first."""

    evaluations: list[EvaluationOut]
    next: str | None


class ScoreOut(BaseModel):
    """One answer and its scores."""

    model_config = ConfigDict(from_attributes=True)

    version: int
    item: int
    output: str
    scores: dict[str, float | None]
    error: str | None
    cost_pico: int
    milliseconds: int


class ScoreList(BaseModel):
    """A page of answers, by version and item."""

    scores: list[ScoreOut]
    next: str | None
