"""Parsers: bytes or text into text with its page map. Those of binary formats run in a child."""

from __future__ import annotations

import io
import json
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any, TypedDict

from dure.errors import MissingExtraError
from dure.files._limits import Limits, refuse

if TYPE_CHECKING:
    from collections.abc import Callable

    from dure.files._kinds import Kind


class Parsed(TypedDict):
    """Text, offsets of pages in code points, and what the file says of itself."""

    text: str
    pages: list[int]
    metadata: dict[str, Any]


def parse_plain(path: str, kind: Kind, text: str) -> Parsed:
    """Return the text as it stands; JSON has to be JSON."""
    try:
        if kind.name == "json":
            json.loads(text)
        elif kind.name == "jsonl":
            for line in text.splitlines():
                if line.strip():
                    json.loads(line)
    except (ValueError, RecursionError) as bad:
        raise refuse(path, f"damaged JSON: {bad}") from bad
    return {"text": text, "pages": [], "metadata": {}}


class _HtmlText(HTMLParser):
    """Turns HTML into Markdown-like text; keeps no tree, so depth costs nothing."""

    _SKIPPED = frozenset({"script", "style", "template", "noscript", "svg", "head"})
    _BLOCKS = frozenset(
        {"address", "article", "aside", "blockquote", "body", "dd", "div", "dl", "dt", "fieldset"}
        | {"figure", "footer", "form", "header", "hr", "html", "main", "nav", "ol", "p", "pre"}
        | {"section", "table", "tr", "ul"}
    )

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.title = ""
        self._skipping: str | None = None
        self._in_title = False
        self._preformatted = 0
        self._cells = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        if tag == "title":
            self._in_title = True
        elif self._skipping is None and tag in self._SKIPPED:
            self._skipping = tag
        elif self._skipping == "head" and tag == "body":
            self._skipping = None  # an unclosed head
        if self._skipping is None:
            self._open(tag)

    def _open(self, tag: str) -> None:
        if len(tag) == 2 and tag[0] == "h" and tag[1] in "123456":
            self._break(2)
            self.parts.append("#" * int(tag[1]) + " ")
        elif tag == "li":
            self._break(1)
            self.parts.append("- ")
        elif tag in {"td", "th"}:
            self.parts.append("| " if self._cells == 0 else " | ")
            self._cells += 1
        elif tag == "br":
            self.parts.append("\n")
        elif tag == "tr":
            self._break(1)
            self._cells = 0
        elif tag == "pre":
            self._break(2)
            self.parts.append("```\n")
            self._preformatted += 1
        elif tag in self._BLOCKS:
            self._break(2)

    def handle_endtag(self, tag: str) -> None:
        if tag == "title":
            self._in_title = False
        if self._skipping is not None:
            if tag == self._skipping:
                self._skipping = None
            return
        if tag == "pre" and self._preformatted:
            self._preformatted -= 1
            self._break(1)
            self.parts.append("```")
            self._break(2)
        elif tag == "tr":
            self.parts.append(" |" if self._cells else "")
        elif tag in self._BLOCKS or (len(tag) == 2 and tag[0] == "h" and tag[1] in "123456"):
            self._break(2)

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data
        elif self._skipping is None:
            if self._preformatted:
                self.parts.append(data)
                return
            words = " ".join(data.split())
            if words:
                before = " " if data[0].isspace() and not self._at_line_start() else ""
                self.parts.append(before + words + (" " if data[-1].isspace() else ""))

    def _at_line_start(self) -> bool:
        return not self.parts or self.parts[-1].endswith(("\n", " "))

    def _break(self, lines: int) -> None:
        """End the line, and leave `lines - 1` blank ones."""
        if not self.parts:
            return
        have = 0
        for part in reversed(self.parts[-3:]):
            stripped = part.rstrip("\n")
            have += len(part) - len(stripped)
            if stripped:
                break
        if have < lines:
            self.parts.append("\n" * (lines - have))


def parse_html(text: str) -> Parsed:
    """Return the visible text with headings, lists and tables as Markdown writes them."""
    parser = _HtmlText()
    parser.feed(text)
    parser.close()
    title = " ".join(parser.title.split())
    return {
        "text": "".join(parser.parts).strip(),
        "pages": [],
        "metadata": {"title": title} if title else {},
    }


