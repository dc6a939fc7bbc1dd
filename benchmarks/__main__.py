"""Runs one area, or all: `python -m benchmarks [AREA...]`."""

from __future__ import annotations

import sys
from importlib import import_module

import dure

from benchmarks.harness import machine, write

AREAS = ("import", "tokenize", "chunk", "retrieval", "transport", "client", "money", "service")


def main(areas: list[str]) -> int:
    info = dure.build_info()
    if info["build_type"] != "Release":
        print(f"this build is {info['build_type']}; run scripts/bench", file=sys.stderr)
        return 1
    print(f"dure {info['version']}, {info['compiler']}, {machine()}")
    for area in areas or AREAS:
        if area not in AREAS:
            print(f"unknown area {area!r}; there are: {' '.join(AREAS)}", file=sys.stderr)
            return 2
        module = import_module(f"benchmarks.peers.{area}_area")
        write(area, module.run())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
