"""Shapes of documents, searches and answers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

__all__ = [
    "DocumentCreate",
    "DocumentList",
    "DocumentOut",
    "Found",
    "QueryAnswer",
    "QueryRequest",
    "SearchRequest",
    "SearchResult",
    "Source",
]

Value = str | int | float | bool


def _own(name: str) -> str:
    if name.startswith("dure_"):
        raise ValueError("names with dure_ are ours")
    return name


Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,63}$"), AfterValidator(_own)]
Details = Annotated[dict[Name, Value], Field(max_length=64)]
Shared = Annotated[list[Annotated[str, Field(min_length=1, max_length=64)]], Field(max_length=256)]


class DocumentCreate(BaseModel):
    """A document: a `file_id` of `/api/files`, or its text."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"title": "Rota", "text": "Kim waters the field on Monday."}},
    )

    title: str | None = Field(default=None, min_length=1, max_length=255)
    text: str | None = Field(default=None, min_length=1, max_length=20_000_000)
    file_id: str | None = Field(default=None, min_length=1, max_length=64)
    metadata: Details = Field(
        default_factory=dict, description="Category, date and what else filters may ask for."
    )
    access: Literal["org", "owner", "shared"] = Field(
        default="org", description="Who finds it: all of the organisation, its owner, or a list."
    )
    shared_with: Shared = Field(default_factory=list, description="Ids of users.")
    chunk_chars: int = Field(default=1000, ge=100, le=8000, description="Characters of a chunk.")


class DocumentOut(BaseModel):
    """A document; `done` of `total` chunks are embedded."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    owner_id: str
    title: str
    file_id: str
    metadata: dict[str, Any] = Field(validation_alias="details")
    access: list[str]
    chunk_chars: int
    state: str
    reason: str | None
    done: int
    total: int
    model: str | None
    cost_pico: int
    created_at: datetime
    indexed_at: datetime | None


class DocumentList(BaseModel):
    """A page of documents, newest first; `next` is the cursor of what follows."""

    documents: list[DocumentOut]
    next: str | None


class SearchRequest(BaseModel):
    """What to look for."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"query": "Who waters the field?"}}
    )

    query: str = Field(min_length=1, max_length=32_000)
    top_k: int = Field(default=5, ge=1, le=100)
    mode: Literal["vector", "hybrid", "bm25"] = "vector"
    where: dict[str, Any] | None = Field(
        default=None, description='A filter on metadata, for example `{"category": "hr"}`.'
    )


class Found(BaseModel):
    """A chunk that was found; a higher score is better."""

    document_id: str
    title: str
    score: float
    text: str
    metadata: dict[str, Any]


class SearchResult(BaseModel):
    """Chunks, best first."""

    results: list[Found]
    cost_pico: int


class QueryRequest(SearchRequest):
    """A question to be answered from the documents."""

    model: str | None = Field(default=None, description="Else the setting `DURE_CHAT_MODEL`.")
    max_tokens: int | None = Field(default=None, ge=1, description="The longest answer.")
    max_context_tokens: int = Field(default=4000, ge=100, le=1_000_000)
    stream: bool = False


class Source(Found):
    """What the answer is from; `[n]` in its text stands for it."""

    n: int
    cited: bool


class QueryAnswer(BaseModel):
    """The answer, what it is from, and what it cost, search included."""

    answer: str
    sources: list[Source]
    model: str
    input_tokens: int
    output_tokens: int
    cost_pico: int
