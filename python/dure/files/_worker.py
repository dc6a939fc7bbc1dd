"""The child: reads one file after the other from standard input, answers on standard output.

Each file gets fresh limits on processor time and address space. End of input ends it.
"""

from __future__ import annotations

import json
import os
import resource
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dure.errors import FileRefusedError, MissingExtraError
from dure.files._limits import Limits
from dure.files._parsers import parser_of

if TYPE_CHECKING:
    from typing import BinaryIO

_LENGTHS = struct.Struct("<QQ")


def _limit(limits: Limits) -> None:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    used = int(usage.ru_utime + usage.ru_stime)
    cpu = used + max(1, round(limits.seconds)) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, resource.RLIM_INFINITY))
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    present = pages * os.sysconf("SC_PAGE_SIZE")
    memory = present + limits.memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (memory, resource.RLIM_INFINITY))


def _answer(header: dict[str, Any], body: bytes) -> dict[str, Any]:
    limits = Limits(**header["limits"])
    _limit(limits)
    try:
        return dict(parser_of(header["kind"])(header["path"], body, limits))
    except FileRefusedError as refused:
        return {"refused": refused.reason}
    except MissingExtraError as missing:
        return {"missing": str(missing)}
    except MemoryError:
        return {"refused": f"needs more than {limits.memory_bytes:,} bytes of memory"}
    except Exception as bad:  # noqa: BLE001 - a parser may raise anything on a hostile file
        return {"refused": f"the parser failed: {type(bad).__name__}: {bad}"}


def _serve(source: BinaryIO, target: BinaryIO) -> None:
    while lengths := source.read(_LENGTHS.size):
        head, body = _LENGTHS.unpack(lengths)
        header = json.loads(source.read(head))
        answer = json.dumps(_answer(header, source.read(body))).encode()
        target.write(struct.pack("<Q", len(answer)) + answer)
        target.flush()


def main() -> None:
    """Serve until the parent closes the pipe; nothing else may write to it."""
    target = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _serve(sys.stdin.buffer, target)


if __name__ == "__main__":
    main()
