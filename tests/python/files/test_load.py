"""Loaders: real small files of each kind, and what is refused."""

import asyncio
import contextlib
import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import dure
import pytest
from dure import files
from dure.errors import FileRefusedError, InvalidArgumentError, MissingExtraError
from dure.files import Limits

from tests.python.files.pdfs import pdf
from tests.python.files.samples import docx_bytes

KOREAN = "안녕하세요. 이 문서는 시험을 위한 글입니다.\n두 번째 줄입니다.\n"


@pytest.fixture
def put(tmp_path: Path) -> Callable[[str, bytes | str], Path]:
    def write(name: str, content: bytes | str) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


Put = Callable[[str, bytes | str], Path]


def reason_of(path: Path, limits: Limits | None = None) -> str:
    with pytest.raises(FileRefusedError) as caught:
        files.load(path, limits=limits)
    assert caught.value.path == str(path)
    assert str(path) in str(caught.value)
    assert caught.value.reason in str(caught.value)
    return caught.value.reason


@pytest.mark.parametrize(
    ("name", "content", "kind", "mode"),
    [
        ("a.txt", "plain text", "text", "text"),
        ("README", "no suffix", "text", "text"),
        ("a.md", "# Title\n\ntext", "markdown", "markdown"),
        ("a.py", "def f():\n    return 1\n", "code", "code"),
        ("a.csv", "id,text\n1,x\n", "csv", "csv"),
        ("a.tsv", "id\ttext\n1\tx\n", "csv", "csv"),
        ("a.jsonl", '{"a": 1}\n{"a": 2}\n', "jsonl", "jsonl"),
        ("a.json", '{"a": [1, 2]}', "json", "code"),
        ("UPPER.TXT", "suffix in capitals", "text", "text"),
    ],
)
def test_text_formats_come_as_they_are(
    put: Put, name: str, content: str, kind: str, mode: str
) -> None:
    path = put(name, content)
    document = files.load(path)
    assert document.text == content
    assert document.id == str(path.resolve())
    assert document.pages == ()
    expected = {"source": str(path), "kind": kind, "mode": mode, "bytes": len(content)}
    assert expected.items() <= document.metadata.items()
    assert dure.Chunker(max_tokens=50).chunk(document).verify(content) == []


@pytest.mark.parametrize(
    ("raw", "encoding"),
    [
        (KOREAN.encode(), "utf-8"),
        (b"\xef\xbb\xbf" + KOREAN.encode(), "utf-8"),
        (b"\xff\xfe" + KOREAN.encode("utf-16-le"), "utf-16-le"),
        (b"\xfe\xff" + KOREAN.encode("utf-16-be"), "utf-16-be"),
        (KOREAN.encode("cp949"), "cp949"),
        (b"\xff\xfe\0\0" + KOREAN.encode("utf-32-le"), "utf-32-le"),
        (b"\0\0\xfe\xff" + KOREAN.encode("utf-32-be"), "utf-32-be"),
    ],
)
def test_encodings_are_found(put: Put, raw: bytes, encoding: str) -> None:
    document = files.load(put("k.txt", raw))
    assert document.text == KOREAN
    assert document.metadata["encoding"] == encoding


@pytest.mark.parametrize("text", ["가", "뷁펲 is beyond KS X 1001", "漢字와 한글, 섞어 쓴 글"])
def test_a_little_korean_is_enough(put: Put, text: str) -> None:
    document = files.load(put("k.txt", text.encode("cp949")))
    assert (document.text, document.metadata["encoding"]) == (text, "cp949")


@pytest.mark.parametrize(
    ("charset", "encoding", "text"),
    [
        ("euc-kr", "cp949", "<p>뷁 똠방각하</p>"),
        ("Shift_JIS", "shift_jis", "<p>日本語の文章です。カタカナ</p>"),
        ("windows-1251", "cp1251", "<p>Съешь ещё этих мягких булок</p>"),
        ("no-such-thing", "cp949", "<p>그래도 한글입니다</p>"),
    ],
)
def test_a_page_says_its_encoding(put: Put, charset: str, encoding: str, text: str) -> None:
    meta = f'<html><head><meta charset="{charset}"></head><body>{text}'
    document = files.load(put("p.html", meta.encode(encoding)))
    assert f"<p>{document.text}</p>" == text
    assert document.metadata["encoding"] == encoding


