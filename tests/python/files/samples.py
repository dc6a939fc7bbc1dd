"""One file of each kind that can be read, with a fact in it and a question about that fact."""

from __future__ import annotations

import datetime
import io
import json
import zipfile
from email.message import EmailMessage
from typing import TYPE_CHECKING, NamedTuple

from tests.python.files.hangul import hwp_bytes, hwp_p, hwp_table, hwpx_bytes, hwpx_p, hwpx_table
from tests.python.files.pdfs import pdf

if TYPE_CHECKING:
    from collections.abc import Callable


class Sample(NamedTuple):
    """A file, what to ask about it, and what its answer has to hold."""

    name: str
    make: Callable[[], bytes]
    question: str
    fact: str


def docx_bytes() -> bytes:
    import docx

    document = docx.Document()
    document.core_properties.title = "A title"
    document.add_heading("Chapter", level=1)
    document.add_paragraph("First paragraph.")
    table = document.add_table(rows=2, cols=2)
    for row, texts in zip(table.rows, [("name", "value"), ("a", "1")], strict=True):
        for cell, text in zip(row.cells, texts, strict=True):
            cell.text = text
    document.add_heading("Section", level=2)
    document.add_paragraph("마지막 문단. 도서관의 대출 기간은 21일입니다.")
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def pptx_bytes() -> bytes:
    import pptx
    from pptx.util import Inches

    deck = pptx.Presentation()
    deck.core_properties.title = "분기 보고"
    first = deck.slides.add_slide(deck.slide_layouts[1])
    first.shapes.title.text = "3분기 실적"
    body = first.placeholders[1].text_frame
    body.text = "로봇 청소기 매출은 48억 원입니다."
    below = body.add_paragraph()
    below.text = "전년보다 12% 늘었습니다."
    below.level = 1
    first.notes_slide.notes_text_frame.text = "발표는 5분."
    second = deck.slides.add_slide(deck.slide_layouts[5])
    second.shapes.title.text = "표"
    place = (Inches(1), Inches(2), Inches(4), Inches(1))
    table = second.shapes.add_table(2, 2, *place).table
    for (row, column), text in {(0, 0): "a", (0, 1): "b|c", (1, 0): "1", (1, 1): "2"}.items():
        table.cell(row, column).text = text
    group = second.shapes.add_group_shape()
    group.shapes.add_textbox(*place).text_frame.text = "묶음 안의 글"
    out = io.BytesIO()
    deck.save(out)
    return out.getvalue()


def xlsx_bytes() -> bytes:
    import openpyxl

    book = openpyxl.Workbook()
    book.properties.title = "직원 명부"
    sheet = book.active
    sheet.title = "휴가"
    sheet.append(["이름", "입사일", "남은 휴가", "확정"])
    sheet.append(["김민수", datetime.datetime(2024, 3, 1), 15.5, True])
    sheet.append(["이영희", datetime.datetime(2023, 1, 2, 9, 30), 7.0, None])
    sheet.append([])
    sheet.append(["비고", "x"])
    other = book.create_sheet("둘째 시트")
    other["C3"] = "홀로|줄\n바꿈"
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def eml_bytes() -> bytes:
    message = EmailMessage()
    message["Subject"] = "회식 장소 안내"
    message["From"] = "박지성 <park@example.com>"
    message["To"] = "all@example.com"
    message["Date"] = "Fri, 20 Nov 2026 10:00:00 +0900"
    message.set_content("이번 회식은 을지로 골뱅이집에서 저녁 7시에 모입니다.\n", charset="euc-kr")
    message.add_alternative("<p>이번 <b>회식</b>은 HTML.</p>", subtype="html")
    message.add_attachment(b"%PDF-1.4", maintype="application", subtype="pdf", filename="약도.pdf")
    return message.as_bytes()


