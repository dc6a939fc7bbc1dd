"""Makes dure._sync out of dure.aio: the same code without waiting.

    scripts/async_to_sync.py           writes python/dure/_sync
    scripts/async_to_sync.py --check   fails if that would change anything

Tokens are replaced, so comments and layout stay. Lines that end in `# async only` are left out;
`_bridge.py`, where the two really differ, is written by hand.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tokenize
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "python/dure/aio"
TARGET = ROOT / "python/dure/_sync"
BY_HAND = {"_bridge.py", "_http.py", "_multipart.py"}  # the last two have no twin yet
NAMES = {
    "aio": "_sync",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
    "__anext__": "__next__",
    "StopAsyncIteration": "StopIteration",
    "aclose": "close",
    "aembed_documents": "embed_documents",
    "aembed_query": "embed_query",
}
HEADER = "# Generated from dure/aio/{name} by scripts/async_to_sync.py: change that one.\n"


def in_words(text: str) -> str:
    """Rename inside comments and strings."""
    text = re.sub(r"\bawait ", "", text)
    text = re.sub(r"\basync (with|for|def)\b", r"\1", text)
    text = re.sub(r"\bAsync(?=[A-Z])", "", text)
    text = text.replace("The async client", "The sync client").replace("dure.aio", "dure._sync")
    return re.sub(r"\b(__a\w+__|aembed_\w+|aclose)\b", lambda m: NAMES.get(m[0], m[0]), text)


def renamed(token: tokenize.TokenInfo) -> str:
    """Return the text that stands for a token in the sync code."""
    if token.type == tokenize.NAME:
        name = NAMES.get(token.string, token.string)
        return re.sub(r"^Async(?=[A-Z])", "", name)
    if token.type in {tokenize.STRING, tokenize.COMMENT}:
        return in_words(token.string)
    return token.string


def to_sync(source: str, name: str) -> str:
    """Return the sync twin of a module's source, before formatting."""
    kept = "".join(
        line
        for line in source.splitlines(keepends=True)
        if not line.rstrip().endswith("# async only")
    )
    lines = kept.splitlines(keepends=True)
    out = io.StringIO()
    row, column = 1, 0
    swallow = False
    for token in tokenize.generate_tokens(io.StringIO(kept).readline):
        (start_row, start_column), (end_row, end_column) = token.start, token.end
        gap = ""
        while row < start_row:
            gap += lines[row - 1][column:]
            row, column = row + 1, 0
        if row <= len(lines):
            gap += lines[row - 1][column:start_column]
        out.write("" if swallow else gap)
        swallow = token.type == tokenize.NAME and token.string in {"async", "await"}
        if not swallow:
            out.write(renamed(token))
        row, column = end_row, end_column
    return HEADER.format(name=name) + out.getvalue()


def formatted(source: str) -> str:
    """Return the source as ruff lays it out."""
    for arguments in (
        ["check", "--select", "I,RUF022", "--fix", "-q", "--exit-zero"],
        ["format", "-q"],
    ):
        source = subprocess.run(
            [
                str(Path(sys.executable).parent / "ruff"),
                *arguments,
                "--stdin-filename",
                str(TARGET / "x.py"),
                "-",
            ],
            input=source,
            text=True,
            capture_output=True,
            check=True,
            cwd=ROOT,
        ).stdout
    return source


def main() -> int:
    """Write the twins, or compare them."""
    stale = []
    for source in sorted(SOURCE.glob("*.py")):
        if source.name in BY_HAND:
            continue
        target = TARGET / source.name
        text = formatted(to_sync(source.read_text(), source.name))
        if target.exists() and target.read_text() == text:
            continue
        stale.append(source.name)
        if "--check" not in sys.argv:
            target.write_text(text)
    extra = [t.name for t in TARGET.glob("*.py") if not (SOURCE / t.name).exists()]
    if "--check" in sys.argv and (stale or extra):
        print("stale:", *stale, *extra, "- run scripts/async_to_sync.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
