"""Judges the sanitizers' reports of a test run: exit 1 and the report for each that is ours.

Every error of AddressSanitizer and UndefinedBehaviorSanitizer counts. A leak counts if a frame of
its stack lies in this project's native modules; the interpreter, extension modules of others and
programs such as the compiler keep memory until exit, and are only counted.
"""

import re
import sys
from pathlib import Path

OURS = re.compile(r"/dure/_(core|testing)|/dure/_\w+\.cpython|/cpp/(src|bindings|include)/|dure::")
LEAK = re.compile(r"^(?:Direct|Indirect) leak of .*?(?=^\s*$)", re.MULTILINE | re.DOTALL)


def judge(report: str) -> tuple[list[str], int]:
    """The blocks of one report that are ours, and the number of leaks that are not."""
    if "LeakSanitizer: detected memory leaks" not in report:
        return [report], 0
    leaks = LEAK.findall(report + "\n\n")
    ours = [leak for leak in leaks if OURS.search(leak)]
    return ours, len(leaks) - len(ours)


def main() -> int:
    bad: list[str] = []
    foreign = 0
    for path in sorted(Path(sys.argv[1]).iterdir()):
        ours, others = judge(path.read_text(errors="replace"))
        bad += [f"== {path.name}\n{block}" for block in ours]
        foreign += others
    print("\n".join(bad))
    print(
        f"sanitizers: {len(bad)} of ours, {foreign} leaks of the interpreter and of other programs"
    )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
