"""XML as a stream of events: no tree, no document type, no entities but the five, bounded depth."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.parsers import expat

from dure.files._limits import Limits, refuse

if TYPE_CHECKING:
    from collections.abc import Callable


class Scan:
    """Feeds XML to a parser in blocks; refuses what no document of an office needs.

    `start(name, attributes)`, `end(name)` and `text(data)` are called as the parser goes; names
    come without their prefix. Attributes come without prefix, too. With `named_type` a document
    may name its type (old books do), but declare nothing of it; what is named is never fetched.
    """

    def __init__(
        self,
        path: str,
        limits: Limits,
        *,
        start: Callable[[str, dict[str, str]], None] | None = None,
        end: Callable[[str], None] | None = None,
        text: Callable[[str], None] | None = None,
        named_type: bool = False,
    ) -> None:
        self._path = path
        self._most = limits.depth
        self._depth = 0
        self._start, self._end = start, end
        self._named_type = named_type
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartDoctypeDeclHandler = self._on_doctype
        self._parser.StartElementHandler = self._on_start
        self._parser.EndElementHandler = self._on_end
        if text is not None:
            self._parser.CharacterDataHandler = text

    def feed(self, block: bytes) -> None:
        """Take the next bytes."""
        self._parse(block, final=False)

    def close(self) -> None:
        """Say that no more bytes come."""
        self._parse(b"", final=True)

    def _parse(self, block: bytes, *, final: bool) -> None:
        try:
            self._parser.Parse(block, final)
        except expat.ExpatError as bad:
            if bad.code == 1:  # XML_ERROR_NO_MEMORY
                raise MemoryError from bad
            raise refuse(self._path, f"damaged XML: {bad}") from bad

    def _on_doctype(
        self, _name: str, _system: str | None, _public: str | None, declares: int
    ) -> None:
        if declares or not self._named_type:
            raise refuse(self._path, "hostile XML: it declares a document type")

    def _on_start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > self._most:
            raise refuse(self._path, f"XML nested deeper than {self._most}")
        if self._start is not None:
            plain = {local_name(key): value for key, value in attributes.items()}
            self._start(local_name(name), plain)

    def _on_end(self, name: str) -> None:
        self._depth -= 1
        if self._end is not None:
            self._end(local_name(name))


def local_name(name: str) -> str:
    """Return a name without its prefix."""
    return name.rpartition(":")[2]


def scan(path: str, raw: bytes, limits: Limits, **handlers: Callable[..., None]) -> None:
    """Run a whole document through `Scan`."""
    one = Scan(path, limits, named_type=False, **handlers)
    one.feed(raw)
    one.close()
