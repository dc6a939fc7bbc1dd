"""Loaders of structured kinds: what becomes of their content, and what is refused with a reason."""

from __future__ import annotations

import contextlib
import io
import struct
import zipfile
import zlib
from email.message import EmailMessage
from typing import TYPE_CHECKING

import dure
import pytest
from dure import files
from dure.errors import FileRefusedError
from dure.files import Limits

from tests.python.files.compound import compound
from tests.python.files.hangul import hwp_bytes, hwp_p, hwpx_bytes, hwpx_p, packed, record
from tests.python.files.samples import (
    SAMPLES,
    Sample,
    docx_bytes,
    eml_bytes,
    epub_bytes,
    hwp_sample,
    hwpx_sample,
    pptx_bytes,
    xlsx_bytes,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ZIPS: dict[str, Callable[[], bytes]] = {
    "docx": docx_bytes,
    "pptx": pptx_bytes,
    "xlsx": xlsx_bytes,
    "epub": epub_bytes,
    "hwpx": hwpx_sample,
}


def load(folder: Path, name: str, raw: bytes, limits: Limits | None = None) -> dure.Document:
    path = folder / name
    path.write_bytes(raw)
    return files.load(path, limits=limits)


def reason_of(folder: Path, name: str, raw: bytes, limits: Limits | None = None) -> str:
    with pytest.raises(FileRefusedError) as caught:
        load(folder, name, raw, limits)
    assert caught.value.path == str(folder / name)
    return caught.value.reason


def rezipped(raw: bytes, changed: dict[str, bytes]) -> bytes:
    """Return an archive with some entries changed or added."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            new.writestr(name, changed.get(name, old.read(name)), zipfile.ZIP_DEFLATED)
        for name in changed.keys() - set(old.namelist()):
            new.writestr(name, changed[name], zipfile.ZIP_DEFLATED)
    return out.getvalue()


def test_slides_are_pages(tmp_path: Path) -> None:
    document = load(tmp_path, "a.pptx", pptx_bytes())
    assert document.metadata["title"] == "분기 보고"
    first, second = (
        document.text[a:b] for a, b in zip(document.pages, [*document.pages[1:], None], strict=True)
    )
    assert first == (
        "3분기 실적\n\n로봇 청소기 매출은 48억 원입니다.\n- 전년보다 12% 늘었습니다.\n\n"
        "Notes: 발표는 5분.\n\n"
    )
    assert second == "표\n\n| a | b\\|c |\n|---|---|\n| 1 | 2 |\n\n묶음 안의 글\n\n"
    chunks = dure.Chunker(max_tokens=200).chunk(document)
    assert chunks.page.tolist() == [1, 2]
    assert chunks.verify(document.text) == []


def test_sheets_are_pages_of_tables(tmp_path: Path) -> None:
    document = load(tmp_path, "a.xlsx", xlsx_bytes())
    assert document.metadata["title"] == "직원 명부"
    assert document.text == (
        "# 휴가\n\n| 이름 | 입사일 | 남은 휴가 | 확정 |\n|---|---|---|---|\n"
        "| 김민수 | 2024-03-01 | 15.5 | TRUE |\n| 이영희 | 2023-01-02 09:30:00 | 7 |  |\n\n"
        "| 비고 | x |\n|---|---|\n\n"
        "# 둘째 시트\n\n| 홀로\\|줄 바꿈 |\n|---|\n\n"
    )
    assert document.pages == (0, document.text.index("# 둘째"))
    chunks = dure.Chunker(max_tokens=40).chunk(document)
    assert chunks.page.tolist()[-1] == 2
    assert chunks[-1].text.startswith("# 둘째 시트")


def test_a_long_sheet_repeats_its_header_in_each_chunk(tmp_path: Path) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    book.active.append(["번호", "이름"])
    for i in range(500):
        book.active.append([i, f"사람 {i}"])
    out = io.BytesIO()
    book.save(out)
    chunks = dure.Chunker(max_tokens=100).chunk(load(tmp_path, "a.xlsx", out.getvalue()))
    assert len(chunks) > 10
    assert all("| 번호 | 이름 |" in text for text in chunks.embed_text)
    assert chunks[5].heading_path == ("Sheet",)


def test_cells_far_out_cost_nothing(tmp_path: Path) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    book.active["A1"] = "near"
    book.active["XFD1048576"] = "far"
    out = io.BytesIO()
    book.save(out)
    text = load(tmp_path, "far.xlsx", out.getvalue()).text
    assert text.startswith("# Sheet\n\n| near |\n|---|\n\n| far |\n|---|")


def test_a_mail_shows_headers_and_plain_text(tmp_path: Path) -> None:
    document = load(tmp_path, "a.eml", eml_bytes())
    assert document.text == (
        "# 회식 장소 안내\n\nFrom: 박지성 <park@example.com>\nTo: all@example.com\n"
        "Date: Fri, 20 Nov 2026 10:00:00 +0900\n\n"
        "이번 회식은 을지로 골뱅이집에서 저녁 7시에 모입니다.\n\nAttachments: 약도.pdf"
    )
    assert document.metadata["title"] == "회식 장소 안내"


def test_a_mail_of_html_alone_becomes_text(tmp_path: Path) -> None:
    message = EmailMessage()
    message["Subject"] = "x"
    message.set_content(
        "<h1>제목</h1><ul><li>하나</li></ul><script>evil()</script>", subtype="html"
    )
    text = load(tmp_path, "h.eml", message.as_bytes()).text
    assert text == "# x\n\n# 제목\n\n- 하나"


def test_a_mail_in_an_unknown_charset_is_decoded_like_a_file(tmp_path: Path) -> None:
    raw = b"Subject: hi\nContent-Type: text/plain; charset=nope\n\n" + "가나다라".encode("cp949")
    assert load(tmp_path, "c.eml", raw).text.endswith("가나다라")
    raw = b"Subject: hi\nContent-Type: text/plain; charset=ks_c_5601-1987\n\n" + "뷁".encode(
        "cp949"
    )
    assert load(tmp_path, "k.eml", raw).text.endswith("뷁")


def test_a_forwarded_mail_is_named_not_opened(tmp_path: Path) -> None:
    inner = EmailMessage()
    inner["Subject"] = "inner"
    inner.set_content("hidden text")
    outer = EmailMessage()
    outer["Subject"] = "outer"
    outer.set_content("see below")
    outer.add_attachment(inner)
    text = load(tmp_path, "f.eml", outer.as_bytes()).text
    assert "Attachments: message/rfc822" in text
    assert "hidden" not in text


def test_what_is_no_mail_is_refused(tmp_path: Path) -> None:
    assert "no header" in reason_of(tmp_path, "a.eml", b"just some text\n")
    parts = b"".join(b"--x\nContent-Type: text/plain\n\na\n" for _ in range(30))
    raw = b"Subject: a\nContent-Type: multipart/mixed; boundary=x\n\n" + parts + b"--x--"
    assert reason_of(tmp_path, "p.eml", raw, Limits(entries=20)) == "more than 20 parts"


def test_parts_nested_without_end_are_refused(tmp_path: Path) -> None:
    raw = b"Subject: a\n"
    for i in range(3000):
        raw += b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (i, i)
    assert "nested too deep" in reason_of(tmp_path, "n.eml", raw + b"\ntext")


def test_chapters_are_pages_in_the_order_of_the_spine(tmp_path: Path) -> None:
    document = load(tmp_path, "a.epub", epub_bytes())
    assert (
        document.text
        == "# 첫째 장\n\n등대지기의 이름은 마루다.\n\n# 둘째 장\n\n섬에는 고양이가 셋.\n\n"
    )
    assert document.pages == (0, document.text.index("# 둘째"))
    assert document.metadata["title"] == "섬 이야기"
    assert document.metadata["author"] == "한강"


def test_a_book_of_old_names_its_document_type(tmp_path: Path) -> None:
    """Chapters in .xml: the type of XHTML is named, nothing is declared, nothing is fetched."""
    named = (
        '<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.1//EN" "http://127.0.0.1:9/xhtml11.dtd">'
        "<html><body><h1>옛 책</h1><p>등대지기&nbsp;마루.</p></body></html>"
    )
    package = (
        '<package><metadata/><manifest><item id="a" href="a.xml" '
        'media-type="application/xhtml+xml"/></manifest>'
        '<spine><itemref idref="a"/></spine></package>'
    )
    old = {"OEBPS/content.opf": package, "OEBPS/a.xml": named}
    assert load(tmp_path, "a.epub", epub_bytes(old)).text == "# 옛 책\n\n등대지기 마루.\n\n"
    declares = '<!DOCTYPE html [<!ENTITY x "y">]><html/>'
    bad = epub_bytes(old | {"OEBPS/a.xml": declares})
    assert "document type" in reason_of(tmp_path, "b.epub", bad)


def test_an_archive_in_an_archive_is_not_opened(tmp_path: Path) -> None:
    """The inner one would unpack to 40 MB; only its own few bytes are counted."""
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("big.bin", bytes(40_000_000))
    raw = rezipped(docx_bytes(), {"word/embeddings/inner.zip": inner.getvalue()})
    assert load(tmp_path, "a.docx", raw).text == load(tmp_path, "b.docx", docx_bytes()).text
    assert "times its size" in reason_of(
        tmp_path, "c.docx", rezipped(docx_bytes(), {"word/big.bin": bytes(40_000_000)})
    )


def test_a_book_under_rights_management_is_refused(tmp_path: Path) -> None:
    entry = (
        '<encryption xmlns:e="http://www.w3.org/2001/04/xmlenc#"><e:EncryptedData>'
        '<e:EncryptionMethod Algorithm="%s"/></e:EncryptedData></encryption>'
    )
    hidden = {"META-INF/encryption.xml": entry % "http://www.w3.org/2001/04/xmlenc#aes128-cbc"}
    assert reason_of(tmp_path, "a.epub", epub_bytes(hidden)) == "encrypted"
    fonts = {"META-INF/encryption.xml": entry % "http://www.idpf.org/2008/embedding"}
    assert load(tmp_path, "b.epub", epub_bytes(fonts)).text


def test_a_book_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    nowhere = {"OEBPS/content.opf": "<package><metadata/><manifest/><spine/></package>"}
    assert "no chapters" in reason_of(tmp_path, "a.epub", epub_bytes(nowhere))
    lost = {"META-INF/container.xml": '<container><rootfile full-path="gone.opf"/></container>'}
    assert "it has no gone.opf" in reason_of(tmp_path, "b.epub", epub_bytes(lost))


def test_hwpx_keeps_outline_tables_and_sections(tmp_path: Path) -> None:
    document = load(tmp_path, "a.hwpx", hwpx_sample())
    assert document.text == (
        "# 청사 안내\n\n구내식당은 지하 2층에 있습니다.\n\n표:\n\n"
        "| 부서 | 층 |\n|---|---|\n| 총무과 | 4층 |\n\n## 둘째 구역\n\n주차장은 뒤편.\n\n"
    )
    assert document.pages == (0, document.text.index("## 둘째"))
    assert document.metadata["title"] == "제목"


def test_hwpx_controls_are_characters(tmp_path: Path) -> None:
    section = hwpx_p("가<hp:tab/>나<hp:lineBreak/>다<hp:fwSpace/>라")
    assert load(tmp_path, "a.hwpx", hwpx_bytes([section])).text == "가\t나\n다 라\n\n"


def test_hwp_keeps_outline_tables_and_sections(tmp_path: Path) -> None:
    document = load(tmp_path, "a.hwp", hwp_sample())
    assert document.text == (
        "# 보조금 공고\n\n신청 마감은 12월 15일이다.\t끝.\n\n"
        "| 구분 | 금액 |\n|---|---|\n| 청년 | 300만 원 |\n\n문의: 복지과\n\n## 둘째 구역\n\n"
    )
    assert document.pages == (0, document.text.index("## 둘째"))


@pytest.mark.parametrize("flags", [0, 1])
def test_hwp_of_any_size_packed_or_not(tmp_path: Path, flags: int) -> None:
    """Long streams, long records, many sections: all the paths of a compound file."""
    long = "대한민국의 주권은 국민에게 있다. " * 700
    sections = [hwp_p(f"{i}번째 {long}") for i in range(11)]
    document = load(tmp_path, "a.hwp", hwp_bytes(sections, flags=flags))
    assert len(document.pages) == 11
    assert all(f"{i}번째" in document.text[start:][:5] for i, start in enumerate(document.pages))
    assert document.text.count("주권") == 7700


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (1 | 2, "encrypted"),
        (1 | 4, "a copy for distribution: its text is encrypted"),
        (16, "encrypted"),
    ],
)
def test_hwp_that_hides_its_text_is_refused(tmp_path: Path, flags: int, reason: str) -> None:
    assert reason_of(tmp_path, "a.hwp", hwp_bytes([hwp_p("x")], flags=flags)) == reason


def test_damaged_hwp_is_refused(tmp_path: Path) -> None:
    header = b"HWP Document File".ljust(32, b"\0") + struct.pack("<II", 0x05010000, 1)
    whole = {"FileHeader": header.ljust(256, b"\0"), "DocInfo": packed(b"", 1)}
    bad_streams = {
        "no sections": whole,
        "too early": {**whole, "BodyText/Section0": packed(hwp_p("x" * 500), 1)[:-20]},
        "behind its stream": {**whole, "BodyText/Section0": packed(record(67, 0, b"ab")[:-1], 1)},
        "another compound file": {"WordDocument": b"x"},
        "its header": {**whole, "FileHeader": b"nothing"},
        "damaged": {**whole, "BodyText/Section0": b"\xff" * 100},
    }
    for i, (reason, streams) in enumerate(bad_streams.items()):
        assert reason in reason_of(tmp_path, f"{i}.hwp", compound(streams))
    raw = hwp_sample()
    for cut in (520, 1024, len(raw) - 700):
        assert "damaged" in reason_of(tmp_path, "cut.hwp", raw[:cut])


def test_hwp_bombs_are_refused(tmp_path: Path) -> None:
    body = packed(record(67, 0, bytes(60_000_000)), 1)
    assert "times its size" in reason_of(tmp_path, "a.hwp", compound(_with(body)))
    small = Limits(unzipped_bytes=1000, unzipped_ratio=10**6)
    assert "more than 1,000 bytes" in reason_of(tmp_path, "b.hwp", compound(_with(body)), small)


def _with(body: bytes) -> dict[str, bytes]:
    header = b"HWP Document File".ljust(32, b"\0") + struct.pack("<II", 0x05010000, 1)
    return {
        "FileHeader": header.ljust(256, b"\0"),
        "BodyText/Section0": body,
        "DocInfo": packed(b"", 1),
    }


@pytest.mark.parametrize("kind", ZIPS)
def test_every_archive_is_checked_before_it_is_parsed(tmp_path: Path, kind: str) -> None:
    raw = ZIPS[kind]()
    name = f"a.{kind}"
    assert load(tmp_path, name, raw).text
    bomb = rezipped(raw, {"extra.bin": bytes(40_000_000)})
    assert "times its size" in reason_of(tmp_path, name, bomb)
    assert "entries, more than 2" in reason_of(tmp_path, name, raw, Limits(entries=2))
    assert "damaged archive" in reason_of(tmp_path, name, raw[: len(raw) // 2])
    for hostile in ("../up.xml", "/etc/x", "a/../../x", "c:\\x"):
        assert "leads out of it" in reason_of(tmp_path, name, rezipped(raw, {hostile: b"<a/>"}))
    doctype = b'<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>'
    assert "document type" in reason_of(tmp_path, name, rezipped(raw, {"e.xml": doctype}))
    wide = '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>'
    bad = rezipped(raw, {"e.xml": wide.encode("utf-16")})
    assert "document type" in reason_of(tmp_path, name, bad)
    deep = rezipped(raw, {"e.xml": b"<a>" * 5000 + b"</a>" * 5000})
    assert "nested deeper" in reason_of(tmp_path, name, deep)
    assert "damaged XML" in reason_of(tmp_path, name, rezipped(raw, {"e.xml": b"<a><b></a>"}))


def test_links_in_archives_are_refused(tmp_path: Path) -> None:
    out = io.BytesIO(docx_bytes())
    link = zipfile.ZipInfo("word/link.bin")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    assert "is a link" in reason_of(tmp_path, "a.docx", out.getvalue())


def test_a_lying_header_does_not_help_a_bomb(tmp_path: Path) -> None:
    """The directory says 10 bytes; the entry unpacks to 40 million."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", bytes(40_000_000))
    raw = out.getvalue().replace(struct.pack("<I", 40_000_000), struct.pack("<I", 10))
    assert "damaged archive" in reason_of(tmp_path, "a.docx", raw)