def parse_pdf(path: str, raw: bytes, limits: Limits) -> Parsed:
    """Return the text of all pages, a blank line between two, and where each begins."""
    try:
        import pypdfium2  # type: ignore[import-untyped, unused-ignore]
    except ImportError as missing:
        raise MissingExtraError.of("files", "pypdfium2") from missing
    try:
        document = pypdfium2.PdfDocument(raw)
    except pypdfium2.PdfiumError as bad:
        encrypted = "password" in str(bad).lower()
        raise refuse(path, "encrypted" if encrypted else f"damaged PDF: {bad}") from bad
    if len(document) > limits.pages:
        raise refuse(path, f"{len(document)} pages, more than {limits.pages}")
    parts: list[str] = []
    pages: list[int] = []
    length = 0
    for page in document:
        pages.append(length)
        text = page.get_textpage().get_text_range()
        parts.append(text.replace("\r\n", "\n").replace("\ufffe", "").rstrip() + "\n\n")
        length += len(parts[-1])
        if length > limits.text_chars:
            raise refuse(path, f"more than {limits.text_chars:,} characters of text")
    title = document.get_metadata_dict().get("Title", "")
    return {"text": "".join(parts), "pages": pages, "metadata": {"title": title} if title else {}}


def check_archive(path: str, raw: bytes, limits: Limits) -> None:
    """Unpack every entry once, counting: what the headers say is not believed."""
    import zipfile

    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            entries = archive.infolist()
            if len(entries) > limits.entries:
                raise refuse(path, f"{len(entries)} entries, more than {limits.entries}")
            total = 0
            for entry in entries:
                if entry.flag_bits & 1:
                    raise refuse(path, "encrypted")
                with archive.open(entry) as stream:
                    while block := stream.read(1 << 16):
                        total += len(block)
                        if total > limits.unzipped_bytes:
                            raise refuse(
                                path, f"unpacks to more than {limits.unzipped_bytes:,} bytes"
                            )
                        if total > limits.unzipped_ratio * max(len(raw), 1 << 16):
                            raise refuse(
                                path, f"unpacks to more than {limits.unzipped_ratio} times its size"
                            )
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, ValueError) as bad:
        if type(bad).__module__.startswith("dure"):
            raise
        raise refuse(path, f"damaged archive: {bad}") from bad


def parse_docx(path: str, raw: bytes, limits: Limits) -> Parsed:
    """Return paragraphs, headings and tables in order, as Markdown writes them."""
    check_archive(path, raw, limits)
    try:
        import docx
        from docx.table import Table
    except ImportError as missing:
        raise MissingExtraError.of("files", "python-docx") from missing
    try:
        document = docx.Document(io.BytesIO(raw))
        blocks = [
            _docx_table(block) if isinstance(block, Table) else _docx_paragraph(block)
            for block in document.iter_inner_content()
        ]
        title = document.core_properties.title
    except MemoryError:
        raise
    except Exception as bad:
        raise refuse(path, f"damaged Word document: {bad or type(bad).__name__}") from bad
    return {
        "text": "\n\n".join(block for block in blocks if block),
        "pages": [],
        "metadata": {"title": title} if title else {},
    }


def _docx_paragraph(paragraph: Any) -> str:  # noqa: ANN401 - python-docx has no types
    text: str = paragraph.text.strip()
    style = (paragraph.style.name or "") if paragraph.style is not None else ""
    if text and style.startswith("Heading ") and style[8:].isdigit():
        return "#" * min(6, int(style[8:])) + " " + text
    if text and style == "Title":
        return "# " + text
    return "- " + text if text and style.startswith("List") else text


def _docx_table(table: Any) -> str:  # noqa: ANN401
    rows = [[" ".join(cell.text.split()) for cell in row.cells] for row in table.rows]
    if not rows:
        return ""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


BINARY: dict[str, Callable[[str, bytes, Limits], Parsed]] = {"pdf": parse_pdf, "docx": parse_docx}