def test_a_page_that_lies_about_its_encoding_is_utf8(put: Put) -> None:
    meta = '<meta http-equiv="Content-Type" content="text/html; charset=euc-kr"><p>실은 UTF-8'
    document = files.load(put("p.html", meta))
    assert (document.text, document.metadata["encoding"]) == ("실은 UTF-8", "utf-8")


@pytest.mark.parametrize("length", [1, 7, 100, 4096])
def test_noise_is_no_text(put: Put, length: int) -> None:
    """Whatever the bytes: a document or a refusal, never an error of another type."""
    import random

    chance = random.Random(length)
    for i in range(20):
        path = put(f"{i}.txt", chance.randbytes(length))
        with contextlib.suppress(FileRefusedError):
            assert files.load(path).text


def test_western_text_is_guessed(put: Put) -> None:
    text = "Der Müller läßt grüßen, während die Bäume blühen. " * 20
    assert files.load(put("w.txt", text.encode("latin-1"))).text == text


def test_html_becomes_text_with_structure(put: Put) -> None:
    html = """<!DOCTYPE html><html><head><title>The page</title><style>x{}</style></head><body>
    <h1>Head &amp; shoulders</h1><p>One <b>bold</b> word.</p><script>evil()</script>
    <ul><li>first</li><li>second</li></ul><table><tr><th>a</th><th>b</th></tr>
    <tr><td>1</td><td>2</td></tr></table><pre>x = 1
y = 2</pre></body></html>"""
    document = files.load(put("p.html", html))
    assert document.metadata["title"] == "The page"
    assert "# Head & shoulders\n\nOne bold word." in document.text
    assert "- first\n- second" in document.text
    assert "| a | b |\n|---|---|\n| 1 | 2 |" in document.text
    assert "```\nx = 1\ny = 2\n```" in document.text
    assert "evil" not in document.text
    assert "x{}" not in document.text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p><b>very</b> <i>light</i></p>", "very light"),
        ("<strong>Name:</strong>\n<span>Kim</span>", "Name: Kim"),
        ("<p>a <b>b</b>c</p> <p>d</p>", "a bc\n\nd"),
        ("<p>a <br> b", "a\nb"),
        ("<table><tr>\n<td> x </td>\n<td>y</td>\n</tr></table>", "| x | y |"),
        ("<ul> <li> one </li> <li>two</li></ul>", "- one\n- two"),
    ],
)
def test_white_space_of_html_is_what_a_browser_shows(put: Put, html: str, text: str) -> None:
    assert files.load(put("p.html", html)).text == text


def test_the_title_of_a_drawing_is_not_the_page_s(put: Put) -> None:
    page = "<head><title>Quick</title></head><body><svg><title>Menu</title></svg><p>text"
    assert files.load(put("p.html", page)).metadata["title"] == "Quick"


def test_deep_html_costs_no_stack(put: Put) -> None:
    document = files.load(put("deep.html", "<div>" * 200_000 + "text"))
    assert document.text == "text"


def test_pdf_keeps_its_pages(put: Put) -> None:
    document = files.load(put("d.pdf", pdf(["First page text.", "Second page text."])))
    assert document.metadata["kind"] == "pdf"
    first, second = document.pages
    assert first == 0
    assert document.text[second:].startswith("Second page text.")
    chunks = dure.Chunker(max_tokens=100).chunk(document)
    assert list(chunks.text) == ["First page text.", "Second page text."]
    assert chunks.page.tolist() == [1, 2]


def test_a_pdf_begins_within_its_first_kilobyte(put: Put) -> None:
    raw = pdf(["Some text."])
    assert files.load(put("a.pdf", b"%!PS-junk\r\n" + raw)).text.startswith("Some text.")
    assert "something else" in reason_of(put("b.pdf", b"x" * 1024 + raw))
    assert files.load(put("c.txt", "a PDF begins with %PDF-")).metadata["kind"] == "text"


