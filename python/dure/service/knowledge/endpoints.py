"""Knowledge: `/api/knowledge/documents`, `/search`, `/query`."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any, cast

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from dure.calls import Call
from dure.errors import DureError, InvalidArgumentError
from dure.service.auth.policy import PolicyRoute, requires
from dure.service.auth.subject import Who, subject_of
from dure.service.calling import call_of, check_model
from dure.service.errors import body_of
from dure.service.files.endpoints import files_of, pieces_of
from dure.service.kit import sse
from dure.service.kit.bill import bill, warnings
from dure.service.kit.body import read_as, read_object, require_type
from dure.service.kit.forms import field_of, file_of, read_form
from dure.service.kit.jobs import Jobs
from dure.service.kit.paging import Cursor, Limit, cursor_of, read_cursor
from dure.service.kit.sse import EventStream
from dure.service.kit.state import state_of
from dure.service.kit.work import ReadWork

from .repository import DocumentRepository
from .schemas import (
    DocumentCreate,
    DocumentList,
    DocumentOut,
    QueryAnswer,
    QueryRequest,
    SearchRequest,
    SearchResult,
)
from .service import Knowledge, Prompt, cited, readers_of

router = APIRouter(prefix="/api/v1/knowledge", tags=["knowledge"], route_class=PolicyRoute)
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "title": {"type": "string"},
                        "metadata": {"type": "string", "description": "A JSON object."},
                        "access": {"type": "string"},
                        "shared_with": {"type": "string", "description": "A JSON list."},
                        "chunk_chars": {"type": "string"},
                    },
                }
            },
            "application/json": {
                "schema": DocumentCreate.model_json_schema(),
                "example": {"title": "Rota", "text": "Kim waters the field on Monday."},
            },
        },
    }
}


def knowledge_of(request: Request) -> Knowledge:
    """Return the app's knowledge."""
    return cast("Knowledge", request.app.state.knowledge)


@router.post("/documents", status_code=202, openapi_extra=_BODY, response_model=DocumentOut)
@requires(role="user", scope="knowledge:write", owner="org")
async def upload_document(request: Request) -> Response:
    """Add a document: a form with a file, or JSON with a text or a `file_id`. Indexing follows."""
    who, knowledge = subject_of(request), knowledge_of(request)
    kind = require_type(request.scope, "multipart/form-data", "application/json")
    if kind == "application/json":
        asked = read_as(DocumentCreate, read_object(await request.body()))
        row = await knowledge.create(who, asked)
    else:
        form = await read_form(request)
        try:
            asked, file = _asked(form), file_of(form, "file")
            declared = file.content_type or "application/octet-stream"
            kept = await files_of(request).whole(
                who, file.filename or "", declared, pieces_of(file)
            )
        finally:
            await form.close()
        row = await knowledge.of_file(who, kept, asked)
    cast("Jobs", request.app.state.jobs).look()
    return JSONResponse(DocumentOut.model_validate(row).model_dump(mode="json"), 202)


def _asked(form: Any) -> DocumentCreate:  # noqa: ANN401 - Starlette's FormData
    """Return what a form says of its file.

    Raises:
        RequestValidationError, InvalidArgumentError: it says it wrongly.
    """
    given: dict[str, Any] = {}
    for name in ("title", "access", "chunk_chars", "metadata", "shared_with"):
        value = field_of(form, name)
        if value is None:
            continue
        try:
            given[name] = json.loads(value) if name in {"metadata", "shared_with"} else value
        except (ValueError, RecursionError):
            raise InvalidArgumentError(f"{name} is no JSON", argument=name) from None
    return read_as(DocumentCreate, given)


@router.get("/documents")
@requires(role="viewer", scope="knowledge:read", owner="org")
async def list_documents(
    who: Who, work: ReadWork, limit: Limit = 50, cursor: Cursor = None
) -> DocumentList:
    """List the documents that the caller may see, newest first."""
    after = read_cursor(cursor, int, str)
    documents = DocumentRepository(work, who.org_id)
    rows, more = await documents.page(limit, after, readers_of(who))
    return DocumentList(
        documents=[DocumentOut.model_validate(row) for row in rows],
        next=None if more is None else cursor_of(*more),
    )


