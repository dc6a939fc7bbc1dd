"""Which function reads which kind; each is imported by the child that needs it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    from dure.files._limits import Limits
    from dure.files._render import Parsed

_PLACES = {
    "html": "_html.parse_html",
    "json": "_json.check_json",
    "jsonl": "_json.check_jsonl",
    "pdf": "_pdf.parse_pdf",
    "docx": "_office.parse_docx",
    "pptx": "_office.parse_pptx",
    "xlsx": "_office.parse_xlsx",
    "eml": "_mail.parse_eml",
    "epub": "_book.parse_epub",
    "hwpx": "_hangul.parse_hwpx",
    "hwp": "_hangul.parse_hwp",
}


def parser_of(kind: str) -> Callable[[str, bytes, Limits], Parsed]:
    """Return the parser of a kind: path, bytes and limits into text."""
    module, _, name = _PLACES[kind].partition(".")
    found = getattr(import_module(f"dure.files.{module}"), name)
    return cast("Callable[[str, bytes, Limits], Parsed]", found)
