"""Word, PowerPoint and Excel (their XML formats), as Markdown writes what they hold."""

from __future__ import annotations

import datetime
import io
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dure.errors import DureError, MissingExtraError
from dure.files._archive import open_archive
from dure.files._limits import Limits, refuse
from dure.files._render import Pages, Parsed, check_length, heading, one_line, table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_NO_MEMORY = 2  # XML_ERR_NO_MEMORY


@contextmanager
def _damage(path: str, what: str) -> Iterator[None]:
    """Turn whatever a library raises on a damaged file into a refusal."""
    try:
        yield
    except (MemoryError, DureError):
        raise
    except RecursionError as deep:
        raise refuse(path, f"damaged {what}: nested too deep") from deep
    except Exception as bad:
        if _wants_memory(bad):
            raise MemoryError from bad
        raise refuse(path, f"damaged {what}: {bad or type(bad).__name__}") from bad


def _wants_memory(bad: Exception) -> bool:
    """Whether libxml2 had no memory, perhaps not even for saying so: that is no damage."""
    return isinstance(bad, SyntaxError) and (
        getattr(bad, "code", None) == _NO_MEMORY or str(bad).startswith("unknown error")
    )


# Word


def parse_docx(path: str, raw: bytes, limits: Limits) -> Parsed:
    """Return paragraphs, headings, lists and tables in order."""
    try:
        import docx
    except ImportError as missing:
        raise MissingExtraError.of("files", "python-docx") from missing
    blocks: list[str] = []
    length = 0
    with open_archive(path, "docx", raw, limits), _damage(path, "Word document"):
        document = docx.Document(io.BytesIO(raw))
        for text in _docx_blocks(document.element.body, document.styles, limits.depth):
            if text:
                blocks.append(text)
                length += len(text) + 2
                check_length(path, length, limits)
        title = document.core_properties.title
    return {
        "text": "\n\n".join(blocks),
        "pages": [],
        "metadata": {"title": title} if title else {},
    }


_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_MC = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
# What wraps blocks or runs: content controls, accepted insertions, links, smart tags, fields.
_WRAPS = {_W + n for n in ("sdt", "sdtContent", "ins", "moveTo", "customXml", "smartTag")}
_DROPPED = {_W + "del", _W + "moveFrom", _W + "pPr", _W + "rPr", _W + "sdtPr", _MC + "Fallback"}
_SIGNS = {_W + "tab": "\t", _W + "br": "\n", _W + "cr": "\n", _W + "noBreakHyphen": "-"}


def _docx_blocks(parent: Any, styles: Any, depth: int) -> Iterator[str]:  # noqa: ANN401 - lxml
    """Yield paragraphs and tables below an element, in order, what wraps them looked through."""
    for element in parent:
        if element.tag == _W + "p":
            yield _docx_paragraph(element, styles)
        elif element.tag == _W + "tbl":
            yield _docx_table(element)
        elif element.tag in _WRAPS and depth:
            yield from _docx_blocks(element, styles, depth - 1)


def _docx_text(element: Any) -> str:  # noqa: ANN401
    """Return the text of all runs of a paragraph or cell, those in text boxes included."""
    parts: list[str] = []
    below = [element]
    while below:
        one = below.pop()
        if one.tag == _W + "t":
            parts.append(one.text or "")
        elif one.tag in _SIGNS:
            parts.append(_SIGNS[one.tag])
        elif one.tag not in _DROPPED:
            if one.tag == _W + "p" and one is not element:  # in a text box or cell
                parts.append("\n")
            below.extend(reversed(one))
    return "".join(parts)


def _docx_paragraph(element: Any, styles: Any) -> str:  # noqa: ANN401
    text = _docx_text(element).strip()
    found = styles.get_by_id(element.style, 1)  # 1: of a paragraph; None gives the default
    style = (found.name or "") if found is not None else ""
    if text and style.startswith("Heading ") and style[8:].isdigit():
        return heading(int(style[8:]), text)
    if text and style == "Title":
        return heading(1, text)
    return "- " + text if text and style.startswith("List") else text


def _docx_table(element: Any) -> str:  # noqa: ANN401
    """Return a table; a merged cell stands once, a table in a cell on the cell's line."""
    rows = []
    for row in _inside(element, "tr"):
        cells: list[str] = []
        for cell in _inside(row, "tc"):
            cells.append(_docx_text(cell))
            cells += [""] * (cell.grid_span - 1)
        rows.append(cells)
    return table(rows) if rows else ""