@router.get("/documents/{document_id}")
@requires(role="viewer", scope="knowledge:read", owner="org")
async def get_document(who: Who, document_id: str, request: Request) -> DocumentOut:
    """Return a document and how far its indexing is."""
    return DocumentOut.model_validate(await knowledge_of(request).one(who, document_id))


@router.delete("/documents/{document_id}", status_code=204)
@requires(role="user", scope="knowledge:write", owner="self")
async def delete_document(who: Who, document_id: str, request: Request) -> Response:
    """Delete a document: its chunks, its vectors and its bytes."""
    await knowledge_of(request).delete(who, document_id)
    return Response(status_code=204)


@router.post("/documents/{document_id}/reindex", status_code=202)
@requires(role="user", scope="knowledge:write", owner="self")
async def reindex_document(who: Who, document_id: str, request: Request) -> DocumentOut:
    """Index a document anew; what it has answers meanwhile."""
    row = await knowledge_of(request).reindex(who, document_id)
    cast("Jobs", request.app.state.jobs).look()
    return DocumentOut.model_validate(row)


@router.post("/search")
@requires(role="user", scope="knowledge:read", owner="org")
async def search_documents(who: Who, asked: SearchRequest, request: Request) -> SearchResult:
    """Find chunks by meaning, best first; no language model is asked."""
    call = call_of(who, request.scope)
    found, cost = await knowledge_of(request).search(who, asked, call)
    return SearchResult(results=found, cost_pico=cost)


@router.post("/query", response_model=QueryAnswer)
@requires(role="user", scope="knowledge:read", owner="org")
async def query_documents(who: Who, asked: QueryRequest, request: Request) -> Response:
    """Answer a question from the documents, and say from which.

    `stream`: events `sources`, then pieces of text, then `done` with what it cost.
    """
    state, knowledge = state_of(request), knowledge_of(request)
    model = asked.model or state.settings.chat_model
    check_model(who, model)
    call = call_of(who, request.scope)
    prompt = await knowledge.prompt(who, asked, model, call)
    limits = {} if asked.max_tokens is None else {"max_tokens": asked.max_tokens}
    body: dict[str, Any] = {"model": model, "messages": prompt.messages, **limits}
    if asked.stream:
        events = await _streamed(state.client, body, call, prompt)
        return EventStream(events, warnings(request.scope))
    reply = await state.client.chat.completions.create(**body, dure=call)
    text = reply.choices[0].message.content or ""
    answer = _answer(text, prompt, reply.dure)
    return JSONResponse(answer.model_dump(mode="json"), headers=bill(reply.dure, request.scope))


def _answer(text: str, prompt: Prompt, facts: Any) -> QueryAnswer:  # noqa: ANN401 - Facts
    return QueryAnswer(
        answer=text,
        sources=cited(text, prompt.sources),
        model=facts.model,
        input_tokens=facts.input_tokens,
        output_tokens=facts.output_tokens,
        cost_pico=facts.cost_pico + prompt.cost_pico,
    )


async def _streamed(
    client: Any,  # noqa: ANN401 - AsyncClient
    body: dict[str, Any],
    call: Call,
    prompt: Prompt,
) -> AsyncGenerator[bytes]:
    """Open a stream, then give its events; what fails before is raised here."""
    stream = await client.chat.completions.create(**body, stream=True, dure=call)

    async def events() -> AsyncGenerator[bytes]:
        said: list[str] = []
        sources = [one.model_dump(mode="json") for one in cited("", prompt.sources)]
        try:
            yield sse.frame(json.dumps(sources, ensure_ascii=False), event="sources")
            async for chunk in stream:
                if chunk.choices and (text := chunk.choices[0].delta.content):
                    said.append(text)
                    yield sse.frame(text)
            answer = _answer("".join(said), prompt, stream.dure)
            yield sse.frame(answer.model_dump_json(), event="done")
        except DureError as error:
            yield sse.frame(json.dumps(body_of(error), ensure_ascii=False), event="error")
        finally:
            await stream.close()

    return events()
