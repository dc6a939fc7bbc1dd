"""`dure count`: exact, one line per file, one line per failure."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from dure import files, tokens

from tests.python.files import samples

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = [sys.executable, "-m", "dure"]


def run(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, input=stdin, check=False)


@pytest.fixture
def texts(tmp_path: Path) -> list[Path]:
    (tmp_path / "a.txt").write_text("hello world\n" * 10, encoding="utf-8")
    (tmp_path / "b.md").write_text("두레는 공동 노동이다.", encoding="utf-8")
    (tmp_path / "empty.txt").write_bytes(b"")
    return sorted(tmp_path.iterdir())


def test_counts_equal_the_library(texts: list[Path]) -> None:
    found = json.loads(run("count", "--json", *map(str, texts)).stdout)
    expected = [tokens.count(path.read_text(encoding="utf-8")) for path in texts]
    assert [line["tokens"] for line in found["files"]] == expected
    assert found["total"]["tokens"] == sum(expected)
    assert found["total"]["bytes"] == sum(path.stat().st_size for path in texts)
    assert found["files"][2]["tokens"] == 0


def test_encoding_and_model(texts: list[Path]) -> None:
    old = json.loads(run("count", "--json", "--model", "gpt-4", str(texts[1])).stdout)
    assert old["encoding"] == "cl100k_base"
    same = json.loads(run("count", "--json", "--encoding", "cl100k_base", str(texts[1])).stdout)
    assert old == same


def test_plain_output_and_stdin(texts: list[Path]) -> None:
    done = run("count", "-", str(texts[0]), stdin="안녕".encode())
    assert done.returncode == 0
    lines = done.stdout.decode().splitlines()
    assert lines[-1].split()[-1] == "total"
    assert "\x1b" not in done.stdout.decode()


def test_a_bad_file_does_not_stop_the_others(texts: list[Path], tmp_path: Path) -> None:
    broken = tmp_path / "latin.txt"
    broken.write_bytes(b"caf\xe9 au lait")
    done = run("count", str(broken), str(tmp_path / "missing.txt"), str(tmp_path), str(texts[0]))
    assert done.returncode == 1
    complaints = done.stderr.decode().splitlines()
    assert len(complaints) == 3
    assert "not UTF-8 at byte 3" in complaints[0]
    assert "missing.txt" in complaints[1]
    assert str(texts[0]) in done.stdout.decode()


def test_documents_and_korean_encodings_are_counted_by_their_text(tmp_path: Path) -> None:
    text = "두레는 공동 노동이다. 품앗이와 다르다.\n" * 3
    (tmp_path / "old.txt").write_bytes(text.encode("cp949"))
    (tmp_path / "wide.txt").write_bytes(text.encode("utf-16"))
    (tmp_path / "doc.docx").write_bytes(samples.docx_bytes())
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.4 and no more")
    names = [str(tmp_path / name) for name in ("old.txt", "wide.txt", "doc.docx", "broken.pdf")]
    done = run("count", "--json", *names)
    assert done.returncode == 1
    assert "broken.pdf: refused" in done.stderr.decode()
    old, wide, document = json.loads(done.stdout)["files"]
    assert old["tokens"] == wide["tokens"] == tokens.count(text)
    assert old["characters"] == len(text)
    assert document["tokens"] == tokens.count(files.load(names[2]).text)
    assert document["characters"] > 20


@pytest.mark.parametrize("choice", [("--model", "no-such-model"), ("--encoding", "no_such_base")])
def test_unknown_names_are_one_line(texts: list[Path], choice: tuple[str, str]) -> None:
    done = run("count", *choice, str(texts[0]))
    assert done.returncode == 1
    assert len(done.stderr.decode().splitlines()) == 1
    assert choice[1] in done.stderr.decode()
    assert "Traceback" in run("count", "--debug", *choice, str(texts[0])).stderr.decode()


def test_model_and_encoding_exclude_each_other(texts: list[Path]) -> None:
    assert (
        run("count", "--model", "gpt-4o", "--encoding", "p50k_base", str(texts[0])).returncode == 2
    )


def test_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "folder-not-file"
    path.mkdir()
    done = run("count", str(path))
    assert done.returncode == 1
    assert "folder-not-file" in done.stderr.decode()


def test_unknown_names_bring_near_ones(texts: list[Path]) -> None:
    for arguments, wanted in {
        ("--encoding", "o200k"): "did you mean o200k_base?",
        ("--encoding", "zz"): "cl100k_base",
        ("--model", "gpt-4p"): "gpt-4o",
        ("--model", "zz"): "--encoding",
    }.items():
        done = run("count", *arguments, str(texts[0]))
        assert done.returncode == 1
        (line,) = done.stderr.decode().splitlines()
        assert arguments[1] in line
        assert wanted in line


def test_options_may_stand_between_files(texts: list[Path]) -> None:
    names = [str(texts[0]), "--model", "gpt-4", str(texts[1])]
    assert len(json.loads(run("count", "--json", *names).stdout)["files"]) == 2
