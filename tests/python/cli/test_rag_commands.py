"""`dure ingest`, `ask`, `map`, `ledger`: the main job from the command line, and bad input."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dure
import pytest
from dure.errors import NotFoundError
from dure.testing import documents, upstream

from tests.python.files.pdfs import pdf

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dure.testing.upstream import Upstream

COMMAND = [sys.executable, "-m", "dure"]
BODY = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "?"}]})
QUESTION = "두레와 품앗이는 어떻게 다른가요?"


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return fed(b"", *arguments, **environment)


def fed(stdin: bytes, *arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    known = {k: v for k, v in os.environ.items() if not k.startswith(("OPENAI_", "DURE_"))}
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        input=stdin,
        check=False,
        env=known | environment,
    )


def complaint(done: subprocess.CompletedProcess[bytes]) -> str:
    """Return the one line on stderr of a command that failed."""
    assert done.returncode == 1, done
    lines = done.stderr.decode().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("dure: ")
    return lines[0]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the Korean documents in its store."""
    folder = tmp_path_factory.mktemp("data")
    done = run("ingest", "--data", str(folder), *map(str, documents()))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def provider() -> Iterator[dict[str, str]]:
    with upstream.start() as server:
        yield keys(server)


def keys(server: Upstream) -> dict[str, str]:
    return {"OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": "sk-any"}


