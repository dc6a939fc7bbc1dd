"""The judge of sanitizer reports: our frames count, the interpreter's do not."""

import subprocess
import sys
from pathlib import Path

import pytest

JUDGE = Path(__file__).parents[2] / "scripts" / "asan_reports.py"
LEAKS = """
==7==ERROR: LeakSanitizer: detected memory leaks

Direct leak of 48 byte(s) in 2 object(s) allocated from:
    #0 0x7f in __interceptor_malloc asan_malloc_linux.cpp:69
    #1 0x7f in {frame}

SUMMARY: AddressSanitizer: 48 byte(s) leaked in 2 allocation(s).
"""


@pytest.mark.parametrize(
    ("report", "ours"),
    [
        (LEAKS.format(frame="PyFloat_FromDouble Objects/floatobject.c:149"), False),
        (LEAKS.format(frame="xmalloc (/usr/bin/x86_64-linux-gnu-g++-12+0x48c50b)"), False),
        (LEAKS.format(frame="dure::net::Loop::Loop() cpp/src/net/loop.cc:3"), True),
        (LEAKS.format(frame="f (/venv/dure/_core.cpython-311-x86_64-linux-gnu.so+0x1)"), True),
        ("==7==ERROR: AddressSanitizer: heap-use-after-free on address 0x7f", True),
        ("cpp/src/text/utf8.cc:3:1: runtime error: signed integer overflow", True),
    ],
)
def test_a_report_is_ours_by_its_frames(tmp_path: Path, report: str, ours: bool) -> None:
    (tmp_path / "asan.7").write_text(report)
    command = [sys.executable, str(JUDGE), str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == int(ours)
    assert ("1 of ours" in result.stdout) == ours


def test_no_report_is_clean(tmp_path: Path) -> None:
    result = subprocess.run([sys.executable, str(JUDGE), str(tmp_path)], check=False)
    assert result.returncode == 0
