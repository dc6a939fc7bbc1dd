"""HWP 5 files of another writer (hwplib, fetched by Maven) are read as it reads them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from dure import files

ROOT = Path(__file__).parents[3]
HWPLIB = "kr.dogfoot:hwplib:1.1.10"
COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy"
LINES = [
    "첫 문단입니다. 예산은 5,000원이고 기한은 3월 2일입니다.",
    "A second paragraph in English, with a tab and “quotation marks”.",
    "세 번째: 漢字, ㅋㅋ, é, ㉠ 그리고 끝.",  # hwplib writes no pairs of surrogates
    *[f"문단 {i}: " + "긴 글을 여러 번 되풀이합니다. " * 20 for i in range(200)],
]


@pytest.fixture(scope="module")
def hwplib() -> Path:
    if shutil.which("mvn") is None or shutil.which("java") is None:
        pytest.skip("needs Debian's maven and a Java of 11 or newer")
    folder = ROOT / "build" / "hwplib"
    jar = folder / "hwplib-1.1.10.jar"
    if not jar.exists():
        fetch = ["mvn", "-q", COPY, f"-Dartifact={HWPLIB}", f"-DoutputDirectory={folder}"]
        try:
            subprocess.run(fetch, check=True, capture_output=True, timeout=300)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            pytest.skip(f"Maven cannot fetch {HWPLIB}")
    return jar


@pytest.mark.slow
def test_a_file_of_hwplib_is_read_as_hwplib_reads_it(hwplib: Path, tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("\n".join(LINES), encoding="utf-8")
    made, read = tmp_path / "made.hwp", tmp_path / "read.txt"
    program = Path(__file__).with_name("MakeHwp.java")
    subprocess.run(
        ["java", "-cp", hwplib, program, tmp_path / "lines.txt", made, read],
        check=True,
        capture_output=True,
        timeout=300,
    )
    document = files.load(made)
    paragraphs = [line for line in document.text.split("\n") if line.strip()]
    theirs = [line for line in read.read_text(encoding="utf-8").split("\n") if line.strip()]
    assert [line.strip() for line in paragraphs] == [line.strip() for line in theirs]
    assert [line.strip() for line in paragraphs] == [line.strip() for line in LINES]
    assert document.metadata["kind"] == "hwp"
