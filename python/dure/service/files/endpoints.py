"""Files: `/api/files`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, cast
from urllib.parse import quote

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.datastructures import UploadFile

from dure.service.auth.policy import PolicyRoute, requires
from dure.service.auth.subject import Who, subject_of
from dure.service.kit.body import read_as, read_object, require_type
from dure.service.kit.forms import file_of, read_form
from dure.service.kit.paging import Cursor, Limit, cursor_of, read_cursor
from dure.service.kit.work import ReadWork

from .repository import FileRepository
from .schemas import FileBegin, FileList, FileOut
from .service import Files, narrowed

router = APIRouter(prefix="/api/v1/files", tags=["files"], route_class=PolicyRoute)
_SANDBOX = {
    "content-security-policy": "sandbox; default-src 'none'",
    "content-encoding": "identity",
    "cache-control": "no-store",
}
_PIECE = 256 * 1024
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            },
            "application/json": {
                "schema": FileBegin.model_json_schema(),
                "example": {"name": "notes.md", "size": 12},
            },
        },
    }
}
_BYTES: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


def files_of(request: Request) -> Files:
    """Return the app's files."""
    return cast("Files", request.app.state.files)


async def pieces_of(file: UploadFile) -> AsyncIterator[bytes]:
    """Give an uploaded file's bytes in pieces."""
    await file.seek(0)
    while piece := await file.read(_PIECE):
        yield piece


@router.post(
    "",
    status_code=201,
    openapi_extra=_BODY,
    response_model=FileOut,
    responses={413: {"description": "Too large."}, 415: {"description": "Of another type."}},
)
@requires(role="user", scope="files:write", owner="self")
async def upload_file(request: Request) -> Response:
    """Upload a file as a form, or announce one in JSON whose bytes follow by `PATCH`.

    Name, declared type and bytes must agree.
    """
    who, files = subject_of(request), files_of(request)
    kind = require_type(request.scope, "multipart/form-data", "application/json")
    if kind == "application/json":
        asked = read_as(FileBegin, read_object(await request.body()))
        row = await files.begin(who, asked.name, asked.size, asked.media_type, asked.sha256)
    else:
        form = await read_form(request)
        try:
            file = file_of(form, "file")
            declared = file.content_type or "application/octet-stream"
            row = await files.whole(who, file.filename or "", declared, pieces_of(file))
        finally:
            await form.close()
    return JSONResponse(FileOut.model_validate(row).model_dump(mode="json"), 201)


@router.patch("/{file_id}/content", openapi_extra=_BYTES)
@requires(role="user", scope="files:write", owner="self")
async def append_file(
    request: Request, file_id: str, upload_offset: Annotated[int, Header(ge=0)] = 0
) -> FileOut:
    """Send bytes from `Upload-Offset` on; after a break ask for the file, go on at `received`."""
    require_type(request.scope, "application/octet-stream", "application/offset+octet-stream")
    row = await files_of(request).append(
        subject_of(request), file_id, upload_offset, request.stream()
    )
    return FileOut.model_validate(row)


@router.get("")
@requires(role="viewer", scope="files:read", owner="self")
async def list_files(
    who: Who, work: ReadWork, limit: Limit = 50, cursor: Cursor = None
) -> FileList:
    """List the caller's files, newest first; an administrator sees all of the organisation."""
    after = read_cursor(cursor, int, str)
    files = FileRepository(work, who.org_id)
    rows, more = await files.page(limit, after, narrowed(who))
    return FileList(
        files=[FileOut.model_validate(row) for row in rows],
        next=None if more is None else cursor_of(*more),
    )


@router.get("/{file_id}")
@requires(role="viewer", scope="files:read", owner="self")
async def get_file(who: Who, file_id: str, request: Request) -> FileOut:
    """Return what is known of a file, and how much of it is here."""
    return FileOut.model_validate(await files_of(request).one(who, file_id))


@router.get("/{file_id}/content", response_class=StreamingResponse)
@requires(role="viewer", scope="files:read", owner="self")
async def get_file_content(who: Who, file_id: str, request: Request) -> StreamingResponse:
    """Download a file; no browser shows it in place."""
    files = files_of(request)
    row = await files.one(who, file_id)
    pieces = files.content(row)
    name = quote(row.name, safe="")
    headers = {
        **_SANDBOX,
        "content-disposition": f"attachment; filename*=UTF-8''{name}",
        "content-length": str(row.size),
    }
    return StreamingResponse(pieces, 200, headers, media_type=row.media_type)


@router.delete("/{file_id}", status_code=204)
@requires(role="user", scope="files:write", owner="self")
async def delete_file(who: Who, file_id: str, request: Request) -> Response:
    """Delete a file and its bytes; one that a document is made of goes with the document."""
    await files_of(request).delete(who, file_id)
    return Response(status_code=204)
