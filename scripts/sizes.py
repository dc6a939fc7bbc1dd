"""Prints what is longer than the models usually are (file 600 lines, header 300, function 60).

A mirror, not a fence: it never fails. Run by scripts/check.
"""

import ast
import re
import subprocess
from pathlib import Path

FILE, HEADER, FUNCTION = 600, 300, 60


def python_functions(path: Path) -> list[tuple[int, str]]:
    tree = ast.parse(path.read_text())
    return [
        ((node.end_lineno or node.lineno) - node.lineno + 1, f"{path}:{node.lineno} {node.name}")
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]


def cpp_functions(path: Path) -> list[tuple[int, str]]:
    """Bodies that close with a brace in column 0 or 2 (the formatter guarantees it)."""
    found, start = [], None
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if re.match(r"^( {2})?[A-Za-z\[].*\) ?(const)? ?(noexcept)? ?(override)? ?\{$", line):
            start = start or number
        elif re.match(r"^( {2})?\}$", line) and start:
            found.append((number - start + 1, f"{path}:{start}"))
            start = None
    return found


def main() -> None:
    files = subprocess.run(["git", "ls-files"], check=True, capture_output=True, text=True)
    long: list[tuple[int, str]] = []
    for name in files.stdout.split():
        path = Path(name)
        if path.suffix not in {".py", ".h", ".cc"} or not path.exists():
            continue
        lines = len(path.read_text().splitlines())
        if lines > (HEADER if path.suffix == ".h" else FILE):
            long.append((lines, name))
        functions = python_functions(path) if path.suffix == ".py" else cpp_functions(path)
        long += [entry for entry in functions if entry[0] > FUNCTION]
    for lines, where in sorted(long, reverse=True):
        print(f"sizes: {lines:5d} lines  {where}")


if __name__ == "__main__":
    main()