def _inside(parent: Any, name: str) -> Iterator[Any]:  # noqa: ANN401
    """Yield the children of a name, what wraps them looked through."""
    below = list(reversed(parent))
    while below:
        one = below.pop()
        if one.tag == _W + name:
            yield one
        elif one.tag in _WRAPS:
            below.extend(reversed(one))


# PowerPoint


def parse_pptx(path: str, raw: bytes, limits: Limits) -> Parsed:
    """Return one page a slide: title, texts, tables, notes."""
    try:
        import pptx
    except ImportError as missing:
        raise MissingExtraError.of("files", "python-pptx") from missing
    pages = Pages(path, limits, "slides")
    with open_archive(path, "pptx", raw, limits), _damage(path, "PowerPoint presentation"):
        deck = pptx.Presentation(io.BytesIO(raw))
        for slide in deck.slides:
            pages.add(_slide(slide, limits))
        title = deck.core_properties.title
    return pages.parsed({"title": title})


def _slide(slide: Any, limits: Limits) -> str:  # noqa: ANN401 - python-pptx has no types
    title = slide.shapes.title
    blocks = [one_line(title.text_frame.text)] if title is not None else []
    taken = title.shape_id if title is not None else None
    for shape in _shapes(slide.shapes, limits.depth):
        if shape.shape_id != taken:
            blocks.extend(_shape(shape))
    if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
        notes = slide.notes_slide.notes_text_frame.text.strip()
        blocks += ["Notes: " + notes] if notes else []
    return "\n\n".join(block for block in blocks if block)


def _shapes(shapes: Iterable[Any], depth: int) -> Iterator[Any]:
    """Yield shapes in order, those of groups in the group's place."""
    for shape in shapes:
        if hasattr(shape, "shapes"):
            if depth:
                yield from _shapes(shape.shapes, depth - 1)
        else:
            yield shape


def _shape(shape: Any) -> Iterator[str]:  # noqa: ANN401
    if shape.has_text_frame:
        lines = [_bullet(p.level, p.text.replace("\v", "\n")) for p in shape.text_frame.paragraphs]
        yield "\n".join(line for line in lines if line)
    elif getattr(shape, "has_table", False):
        yield table([[cell.text for cell in row.cells] for row in shape.table.rows])
    elif getattr(shape, "has_chart", False) and shape.chart.has_title:
        yield one_line(shape.chart.chart_title.text_frame.text)


def _bullet(level: int, text: str) -> str:
    text = text.strip()
    return "  " * (level - 1) + "- " + text if text and level else text


# Excel


def parse_xlsx(path: str, raw: bytes, limits: Limits) -> Parsed:
    """Return one page a sheet: its name as a heading, each block of rows as a table."""
    try:
        import openpyxl  # type: ignore[import-untyped, unused-ignore]
    except ImportError as missing:
        raise MissingExtraError.of("files", "openpyxl") from missing
    pages = Pages(path, limits, "sheets")
    with open_archive(path, "xlsx", raw, limits), _damage(path, "Excel workbook"):
        book = openpyxl.load_workbook(io.BytesIO(raw), read_only=True, data_only=True)
        cells = 0
        for sheet in book.worksheets:
            sheet.reset_dimensions()  # what the file says of its size is not believed
            rows: list[list[str]] = []
            for row in sheet.iter_rows(values_only=True):
                cells += 1 + len(row)
                if cells > limits.cells:
                    raise refuse(path, f"more than {limits.cells:,} cells")
                rows.append([_value(value) for value in row])
            blocks = [table(block) for block in _blocks(rows)]
            pages.add("\n\n".join([heading(1, sheet.title), *blocks]))
        title = book.properties.title
    return pages.parsed({"title": title})


def _blocks(rows: Iterable[list[str]]) -> Iterator[list[list[str]]]:
    """Yield the runs of rows that are not empty."""
    block: list[list[str]] = []
    for row in rows:
        if any(cell.strip() for cell in row):
            block.append(row)
        elif block:
            yield block
            block = []
    if block:
        yield block


def _value(value: object) -> str:
    """Return a cell as a reader of the sheet would write it down."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, datetime.datetime):
        midnight = value.time() == datetime.time()
        return value.date().isoformat() if midnight else value.isoformat(" ")
    return str(value)
