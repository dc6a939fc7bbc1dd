"""Compares two JUnit reports, `BASE OURS`; exits with 1 if any outcome differs.

`--all-passed OURS` looks at one: no test may have failed.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from collections import Counter


def outcomes(path: str) -> dict[str, str]:
    """Return the outcome of every test of a report."""
    found = {}
    for case in ET.parse(path).iter("testcase"):
        kinds = {child.tag for child in case} & {"failure", "error", "skipped"}
        found[f"{case.get('classname')}::{case.get('name')}"] = next(iter(kinds), "passed")
    return found


def main() -> int:
    """Print counts and differences."""
    if sys.argv[1] == "--all-passed":
        found = outcomes(sys.argv[2])
        bad = sorted(name for name, kind in found.items() if kind not in {"passed", "skipped"})
        counts = dict(sorted(Counter(found.values()).items()))
        sys.stdout.write(f"service: {counts}\n" + "".join(f"failed: {name}\n" for name in bad))
        return 1 if bad or not found else 0
    base, ours = (outcomes(path) for path in sys.argv[1:3])
    for name, found in (("straight", base), ("dure", ours)):
        sys.stdout.write(f"{name}: {dict(sorted(Counter(found.values()).items()))}\n")
    names = sorted(base.keys() | ours.keys())
    differ = [name for name in names if base.get(name) != ours.get(name)]
    for name in differ:
        sys.stdout.write(f"differs: {name}: {base.get(name)}, through dure {ours.get(name)}\n")
    return 1 if differ or not base else 0


if __name__ == "__main__":
    sys.exit(main())