@pytest.mark.parametrize(
    "how",
    [
        b"/Filter /Standard /V 1 /R 2 /P -4 /O <" + b"41" * 32 + b"> /U <" + b"42" * 32 + b">",
        b"/Filter /Adobe.PubSec /V 1 /SubFilter /adbe.pkcs7.s4",
    ],
)
def test_an_encrypted_pdf_is_refused(put: Put, how: bytes) -> None:
    raw = pdf(["Hidden."], trailer=b"/ID [<00> <00>] /Encrypt << " + how + b" >>")
    assert reason_of(put("a.pdf", raw)) == "encrypted"


def test_docx_keeps_headings_and_tables(put: Put) -> None:
    document = files.load(put("d.docx", docx_bytes()))
    assert document.metadata["title"] == "A title"
    assert document.text == (
        "# Chapter\n\nFirst paragraph.\n\n| name | value |\n|---|---|\n| a | 1 |\n\n"
        "## Section\n\n마지막 문단. 도서관의 대출 기간은 21일입니다."
    )


def test_docx_keeps_what_is_wrapped_inserted_or_merged(put: Put) -> None:
    import docx
    from docx.oxml import parse_xml
    from docx.oxml.ns import nsdecls

    document = docx.Document()
    run = "<w:r><w:t>{}</w:t></w:r>"
    for at, inner in enumerate(
        (
            f"<w:sdt {{}}><w:sdtContent><w:p>{run.format('a control')}</w:p></w:sdtContent>"
            "</w:sdt>",
            f"<w:p {{}}>{run.format('kept, ')}<w:ins>{run.format('inserted')}</w:ins>"
            "<w:del><w:r><w:delText>deleted</w:delText></w:r></w:del></w:p>",
            f"<w:p {{}}><w:hyperlink>{run.format('a link, ')}</w:hyperlink>"
            f"<w:sdt><w:sdtContent>{run.format('inline')}</w:sdtContent></w:sdt></w:p>",
        )
    ):
        document.element.body.insert(at, parse_xml(inner.format(nsdecls("w"))))
    table = document.add_table(2, 3)
    table.cell(0, 0).merge(table.cell(0, 1)).text = "merged"
    table.cell(0, 2).text = "last"
    table.cell(1, 0).text = "outer"
    table.cell(1, 0).add_table(1, 1).cell(0, 0).text = "inner"
    out = io.BytesIO()
    document.save(out)
    assert files.load(put("w.docx", out.getvalue())).text.split("\n\n")[:3] == [
        "a control",
        "kept, inserted",
        "a link, inline",
    ]
    told = files.load(put("w.docx", out.getvalue())).text
    assert told.count("merged") == 1
    assert "| merged |  | last |" in told
    assert "| outer inner |" in told
    assert "deleted" not in told


def test_one_child_serves_many_files(put: Put) -> None:
    from dure.files import _child

    files.load(put("first.pdf", pdf(["The first text."])))
    known = list(_child._children()._idle)
    for i in range(5):
        files.load(put(f"{i}.pdf", pdf([f"Text number {i}."])))
    assert _child._children()._idle == known


def test_a_process_with_many_open_descriptors(put: Put) -> None:
    from dure.files import _child

    _child._children().close()  # the next child's pipes get high numbers
    many = [os.open(os.devnull, os.O_RDONLY) for _ in range(1_100)]
    try:
        assert files.load(put("a.pdf", pdf(["Some text."]))).text.strip() == "Some text."
    finally:
        _child._children().close()
        for descriptor in many:
            os.close(descriptor)


async def test_aload(put: Put) -> None:
    paths = [put(f"{i}.pdf", pdf([f"Text number {i}."])) for i in range(4)]
    documents = await asyncio.gather(*(files.aload(path) for path in paths))
    assert [d.text.strip() for d in documents] == [f"Text number {i}." for i in range(4)]


