"""EPUB: the chapters in reading order."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING
from urllib.parse import unquote

from dure.files._archive import open_archive, read_entry
from dure.files._decode import decode
from dure.files._html import html_text
from dure.files._limits import Limits, refuse
from dure.files._render import Pages, Parsed, one_line
from dure.files._xml import Scan, scan

if TYPE_CHECKING:
    from zipfile import ZipFile

_CHAPTERS = {"application/xhtml+xml", "text/html", "application/html+xml"}
_FONT_ONLY = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")


def parse_epub(path: str, raw: bytes, limits: Limits) -> Parsed:
    """Return one page a chapter, as the spine orders them."""
    pages = Pages(path, limits, "chapters")
    with open_archive(path, "epub", raw, limits) as archive:
        _check_encryption(path, archive, limits)
        place = _package_place(path, archive, limits)
        package = _Package()
        package.read(path, read_entry(path, archive, place), limits)
        folder = posixpath.dirname(place)
        for one in package.spine:
            kind, href = package.items.get(one, ("", ""))
            if kind in _CHAPTERS:
                name = posixpath.normpath(posixpath.join(folder, unquote(href)))
                text, _ = html_text(decode(path, read_entry(path, archive, name))[0])
                if text:
                    pages.add(text)
    return pages.parsed(
        {"title": package.facts.get("title"), "author": package.facts.get("creator")}
    )


class _Package:
    """What the package document says: items by id, their order, title and author."""

    def __init__(self) -> None:
        self.items: dict[str, tuple[str, str]] = {}
        self.spine: list[str] = []
        self.facts: dict[str, str] = {}
        self._inside = ""

    def read(self, path: str, raw: bytes, limits: Limits) -> None:
        one = Scan(path, limits, start=self._start, end=self._end, text=self._text, named_type=True)
        one.feed(raw)
        one.close()
        if not self.spine:
            raise refuse(path, "damaged EPUB book: it names no chapters")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._inside = name if name in {"title", "creator"} and name not in self.facts else ""
        if name == "item" and "id" in attributes:
            place = (attributes.get("media-type", ""), attributes.get("href", ""))
            self.items[attributes["id"]] = place
        elif name == "itemref" and "idref" in attributes:
            self.spine.append(attributes["idref"])

    def _end(self, name: str) -> None:
        if self._inside == name:
            self.facts[name] = one_line(self.facts.get(name, ""))
            self._inside = ""

    def _text(self, data: str) -> None:
        if self._inside:
            self.facts[self._inside] = self.facts.get(self._inside, "") + data


def _package_place(path: str, archive: ZipFile, limits: Limits) -> str:
    found: list[str] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        if name == "rootfile" and "full-path" in attributes:
            found.append(attributes["full-path"])

    scan(path, read_entry(path, archive, "META-INF/container.xml"), limits, start=start)
    if not found:
        raise refuse(path, "damaged EPUB book: it names no package document")
    return found[0]


def _check_encryption(path: str, archive: ZipFile, limits: Limits) -> None:
    """Refuse a book under digital rights management; hidden fonts are none of our business."""
    if "META-INF/encryption.xml" not in archive.namelist():
        return
    methods: list[str] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        if name == "EncryptionMethod":
            methods.append(attributes.get("Algorithm", ""))

    scan(path, read_entry(path, archive, "META-INF/encryption.xml"), limits, start=start)
    if any(method not in _FONT_ONLY for method in methods):
        raise refuse(path, "encrypted")
