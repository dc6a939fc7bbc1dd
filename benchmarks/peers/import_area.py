"""What `import X` costs: CPU and memory of a fresh interpreter, beside the peers."""

from __future__ import annotations

import statistics
import subprocess

from benchmarks.harness import Row, Table, named, python_of

# VmRSS, not ru_maxrss: a child inherits its parent's peak across exec.
CODE = """
import time
def memory():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024
start, before = time.process_time(), memory()
import {name}
print((time.process_time() - start) * 1e3, memory() - before)
"""
PEERS = ("tiktoken", "openai", "aiohttp", "faiss")
ROUNDS = 9


def once(name: str) -> tuple[float, float]:
    out = subprocess.check_output([python_of(name), "-c", CODE.format(name=name)], text=True)
    cpu, memory = out.split()
    return float(cpu), float(memory)


def run() -> list[Table]:
    names = ("dure", *PEERS)
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for name in names:
        once(name)
    for _ in range(ROUNDS):
        for name in names:
            samples[name].append(once(name))
    tables = []
    for column, unit in enumerate(("ms CPU", "MB")):
        table = Table("import, fresh interpreter", unit, "less is better")
        base = statistics.median(s[column] for s in samples["dure"])
        for name in names:
            values = [sample[column] for sample in samples[name]]
            middle = statistics.median(values)
            label = "dure" if name == "dure" else named("faiss-cpu" if name == "faiss" else name)
            table.rows.append(
                Row(label, middle, min(values), max(values), middle, middle / base, None)
            )
        table.show()
        tables.append(table)
    return tables
