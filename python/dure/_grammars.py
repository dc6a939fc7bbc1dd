"""Where source code may be cut, by its syntax tree: the extra `code`.

A tree-sitter wheel for each language; a language whose wheel is missing, or code that is too long
or does not say its language, is cut by indentation instead.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_JAVASCRIPT = ("tree_sitter_javascript", "language")
_CPP = ("tree_sitter_cpp", "language")
_GRAMMARS = {
    **dict.fromkeys([".py", ".pyi"], ("tree_sitter_python", "language")),
    **dict.fromkeys([".js", ".mjs", ".cjs", ".jsx"], _JAVASCRIPT),
    ".ts": ("tree_sitter_typescript", "language_typescript"),
    ".tsx": ("tree_sitter_typescript", "language_tsx"),
    ".java": ("tree_sitter_java", "language"),
    ".go": ("tree_sitter_go", "language"),
    ".rs": ("tree_sitter_rust", "language"),
    ".c": ("tree_sitter_c", "language"),
    **dict.fromkeys([".h", ".cc", ".cpp", ".cxx", ".hpp", ".hh"], _CPP),
}
LONGEST = 8_000_000  # bytes
_DEEPEST = 4  # definitions within definitions that are looked into
# How good a cut is, as the core's outline numbers it.
_ITEM, _PARAGRAPH, _BLOCK = 7, 8, 9
_DEFINES = ("_definition", "_declaration", "_item", "_specifier", "_signature")
_HOLDS = ("block", "body", "list", "statement")
_WRAPS = {"decorated_definition", "export_statement", "template_declaration"}  # around a definition


def cuts(text: str, name: str) -> list[tuple[int, int]]:
    """Return (byte, level) of each start of a definition or outer statement, ascending.

    Empty: no grammar for this file name.
    """
    grammar = _GRAMMARS.get(PurePath(name).suffix.lower())
    parser = _parser(*grammar) if grammar is not None else None
    source = text.encode("utf-8", "surrogatepass")
    if parser is None or len(source) > LONGEST:
        return []
    found: dict[int, int] = {}
    for at, level in _starts(parser.parse(source).root_node, 0):
        line = source.rfind(b"\n", 0, at) + 1
        if line > 0 and not source[line:at].strip():
            found[line] = max(level, found.get(line, 0))
    return sorted(found.items())


@cache
def _parser(module: str, function: str) -> Any:  # noqa: ANN401
    """Return the parser of a language, None if its wheel is not installed."""
    try:
        from tree_sitter import Language, Parser  # type: ignore[import-not-found, unused-ignore]

        language = getattr(import_module(module), function)()
    except ImportError:
        return None
    return Parser(Language(language))


def _starts(node: Any, depth: int) -> Iterator[tuple[int, int]]:  # noqa: ANN401
    """Yield the starts of what stands in `node`; a comment belongs to what it stands above."""
    above = None  # the first of the comments right above
    for child in node.named_children:
        if above is not None and child.start_point[0] > above[1] + 1:
            above = None
        if "comment" in child.type:
            above = (above[0] if above else child.start_byte, child.end_point[0])
            if depth == 0:
                yield above[0], _ITEM
            continue
        start = above[0] if above else child.start_byte
        above = None
        inner = _wrapped(child)
        defines = inner.type.endswith(_DEFINES)
        if defines or depth == 0:
            yield start, (_BLOCK, _PARAGRAPH, _ITEM)[min(depth, 2)] if defines else _ITEM
        if depth < _DEEPEST and (defines or inner.type.endswith(_HOLDS)):
            yield from _inside(inner, depth + 1)


def _wrapped(node: Any) -> Any:  # noqa: ANN401
    while node.type in _WRAPS:
        within = [one for one in node.named_children if one.type.endswith(_DEFINES)]
        if not within:
            break
        node = within[-1]
    return node


def _inside(node: Any, depth: int) -> Iterator[tuple[int, int]]:  # noqa: ANN401
    """Yield the starts in the bodies of a definition."""
    for child in node.named_children:
        if child.type.endswith(_HOLDS):
            yield from _starts(child, depth)