def test_password_flags_are_seen(tmp_path: Path) -> None:
    raw = bytearray(docx_bytes())
    at = raw.index(b"PK\x01\x02")
    raw[at + 8] |= 1
    assert reason_of(tmp_path, "a.docx", bytes(raw)) == "encrypted"
    locked = compound({"EncryptionInfo": b"x" * 100, "EncryptedPackage": b"y" * 5000})
    for kind in ("docx", "pptx", "xlsx"):
        assert reason_of(tmp_path, f"b.{kind}", locked) == "encrypted"
    data = {"META-INF/manifest.xml": "<m><file-entry><encryption-data/></file-entry></m>"}
    assert reason_of(tmp_path, "c.hwpx", hwpx_bytes([hwpx_p("x")], extra=data)) == "encrypted"


@pytest.mark.parametrize("kind", ZIPS)
def test_a_name_that_lies_is_refused(tmp_path: Path, kind: str) -> None:
    for other, make in ZIPS.items():
        if other != kind:
            expected = f"named as a .{kind} file, but holds {other}"
            assert reason_of(tmp_path, f"a.{kind}", make()) == expected
    stranger = io.BytesIO()
    with zipfile.ZipFile(stranger, "w") as archive:
        archive.writestr("x", "y")
    assert "it has no" in reason_of(tmp_path, f"a.{kind}", stranger.getvalue())


