"""`import dure` stays light: what it loads, what it costs."""

import os
import subprocess
import sys


def run(code: str) -> str:
    return subprocess.check_output([sys.executable, "-W", "error", "-c", code], text=True)


def test_import_dure_loads_nothing_heavy() -> None:
    heavy = (
        "numpy fastapi pydantic sqlalchemy crewai openai httpx httpx2 "
        "asyncio ssl decimal dataclasses dure._testing"
    )
    code = (
        "import sys; old = set(sys.modules); import dure; "
        f"print(*set('{heavy}'.split()) & (set(sys.modules) - old))"
    )
    assert run(code).strip() == "", "import these inside the function that needs them"


def test_import_dure_is_cheap() -> None:
    """Generous: a budget of 40 ms and 12 MB is measured by `scripts/bench import`."""
    code = """
import time
def memory():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
start, before = time.process_time(), memory()
import dure
print(time.process_time() - start, memory() - before)
"""
    seconds, kilobytes = map(float, run(code).split())
    assert seconds < 0.5
    assert kilobytes < 40_000 or "DURE_ASAN" in os.environ


def test_import_dure_starts_no_thread() -> None:
    code = "import dure, os; print(len(os.listdir('/proc/self/task')))"
    assert run(code).strip() == "1"


def test_import_dure_loads_no_network_library() -> None:
    """The libraries behind libcurl would be most of what an import costs."""
    code = (
        "import dure; "
        "maps = open('/proc/self/maps').read(); "
        "print(*(name for name in ('libcurl', 'libdure_curl', 'libssl', 'libldap', 'libkrb5')"
        " if name in maps))"
    )
    assert run(code).strip() == "", "the first transport loads these, not the import"
