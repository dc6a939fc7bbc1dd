"""Code is cut where its syntax tree says, with the grammars of the extra `code`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from dure import Chunker, Document
from dure._grammars import cuts
from dure.errors import InvalidArgumentError

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("tree_sitter")

PYTHON = '''"""Module."""
import os

# What it is for.
@decorated
def first(a,
b=2):
    """Text at the edge:
def not_a_function(): pass
"""
    return a

class Second:
    x = 1

    def method(self):
        def inner():
            return 1
        return inner

    # About the other.
    def other(self):
        return """
class Third:
"""

value = first(1)
'''
OTHERS = {
    "a.js": ("import a from 'a';\n\nfunction f() {\n  return 1;\n}\n\nclass B {\n  m() {}\n}\n", 2),
    "a.ts": ("interface A { b: string }\n\nexport function f(): A {\n  return { b: '' };\n}\n", 1),
    "a.java": ("package a;\n\nclass B {\n  int f() { return 1; }\n\n  void g() {}\n}\n", 2),
    "a.go": ("package a\n\nfunc f() int {\n\treturn 1\n}\n\ntype T struct{}\n", 2),
    "a.rs": ("use a::b;\n\nfn f() -> i32 { 1 }\n\nimpl T {\n    fn g(&self) {}\n}\n", 3),
    "a.c": ("#include <a.h>\n\nint f(void) {\n  return 1;\n}\n\nint g(void) { return 2; }\n", 2),
    "a.cc": ("namespace a {\n\nclass B {\n  int f();\n};\n\nint g() { return 2; }\n\n}\n", 2),
}


def lines_of(source: str, name: str) -> dict[str, int]:
    raw = source.encode()
    return {raw[at:].split(b"\n", 1)[0].decode(): level for at, level in cuts(source, name)}


def test_definitions_of_python_are_found_and_strings_are_not() -> None:
    found = lines_of(PYTHON, "x.py")
    assert found["# What it is for."] == 9
    assert found["class Second:"] == 9
    assert found["    def method(self):"] == 8
    assert found["    # About the other."] == 8
    assert found["value = first(1)"] == 7
    assert not {"def not_a_function(): pass", "class Third:", "def first(a,", "b=2):"} & set(found)


@pytest.mark.parametrize("name", OTHERS)
def test_other_languages(name: str) -> None:
    source, definitions = OTHERS[name]
    found = cuts(source, name)
    assert len([level for _, level in found if level >= 8]) >= definitions, found
    assert all(at == 0 or source.encode()[at - 1 : at] == b"\n" for at, _ in found)


def test_chunks_follow_the_tree_and_keep_every_rule() -> None:
    text = "class NotOne:\n    pass\n\nclass NotTwo:\n    pass\n"
    source = f'def f():\n    return """\n\n{text}"""\n\n\n' * 30
    chunker = Chunker(max_chars=160)
    chunks = chunker.chunk(Document(source, metadata={"source": "x.py", "mode": "code"}))
    assert chunks.verify(source) == []
    assert all(text.startswith("def f") for text in chunks.text)
    plain = chunker.chunk(Document(source, metadata={"source": "x.zz", "mode": "code"}))
    assert plain.verify(source) == []
    assert any(text.startswith("class Not") for text in plain.text)


def test_broken_and_long_code_is_cut_all_the_same() -> None:
    for source in ("def f(:\n" * 3000, "((((" * 20_000, "class A:\n" + "    x = 1\n" * 50_000):
        document = Document(source, metadata={"source": "x.py", "mode": "code"})
        assert Chunker(max_chars=500).chunk(document).verify(source) == []


@pytest.mark.parametrize("batch", [3, 65536])
def test_a_file_of_code_is_cut_as_its_document_is(tmp_path: Path, batch: int) -> None:
    text = "".join(f"{PYTHON}\nname_{i} = '값 {i}'\n" for i in range(30))
    path = tmp_path / "x.py"
    path.write_text(text, encoding="utf-8")
    chunker = Chunker(max_chars=120, mode="code", overlap=20)
    whole = chunker.chunk(Document(text, metadata={"source": "x.py"}))
    assert whole.byte_start.tolist() != chunker.chunk(text).byte_start.tolist()
    batches = list(chunker.chunk_file(path, batch_chunks=batch))
    assert [len(one) for one in batches[:-1]] == [batch] * (len(batches) - 1)
    for column in ("byte_start", "byte_end", "char_start", "char_end", "hash64"):
        found = [value for one in batches for value in getattr(one, column).tolist()]
        assert found == getattr(whole, column).tolist()
    assert [one for batch in batches for one in batch.text] == list(whole.text)


def test_a_file_of_code_that_is_no_utf8_says_where(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_bytes(PYTHON.encode() + b"\xff")
    with pytest.raises(InvalidArgumentError) as bad:
        list(Chunker(max_chars=120, mode="code").chunk_file(path))
    assert bad.value.position == len(PYTHON.encode())  # type: ignore[attr-defined]