def test_counts_are_capped(tmp_path: Path) -> None:
    assert "more than 1 slides" in reason_of(tmp_path, "a.pptx", pptx_bytes(), Limits(pages=1))
    assert "more than 1 sheets" in reason_of(tmp_path, "a.xlsx", xlsx_bytes(), Limits(pages=1))
    assert "more than 9 cells" in reason_of(tmp_path, "b.xlsx", xlsx_bytes(), Limits(cells=9))
    assert "more than 1 chapters" in reason_of(tmp_path, "a.epub", epub_bytes(), Limits(pages=1))
    assert "more than 1 sections" in reason_of(tmp_path, "a.hwpx", hwpx_sample(), Limits(pages=1))
    assert "more than 1 sections" in reason_of(tmp_path, "a.hwp", hwp_sample(), Limits(pages=1))
    for name, make in {**{f"t.{k}": m for k, m in ZIPS.items()}, "t.hwp": hwp_sample}.items():
        reason = reason_of(tmp_path, name, make(), Limits(text_chars=20))
        assert reason == "more than 20 characters of text", name


def test_formats_of_old_say_what_to_save_them_as(tmp_path: Path) -> None:
    assert reason_of(tmp_path, "a.doc", b"x") == "unknown type '.doc': save it as .docx"
    assert reason_of(tmp_path, "a.XLS", b"x") == "unknown type '.xls': save it as .xlsx"


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_noise_in_a_file_is_a_refusal_or_text(tmp_path: Path, sample: Sample) -> None:
    """Flipped bytes never cost more than the file: a document or a typed refusal."""
    import random

    raw = sample.make()
    chance = random.Random(zlib.crc32(raw))
    path = tmp_path / sample.name
    for _ in range(8):
        noisy = bytearray(raw)
        for _ in range(chance.randrange(1, 20)):
            noisy[chance.randrange(len(noisy))] = chance.randrange(256)
        path.write_bytes(noisy)
        with contextlib.suppress(FileRefusedError):
            assert files.load(path).text.strip()