def test_what_is_refused_says_why(put: Put, tmp_path: Path) -> None:
    assert reason_of(tmp_path / "none.txt") == "No such file or directory"
    assert reason_of(tmp_path) == "not a regular file"
    assert reason_of(put("e.txt", "")) == "empty"
    assert reason_of(put("s.txt", " \n ")) == "no text in it"
    assert reason_of(put("a.xyz", "text")).startswith("unknown type '.xyz': save it as")
    assert "NUL" in reason_of(put("n.txt", b"a\0b"))
    assert "NUL" in reason_of(put("n.txt", b"\xef\xbb\xbfa\0b"))
    assert "NUL" in reason_of(put("n.txt", b"\xff\xfea\0\0\0"))
    assert reason_of(put("x.txt", pdf(["hidden"]))) == "named as a .txt file, but holds pdf"
    assert reason_of(put("x.pdf", "text")) == "named as a .pdf file, but holds something else"
    assert reason_of(put("x.md", b"\x89PNG\r\n\x1a\n")) == "named as a .md file, but holds png"
    assert reason_of(put("x.json", "{not json")).startswith("damaged JSON")
    assert reason_of(put("x.jsonl", '{"a": 1}\n{"a": \n')).startswith("damaged JSON")
    assert "damaged utf-16-le" in reason_of(put("u.txt", b"\xff\xfea"))
    assert "larger than 10 bytes" in reason_of(put("l.txt", "x" * 11), Limits(file_bytes=10))
    assert "more than 10 characters" in reason_of(put("l.txt", "x" * 11), Limits(text_chars=10))


def test_no_guess_is_a_mainframes(put: Put) -> None:
    assert files.load(put("g.md", b"caf\xe9 \xc1\x80\x81\x82")).text.startswith("caf")


def test_json_of_great_depth_is_refused(put: Put) -> None:
    assert reason_of(put("deep.json", "[" * 200_000)).startswith("damaged JSON")


def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p.txt")
    assert reason_of(tmp_path / "p.txt") == "not a regular file"


def test_damaged_binaries_are_refused(put: Put) -> None:
    assert "damaged PDF" in reason_of(put("b.pdf", b"%PDF-1.4\n" + os.urandom(500)))
    assert "damaged archive" in reason_of(put("b.docx", docx_bytes()[:500]))
    empty = io.BytesIO()
    with zipfile.ZipFile(empty, "w") as archive:
        archive.writestr("x", "y")
    assert "damaged Word document" in reason_of(put("c.docx", empty.getvalue()))


def test_too_many_pages_are_refused(put: Put) -> None:
    path = put("m.pdf", pdf(["a", "b", "c"]))
    assert reason_of(path, Limits(pages=2)) == "3 pages, more than 2"


def bomb(size: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", b" " * size)
    return out.getvalue()


def test_zip_bombs_are_refused(put: Put) -> None:
    assert "times its size" in reason_of(put("b.docx", bomb(50_000_000)))
    small = Limits(unzipped_bytes=1000, unzipped_ratio=10**6)
    assert "unpacks to more than 1,000 bytes" in reason_of(put("b.docx", bomb(50_000)), small)
    assert "entries" in reason_of(put("d.docx", docx_bytes()), Limits(entries=2))


def test_entity_bombs_stay_harmless(put: Put) -> None:
    lol = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 12))
    xml = f'<?xml version="1.0"?><!DOCTYPE w [<!ENTITY l0 "lol">{lol}]><w>&l11;</w>'
    source = zipfile.ZipFile(io.BytesIO(docx_bytes()))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for entry in source.infolist():
            is_body = entry.filename == "word/document.xml"
            archive.writestr(entry, xml if is_body else source.read(entry))
    with pytest.raises(FileRefusedError):
        files.load(put("lol.docx", out.getvalue()))


def test_want_of_memory_is_no_damage() -> None:
    """libxml2 without memory for its own message says "unknown error"."""
    from dure.files._office import _damage

    with pytest.raises(MemoryError), _damage("x.docx", "Word document"):
        raise SyntaxError("unknown error")
    with pytest.raises(FileRefusedError, match="damaged"), _damage("x.docx", "Word document"):
        raise SyntaxError("mismatched tag")


def test_the_time_of_the_parser_is_limited(put: Put) -> None:
    """Half a minute of parsing; processor time ends it, or on a busy machine the clock."""
    path = put("slow.html", "<p>x</p>" * 6_000_000)
    reason = reason_of(path, Limits(seconds=1))
    assert reason in {"the parser used too much processor time", "the parser took too long"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"seconds": float("inf")},
        {"seconds": float("nan")},
        {"seconds": 0},
        {"memory_bytes": 2**65},
        {"pages": 0},
        {"file_bytes": -1},
    ],
)
def test_what_is_no_limit_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidArgumentError, match="is no limit") as bad:
        Limits(**wrong)  # type: ignore[arg-type]
    assert bad.value.argument in wrong
    with pytest.raises(TypeError, match="seconds must be a number"):
        Limits(seconds="1")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="pages must be int"):
        Limits(pages=1.5)  # type: ignore[arg-type]