def test_lock_files_alone_are_no_store(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    folder.mkdir()
    for name in ("open.lock", "index.lock"):
        (folder / name).touch()
    with pytest.raises(NotFoundError, match="no store at"):
        dure.ask("What is salt?", store=folder)
    assert sorted(path.name for path in folder.iterdir()) == ["index.lock", "open.lock"]


def test_wrong_types_are_named_before_anything_is_made(tmp_path: Path) -> None:
    ingest: Any = dure.ingest
    store = tmp_path / "store"
    wrong: dict[str, dict[str, Any]] = {
        "paths must": {"paths": 5},
        r"paths\[1\]": {"paths": ["a", 7]},
        "collection": {"collection": 3},
        "tenant": {"tenant": 3},
        "chunker": {"chunker": 512},
        "client": {"client": "http://x"},
        "progress": {"progress": 2},
        "store": {"store": 1},
    }
    for name, given in wrong.items():
        arguments = {"paths": [tmp_path], "store": store, **given}
        with pytest.raises(TypeError, match=name):
            ingest(arguments.pop("paths"), **arguments)
    assert not store.exists()


def test_ingest_reports_and_skips_the_second_time(tmp_path: Path) -> None:
    texts = documents()
    command = ("ingest", "--json", "--data", str(tmp_path), *map(str, texts))
    first = json.loads(run(*command).stdout)
    assert first["files"] == len(texts)
    assert first["skipped"] == 0
    assert first["chunks"] >= len(texts)
    assert first["embedded"] == first["chunks"]
    assert first["refused"] == []
    again = json.loads(run(*command).stdout)
    assert again["skipped"] == len(texts)
    assert again["chunks"] == again["embedded"] == 0


def test_ask_quotes_the_right_source(data: Path) -> None:
    done = run("ask", "--data", str(data), "--json", QUESTION)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["model"] == "dure.local (no language model)"
    assert answer["cost_usd"] == "0"
    assert answer["sources"][0]["metadata"]["source"].endswith("dure.md")
    assert "일대일" in answer["text"]
    plain = run("ask", "--data", str(data), QUESTION).stdout.decode()
    assert "\x1b" not in plain
    assert "dure.md" in plain
    assert "$0" in plain


def test_ask_pays_the_provider_and_the_ledger_knows(data: Path, provider: dict[str, str]) -> None:
    done = run("ask", "--data", str(data), "--json", QUESTION, **provider)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    usage = answer["usage"]
    exact = (usage["prompt_tokens"] * 15 + usage["completion_tokens"] * 60) / 10**8
    assert float(answer["cost_usd"]) == pytest.approx(exact, abs=1e-15)
    verified = run("ledger", "verify", "--data", str(data), "--json")
    assert verified.returncode == 0, verified.stderr
    assert json.loads(verified.stdout)["ok"] is True


def test_map_keeps_the_order_and_the_failures(tmp_path: Path, provider: dict[str, str]) -> None:
    good = [
        {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": f"number {n}"}]}
        for n in range(30)
    ]
    lines = [json.dumps(body) for body in good]
    lines[7] = "{not json"
    lines[11] = json.dumps({"model": "no-such-model", "messages": good[0]["messages"]})
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("\n".join(lines) + "\n", encoding="utf-8")
    done = run(
        "map",
        str(source),
        "--out",
        str(target),
        "--limit",
        "8",
        "--data",
        str(tmp_path / "d"),
        **provider,
    )
    assert "2 of 30" in complaint(done)
    answers = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    assert [n for n, answer in enumerate(answers) if "error" in answer] == [7, 11]
    assert all(answer["object"] == "chat.completion" for answer in answers if "error" not in answer)
    piped = fed(lines[0].encode(), "map", "-", "--data", str(tmp_path / "d"), **provider)
    assert json.loads(piped.stdout)["choices"]


def test_ledger_tail_and_export_are_json_lines(data: Path, provider: dict[str, str]) -> None:
    run("ask", "--data", str(data), "--json", QUESTION, **provider)
    tail = run("ledger", "tail", "-n", "2", "--data", str(data), "--json").stdout.splitlines()
    assert len(tail) == 2
    everything = run("ledger", "export", "--data", str(data)).stdout.splitlines()
    for raw, shown in zip(everything[-2:], tail, strict=True):
        assert json.loads(raw).items() <= json.loads(shown).items()
    last = json.loads(tail[-1])
    assert (last["model"], last["state"]) == ("gpt-4o-mini", "settled")
    assert last["usd"] == f"{Decimal(last['pico']).scaleb(-12).normalize():f}"
    assert last["time"].endswith("Z")
    for arguments in (("-n", "1", str(data)), (str(data), "-n", "1")):
        head, row = run("ledger", "tail", *arguments).stdout.decode().splitlines()
        assert head.split() == ["time", "(UTC)", "model", "tokens", "dollars", "state"]
        amounts = [f"{last['tokens']:,}", f"${last['usd']}"]
        assert row.split()[2:] == ["gpt-4o-mini", *amounts, "settled"]
    replayed = run("ledger", "replay", "--data", str(data), "--json")
    assert replayed.returncode == 0, replayed.stderr


# Bad input


def test_missing_store(tmp_path: Path) -> None:
    assert "ingest" in complaint(run("ask", "--data", str(tmp_path), "Who?"))


def test_missing_path(tmp_path: Path) -> None:
    assert "no such file" in complaint(
        run("ingest", "--data", str(tmp_path), str(tmp_path / "nothing"))
    )


def test_refused_files_do_not_stop_the_others(tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "good.md").write_text("# Salt\n\nSalt is mined in Wieliczka.\n", encoding="utf-8")
    (folder / "empty.md").write_bytes(b"")
    (folder / "image.xyz").write_bytes(bytes(range(256)) * 8)
    done = run("ingest", "--json", "--data", str(tmp_path / "d"), str(folder))
    report = json.loads(done.stdout)
    assert done.returncode == 1
    refused = {Path(one["path"]).name: one["reason"] for one in report["refused"]}
    assert set(refused) == {"empty.md", "image.xyz"}
    assert refused["empty.md"] != refused["image.xyz"]
    assert complaint(done) == "dure: 2 files refused"
    listed = run("ingest", "--verbose", "--data", str(tmp_path / "d"), str(folder))
    assert len(listed.stderr.decode().splitlines()) == 2
    asked = run("ask", "--data", str(tmp_path / "d"), "--json", "Where is salt mined?")
    assert "Wieliczka" in json.loads(asked.stdout)["text"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "closed.md"
    path.write_text("closed", encoding="utf-8")
    path.chmod(0)
    assert "closed.md" in complaint(run("ingest", "--data", str(tmp_path / "d"), str(path)))


def test_other_vectors_than_the_store_has(data: Path, provider: dict[str, str]) -> None:
    done = run(
        "ask", "--data", str(data), "--embed-model", "text-embedding-3-small", QUESTION, **provider
    )
    assert "384" in complaint(done) or "model" in complaint(done)


def test_an_unknown_model_is_said_before_anything(data: Path) -> None:
    done = run("ask", "--data", str(data), "--model", "no-such-model", QUESTION)
    assert not done.stdout
    assert "MODEL_CATALOG" in complaint(done)


def test_asking_makes_no_folder(tmp_path: Path) -> None:
    assert "ingest" in complaint(run("ask", "--data", str(tmp_path / "nothing"), QUESTION))
    assert not (tmp_path / "nothing").exists()


def test_unknown_model(data: Path, provider: dict[str, str]) -> None:
    done = run("ask", "--data", str(data), "--model", "no-such-model", QUESTION, **provider)
    assert "no-such-model" in complaint(done)


def test_no_provider_for_map(tmp_path: Path) -> None:
    assert "OPENAI_API_KEY" in complaint(run("map", "-", "--data", str(tmp_path)))


def test_provider_refuses_or_is_not_there(data: Path) -> None:
    with upstream.start(api_key="sk-right") as locked:
        done = run("ask", "--data", str(data), QUESTION, **keys(locked))
        assert "key" in complaint(done).lower()
        assert "sk-any" not in done.stderr.decode()
        gone = keys(locked)
    assert "127.0.0.1" in complaint(run("ask", "--data", str(data), QUESTION, **gone))


def test_a_cut_answer_is_an_error(data: Path) -> None:
    with upstream.start(faults={"cut": 1.0}) as cutting:
        complaint(run("ask", "--data", str(data), "--json", QUESTION, **keys(cutting)))


def test_damaged_ledger(tmp_path: Path) -> None:
    (tmp_path / "ledger").mkdir(parents=True)
    (tmp_path / "ledger" / "00000001.ledger").write_bytes(b"not a ledger at all" * 40)
    complaint(run("ledger", "verify", "--data", str(tmp_path)))


def test_many_refused_files_are_summed_up_by_reason(tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    for n in range(40):
        (folder / f"picture{n:02d}.png").write_bytes(b"x")
        (folder / f"empty{n:02d}.md").write_bytes(b"")
    done = run("ingest", "--data", str(tmp_path / "d"), str(folder))
    assert "80 files refused" in complaint(done)
    lines = done.stdout.decode().splitlines()
    assert len(lines) < 12
    assert any("40" in line and "unknown type '.png'" in line for line in lines)
    assert any("empty00.md, empty01.md, empty02.md, ..." in line for line in lines)


def test_a_page_of_a_pdf_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mines.pdf"
    path.write_bytes(pdf(["Zebras have stripes.", "Salt is mined in Wieliczka."]))
    assert run("ingest", "--data", str(tmp_path / "d"), str(path)).returncode == 0
    asked = run("ask", "--data", str(tmp_path / "d"), "Where is salt mined?").stdout.decode()
    assert f"[1] {path}, page 2" in asked


def test_a_store_is_asked_with_the_model_that_it_records(
    tmp_path: Path, provider: dict[str, str]
) -> None:
    place = ("--data", str(tmp_path))
    files = [str(path) for path in documents()]
    embed = ("--embed-model", "text-embedding-3-small@96")
    assert run("ingest", *place, *embed, *files, **provider).returncode == 0
    for _ in range(2):
        done = run("ask", *place, "--json", QUESTION, **provider)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["sources"][0]["metadata"]["source"].endswith("dure.md")
    again = json.loads(run("ingest", *place, "--json", *files, **provider).stdout)
    assert again["skipped"] == len(files)
    for command, way_out in (
        (("ask", QUESTION), "--mode bm25"),
        (("ingest", *files), "--collection"),
    ):
        told = complaint(run(*command, *place))
        assert "text-embedding-3-small@96" in told
        assert "OPENAI_API_KEY" in told
        assert way_out in told
    by_words = run("ask", *place, "--mode", "bm25", "--json", QUESTION)
    assert json.loads(by_words.stdout)["sources"]


# Interrupts and kills


def start_ingest(folder: Path, data: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*COMMAND, "ingest", "--json", "--data", str(data), str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def many_files(folder: Path, n: int) -> None:
    folder.mkdir()
    for number in range(n):
        words = " ".join(f"fact{number}x{i}" for i in range(30))
        text = f"# File {number}\n\nThe secret of file {number} is moon{number}stone. {words}\n"
        (folder / f"{number:05d}.md").write_text(text, encoding="utf-8")


def rows_in(data: Path) -> int:
    """Return how many chunks are committed, read past everything that dure does."""
    path = data / "stores" / "default" / "store.db"
    if not path.exists():
        return 0
    try:
        base = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            return int(base.execute("SELECT count(*) FROM chunk").fetchone()[0])
        finally:
            base.close()
    except sqlite3.OperationalError:
        return 0


def wait_for_rows(data: Path, n: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while rows_in(data) < n:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.timeout(240)
def test_kill_in_the_middle_loses_and_doubles_nothing(tmp_path: Path) -> None:
    n = 2000
    many_files(tmp_path / "docs", n)
    data = tmp_path / "data"
    for reached in (200, 900):
        process = start_ingest(tmp_path / "docs", data)
        wait_for_rows(data, reached, process)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    before = rows_in(data)
    assert 900 <= before < n, "the kill came in the middle"
    last = json.loads(run("ingest", "--json", "--data", str(data), str(tmp_path / "docs")).stdout)
    assert last["files"] == n
    assert last["skipped"] == before
    assert last["chunks"] == n - before
    from dure.retrieval import Store

    with Store.open(data / "stores" / "default") as store:
        col = store.collection("default")
        assert col.count() == n
        found = col.documents()
    assert [Path(one.id).stem for one in found] == [f"{number:05d}" for number in range(n)]
    assert {one.chunks for one in found} == {1}
    question = "Which file holds fact1234x3, fact1234x17 and moon1234stone?"
    answer = json.loads(run("ask", "--data", str(data), "--json", question).stdout)
    assert answer["sources"][0]["metadata"]["source"].endswith("01234.md")
    assert "moon1234stone" in answer["text"]


def test_ctrl_c_ends_within_200_ms(tmp_path: Path) -> None:
    many_files(tmp_path / "docs", 2000)
    process = start_ingest(tmp_path / "docs", tmp_path / "data")
    wait_for_rows(tmp_path / "data", 50, process)
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    took = time.monotonic() - start
    assert process.returncode == 130
    limit = 3.0 if "DURE_ASAN" in os.environ else 0.6
    assert took < limit, "the bar is 200 ms; the rest is the shared machine"
    assert b"Traceback" not in said
    assert rows_in(tmp_path / "data") >= 50


def test_map_keeps_blank_lines_and_counts_them(tmp_path: Path, provider: dict[str, str]) -> None:
    body = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "?"}]})
    lines = f"\n{body}\n\n{{bad\n".encode()
    done = fed(lines, "map", "-", "--data", str(tmp_path), **provider)
    answers = done.stdout.splitlines()
    assert [bool(answer.strip()) for answer in answers] == [False, True, False, True]
    assert "line 4" in json.loads(answers[3])["error"]["message"]


def test_map_keeps_what_was_answered_when_it_is_killed(tmp_path: Path) -> None:
    """Every answer stands in the file as soon as all before it are there."""
    body = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "?"}]})
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text(f"{body}\n" * 500, encoding="utf-8")
    with upstream.start(delay=0.2) as slow:
        command = [sys.executable, "-m", "dure", "map", str(source), "--out", str(target)]
        process = subprocess.Popen(
            [*command, "--limit", "8", "--data", str(tmp_path / "d")],
            env={**os.environ, "OPENAI_API_KEY": "sk-test", "OPENAI_BASE_URL": slow.url},
        )
        deadline = time.monotonic() + 60
        while not (target.exists() and target.read_bytes().count(b"\n") >= 16):
            assert time.monotonic() < deadline, "answers must be written as they come"
            time.sleep(0.05)
        process.kill()
        process.wait()
    whole = [line for line in target.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    assert 16 <= len(whole) < 500
    assert all(json.loads(line)["object"] == "chat.completion" for line in whole)


def test_an_interrupted_map_says_so_once(tmp_path: Path) -> None:
    body = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "?"}]})
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text(f"{body}\n" * 500, encoding="utf-8")
    with upstream.start(delay=0.2) as slow:
        command = [sys.executable, "-m", "dure", "map", str(source), "--out", str(target)]
        process = subprocess.Popen(
            [*command, "--limit", "8", "--data", str(tmp_path / "d")],
            env={**os.environ, **keys(slow)},
            stderr=subprocess.PIPE,
        )
        deadline = time.monotonic() + 60
        while not (target.exists() and target.stat().st_size):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert re.fullmatch(rb"dure: interrupted; \d+ lines? written, in order\n", said), said