_OPF = """<?xml version="1.0"?><package xmlns="http://www.idpf.org/2007/opf" version="3.0">
<metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>섬 이야기</dc:title>
<dc:creator>한강</dc:creator></metadata><manifest>
<item id="b" href="text/two%20b.xhtml" media-type="application/xhtml+xml"/>
<item id="a" href="text/one.xhtml" media-type="application/xhtml+xml"/>
<item id="css" href="style.css" media-type="text/css"/></manifest>
<spine><itemref idref="a"/><itemref idref="b"/></spine></package>"""
_CONTAINER = """<?xml version="1.0"?><container version="1.0"
 xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>
<rootfile full-path="OEBPS/content.opf" media-type="application/oebps-package+xml"/></rootfiles>
</container>"""
_CHAPTER = """<?xml version="1.0" encoding="utf-8"?><!DOCTYPE html>
<html xmlns="http://www.w3.org/1999/xhtml"><head><title>x</title></head><body>%s</body></html>"""


def epub_bytes(extra: dict[str, str] | None = None) -> bytes:
    entries = {
        "META-INF/container.xml": _CONTAINER,
        "OEBPS/content.opf": _OPF,
        "OEBPS/text/one.xhtml": _CHAPTER % "<h1>첫째 장</h1><p>등대지기의 이름은&nbsp;마루다.</p>",
        "OEBPS/text/two b.xhtml": _CHAPTER % "<h1>둘째 장</h1><p>섬에는 고양이가 셋.</p>",
        **(extra or {}),
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", "application/epub+zip", zipfile.ZIP_STORED)
        for name, content in entries.items():
            archive.writestr(name, content)
    return out.getvalue()


def hwpx_sample() -> bytes:
    table = hwpx_table([["부서", "층"], ["총무과", "4층"]])
    return hwpx_bytes(
        [
            hwpx_p("청사 안내", 2)
            + hwpx_p("구내식당은 지하 2층에 있습니다.")
            + hwpx_p("표:", 0, table),
            hwpx_p("둘째 구역", 3) + hwpx_p("주차장은 뒤편."),
        ]
    )


def hwp_sample() -> bytes:
    first = hwp_p("보조금 공고", style=1) + hwp_p("신청 마감은 12월 15일이다.\t끝.")
    table = hwp_table([["구분", "금액"], ["청년", "300만 원"]])
    return hwp_bytes([first + table + hwp_p("문의: 복지과"), hwp_p("둘째 구역", style=2)])


def _text(text: str) -> Callable[[], bytes]:
    return text.encode


_HTML = (
    "<html><head><title>공지</title></head><body><h1>공지</h1>"
    "<p>정전은 화요일 새벽 3시에 시작한다.</p>"
)
_CODE = (
    'def retry_limit() -> int:\n    """The courier service retries 17 times."""\n    return 17\n'
)
SAMPLES = [
    Sample("a.txt", _text("자전거 보관소는 북문 옆에 있습니다."), "자전거 보관소는 어디?", "북문"),
    Sample("b.md", _text("# 요금\n\n성인 입장료는 9,000원입니다."), "성인 입장료는?", "9,000원"),
    Sample("c.html", _text(_HTML), "정전은 언제 시작하나?", "화요일 새벽 3시"),
    Sample("d.pdf", lambda: pdf(["Front.", "The ferry leaves at 06:40."]), "ferry leaves", "06:40"),
    Sample("e.docx", docx_bytes, "도서관의 대출 기간은?", "21일"),
    Sample("f.pptx", pptx_bytes, "로봇 청소기 매출은 얼마?", "48억"),
    Sample("g.xlsx", xlsx_bytes, "김민수의 남은 휴가", "15.5"),
    Sample("h.csv", _text("품목,가격\n수박,22000\n참외,8000\n"), "수박 가격", "22000"),
    Sample(
        "i.json",
        lambda: json.dumps({"pump": {"pressure": "8.5 bar"}}).encode(),
        "pump pressure",
        "8.5",
    ),
    Sample("j.jsonl", _text('{"sensor": "zephyr", "threshold": 731}\n'), "zephyr threshold", "731"),
    Sample("k.eml", eml_bytes, "회식 장소는 어디?", "골뱅이집"),
    Sample("l.epub", epub_bytes, "등대지기의 이름은?", "마루"),
    Sample("m.hwpx", hwpx_sample, "구내식당은 어디에 있나?", "지하 2층"),
    Sample("n.hwp", hwp_sample, "신청 마감은 언제?", "12월 15일"),
    Sample("o.py", _text(_CODE), "courier service retries", "17"),
]
