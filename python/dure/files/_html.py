"""HTML into Markdown-like text."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import TYPE_CHECKING

from dure.files._decode import decode
from dure.files._render import Parsed, check_length, one_line

if TYPE_CHECKING:
    from dure.files._limits import Limits


def html_text(text: str) -> tuple[str, str]:
    """Return the visible text as Markdown writes it, and the title."""
    parser = _HtmlText()
    parser.feed(text)
    parser.close()
    return "".join(parser.parts).strip(), one_line(parser.title)


def parse_html(path: str, raw: bytes, limits: Limits) -> Parsed:
    """Return the visible text of a page."""
    source, encoding = decode(path, raw, declared=_declared(raw))
    text, title = html_text(source)
    check_length(path, len(text), limits)
    facts = {"title": title, "encoding": encoding}
    return {"text": text, "pages": [], "metadata": {k: v for k, v in facts.items() if v}}


def _declared(raw: bytes) -> str | None:
    """Return the encoding that a `meta` element near the start names."""
    import re

    found = re.search(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([\w.:-]{1,40})", raw[:4096], re.I)
    return found[1].decode("ascii", "ignore") if found else None


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
        self._rows = 0  # of the table that was begun last

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        if tag == "title" and self._skipping in (None, "head"):  # one in an svg is a tooltip
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
            self._trim()
            self.parts.append("| " if self._cells == 0 else " | ")
            self._cells += 1
        elif tag == "br":
            self._trim()
            self.parts.append("\n")
        elif tag == "tr":
            self._break(1)
            self._end_row()
        elif tag == "pre":
            self._break(2)
            self.parts.append("```\n")
            self._preformatted += 1
        elif tag in self._BLOCKS:
            self._break(2)
            if tag == "table":
                self._cells = self._rows = 0

    def _end_row(self) -> None:
        """Draw the line that makes the first row of a table its header."""
        if self._cells:
            self._rows += 1
            if self._rows == 1:
                self.parts.append("|" + "---|" * self._cells + "\n")
        self._cells = 0

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
            self._trim()
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
            elif not self._at_line_start():  # white space between two inline elements
                self.parts.append(" ")

    def _at_line_start(self) -> bool:
        return not self.parts or self.parts[-1].endswith(("\n", " "))

    def _trim(self) -> None:
        """Take back the white space that would end a line or a cell."""
        while self.parts and self.parts[-1].endswith(" "):
            kept = self.parts.pop().rstrip(" ")
            if kept:
                self.parts.append(kept)

    def _break(self, lines: int) -> None:
        """End the line, and leave `lines - 1` blank ones."""
        self._trim()
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