def test_a_library_that_is_missing_is_named(put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the child, for a PDF, and here, for an encoding that has to be guessed."""
    from dure.files import _child

    empty = put("empty", "").parent / "hidden"
    empty.mkdir()
    for name in ("pypdfium2", "charset_normalizer"):
        (empty / f"{name}.py").write_text("raise ImportError(__name__)")
    monkeypatch.setenv("PYTHONPATH", f"{empty}:{os.environ.get('PYTHONPATH', '')}")
    _child._children().close()  # idle ones found their libraries before
    with pytest.raises(MissingExtraError, match=r"dure\[files\]"):
        files.load(put("a.pdf", pdf(["Some text."])))
    monkeypatch.undo()
    _child._children().close()
    monkeypatch.setitem(sys.modules, "charset_normalizer", None)
    with pytest.raises(MissingExtraError, match=r"dure\[files\]"):
        files.load(put("w.txt", "Der Müller läßt grüßen. ".encode("latin-1") * 20))


def test_the_memory_of_the_parser_is_limited(put: Put) -> None:
    import docx

    document = docx.Document()
    for i in range(2000):
        document.add_paragraph(f"Paragraph {i} takes memory that nobody has. " * 20)
    out = io.BytesIO()
    document.save(out)
    path = put("d.docx", out.getvalue())
    reason = reason_of(path, Limits(memory_bytes=1000))
    assert any(word in reason for word in ("memory", "allocate", "died", "failed")), reason
    assert files.load(path).text  # the next file is served


def test_a_killed_child_is_replaced(put: Put) -> None:
    from dure.files import _child

    path = put("d.pdf", pdf(["Some text."]))
    files.load(path)
    _child._children()._idle[-1]._process.kill()
    assert "died" in reason_of(path)
    assert files.load(path).text.strip() == "Some text."


def test_the_child_sees_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    from dure.files import _child

    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    child = _child._Child()
    try:
        environ = Path(f"/proc/{child._process.pid}/environ").read_bytes()
        assert b"sk-secret" not in environ
    finally:
        child.close()


def test_no_child_outlives_its_parent(put: Put) -> None:
    path = put("d.pdf", pdf(["Some text."]))
    code = (
        "import sys, dure.files as f; from dure.files import _child; f.load(sys.argv[1]); "
        "print(_child._children()._idle[0]._process.pid)"
    )
    out = subprocess.check_output([sys.executable, "-W", "error", "-c", code, str(path)], text=True)
    assert not Path(f"/proc/{int(out)}").exists()


def test_a_bomb_leaves_the_other_files_unharmed(put: Put) -> None:
    paths = [put("a.docx", bomb(50_000_000)), put("b.pdf", pdf(["Fine."])), put("c.txt", "ok")]
    texts = []
    for path in paths:
        try:
            texts.append(files.load(path).text.strip())
        except FileRefusedError as refused:
            texts.append(f"refused: {Path(refused.path).name}")
    assert texts == ["refused: a.docx", "Fine.", "ok"]


def test_the_refusal_is_plain_data(put: Put) -> None:
    with pytest.raises(FileRefusedError) as caught:
        files.load(put("a.xyz", "text"))
    assert json.loads(json.dumps(caught.value.to_dict()))["type"] == "FileRefusedError"


def test_a_field_of_a_csv_file_has_a_limit(put: Put) -> None:
    limits = Limits(field_chars=50)
    long = "x" * 51
    assert "quoted field from line 2" in reason_of(put("a.csv", f'a,b\n1,"{long}\n'), limits)
    assert "quoted field from line 1" in reason_of(put("b.csv", f'a,"b ""{long}"" c"\n'), limits)
    assert "a field has more than 50" in reason_of(put("c.csv", f"a,b\n1,{long}\n"), limits)
    fine = "a,b\n" + '1,"two ""words"" in it"\n' * 40
    assert files.load(put("d.csv", fine), limits=limits).text == fine
