"""PDF: the text of each page."""

from __future__ import annotations

from dure.errors import MissingExtraError
from dure.files._limits import Limits, refuse
from dure.files._render import Pages, Parsed


def parse_pdf(path: str, raw: bytes, limits: Limits) -> Parsed:
    """Return the text of all pages, a blank line between two, and where each begins."""
    try:
        import pypdfium2  # type: ignore[import-untyped, unused-ignore]
    except ImportError as missing:
        raise MissingExtraError.of("files", "pypdfium2") from missing
    try:
        document = pypdfium2.PdfDocument(raw)
    except pypdfium2.PdfiumError as bad:
        said = str(bad).lower()  # "Incorrect password error", "Unsupported security scheme"
        encrypted = "password" in said or "security" in said
        raise refuse(path, "encrypted" if encrypted else f"damaged PDF: {bad}") from bad
    if len(document) > limits.pages:
        raise refuse(path, f"{len(document)} pages, more than {limits.pages}")
    pages = Pages(path, limits)
    has_text = False
    for page in document:
        text = page.get_textpage().get_text_range().replace("\r\n", "\n").replace("\ufffe", "")
        has_text = has_text or bool(text.strip())
        pages.add(text)
    if len(document) and not has_text:
        raise refuse(path, "no text in it: scanned pages have to go through OCR first")
    return pages.parsed({"title": document.get_metadata_dict().get("Title", "")})