@pytest.mark.parametrize("through", ["same", "symlink", "hard link", "stdin", "stdout"])
def test_map_does_not_write_over_what_it_reads(
    tmp_path: Path, provider: dict[str, str], through: str
) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text(f"{BODY}\n", encoding="utf-8")
    if through == "symlink":
        out.symlink_to(source)
    elif through == "hard link":
        out.hardlink_to(source)
    else:
        out = source
    known = {k: v for k, v in os.environ.items() if not k.startswith(("OPENAI_", "DURE_"))}
    with source.open("rb") as stdin, source.open("ab") as stdout:
        done = subprocess.run(
            [*COMMAND, "map", "-" if through == "stdin" else str(source)]
            + ([] if through == "stdout" else ["--out", str(out)])
            + ["--data", str(tmp_path / "d")],
            stdin=stdin,
            stdout=stdout if through == "stdout" else None,
            stderr=subprocess.PIPE,
            check=False,
            env=known | provider,
        )
    named = "stdout" if through == "stdout" else f"--out {out}"
    assert f"{named} is the file that the requests are read from" in complaint(done)
    assert source.read_text(encoding="utf-8") == f"{BODY}\n"


@pytest.mark.parametrize(
    "deep",
    [
        "[" * 100_000,
        '{"model": "gpt-4o-mini", "messages": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"model": "gpt-4o-mini", "messages": ' + "[" * 500 + "]" * 500 + "}",
    ],
    ids=["open", "object", "passes Python"],
)
def test_a_deeply_nested_line_fails_in_its_own_place(
    tmp_path: Path, provider: dict[str, str], deep: str
) -> None:
    lines = [BODY] * 20 + [deep] + [BODY] * 20
    done = fed("\n".join(lines).encode(), "map", "-", "--data", str(tmp_path), **provider)
    assert "1 of 41 requests failed" in complaint(done)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [number for number, answer in enumerate(answers) if "error" in answer] == [20]
    assert len(answers) == 41
    assert answers[20]["error"]["code"] == "invalid_argument"


@pytest.mark.parametrize(
    "arguments",
    [
        ("ask", "?", "--top-k"),
        ("ask", "?", "--max-context-tokens"),
        ("ingest", ".", "--max-tokens"),
        ("demo", "--limit"),
        ("demo", "--requests"),
        ("map", "-", "--limit"),
        ("serve", "--workers"),
        ("serve", "--port"),
        ("ledger", "tail", "-n"),
    ],
)
def test_a_count_that_is_none_is_wrong_usage(arguments: tuple[str, ...]) -> None:
    for count in ("9" * 20, "9" * 5000, "0", "1e3", ""):
        if arguments[-1] == "--port" and count == "0":
            continue  # any free one
        wrong = run(*arguments, count)
        assert wrong.returncode == 2, wrong
        last = wrong.stderr.decode().splitlines()[-1]
        assert re.search(rf"argument \S*{arguments[-1]}\S*: '.*' is no whole number from", last)


def test_bytes_that_are_no_text_are_one_line(tmp_path: Path) -> None:
    for name in ("--collection", "--embed-model"):
        done = run("ingest", ".", "--data", str(tmp_path), name, os.fsdecode(b"\xff"))
        assert complaint(done) == rf"dure: {name} is no UTF-8 text: '\udcff'"
