"""Forms with files: read from the stream onto the disk, written anew for the provider.

What is passed on is what was understood here: a form that two readers might read differently goes
to the provider as this one read it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from uuid import uuid4

from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request

from dure.calls.multipart import part, quoted
from dure.errors import InvalidArgumentError
from dure.service.kit.body import require_type

__all__ = ["field_of", "file_of", "read_form", "written"]

_MOST_FIELDS = 64
_MOST_FILES = 16
_MOST_VALUE = 1 << 20  # bytes of a value that is no file


async def read_form(request: Request) -> FormData:
    """Read a form; files beyond a megabyte lie on the disk, unlinked. Close it after use.

    Raises:
        MediaTypeError: the body is no form, or is compressed.
        HTTPException: it cannot be read as one, or has too many or too large fields (400).
    """
    require_type(request.scope, "multipart/form-data")
    return await request.form(
        max_files=_MOST_FILES, max_fields=_MOST_FIELDS, max_part_size=_MOST_VALUE
    )


def field_of(form: FormData, name: str) -> str | None:
    """Return a field that may stand once; None: it does not.

    Raises:
        InvalidArgumentError: it stands twice, or is a file.
    """
    values = form.getlist(name)
    if len(values) > 1 or any(isinstance(value, UploadFile) for value in values):
        raise InvalidArgumentError(f"{name} must be given once, as a value", argument=name)
    return str(values[0]) if values else None


def file_of(form: FormData, name: str) -> UploadFile:
    """Return the one file of a name.

    Raises:
        InvalidArgumentError: it is missing, doubled, or no file.
    """
    values = form.getlist(name)
    if len(values) != 1 or not isinstance(values[0], UploadFile):
        raise InvalidArgumentError(f"you must provide one {name}", argument=name)
    return values[0]


async def written(form: FormData) -> tuple[bytes, str]:
    """Return the form's bytes for the provider, and their content type."""
    boundary = f"dure-{uuid4().hex}"
    body = await asyncio.to_thread(_written, list(form.multi_items()), boundary)
    return body, f"multipart/form-data; boundary={boundary}"


def _written(items: Iterable[tuple[str, UploadFile | str]], boundary: str) -> bytes:
    parts = []
    for name, value in items:
        what = f'form-data; name="{quoted(name)}"'
        if isinstance(value, UploadFile):
            what += f'; filename="{quoted(value.filename or "upload")}"'
            kind = value.content_type or "application/octet-stream"
            value.file.seek(0)
            parts.append(part(boundary, what, kind, value.file.read()))
        else:
            parts.append(part(boundary, what, None, value.encode()))
    return b"".join([*parts, f"--{boundary}--\r\n".encode()])
