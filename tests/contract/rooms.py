"""Calls each room of the installed dure once, then prints what the process has mapped.

Run by test_wheel.py in an environment that holds only the wheel; needs nothing but numpy.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def mapped() -> list[str]:
    lines = Path("/proc/self/maps").read_text().splitlines()
    paths = {line.split(maxsplit=5)[5] for line in lines if len(line.split(maxsplit=5)) == 6}
    return sorted(path for path in paths if ".so" in path)


def interpreter_only() -> list[str]:
    """What the interpreter's own modules bring, before dure is imported."""
    import asyncio
    import ctypes
    import decimal
    import sqlite3
    import ssl

    import numpy as np

    assert all((asyncio, ctypes, decimal, sqlite3, ssl, np))
    return mapped()


def main() -> None:
    before = interpreter_only()
    import dure

    info = dure.build_info()
    assert info["version"] == dure.__version__
    sys.stdout.write(
        json.dumps({"file": dure.__file__, "before": before, "after": mapped()}) + "\n"
    )


if __name__ == "__main__":
    main()
