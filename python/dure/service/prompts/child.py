"""Renders a Jinja2 template, or searches texts for a pattern, in a process that may not grow.

Run by its path, so that it loads nothing of dure: one JSON object in, one out. Its limits are set
before it reads a byte of what somebody wrote.
"""

from __future__ import annotations

import json
import re
import resource
import sys
from typing import Any

_MEMORY = 256 * 1024 * 1024
_SECONDS = 1
_MOST = 1024 * 1024  # characters of an answer


def main() -> None:
    """Do one job."""
    import jinja2.debug
    import jinja2.meta
    import jinja2.sandbox  # before the limits: they are ours

    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime) + 1 + _SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        answer = _done(json.loads(sys.stdin.buffer.read()), jinja2)
    except MemoryError:
        answer = {"error": "it needs too much memory"}
    except RecursionError:
        answer = {"error": "it is nested too deep"}
    sys.stdout.write(json.dumps(answer))


def _done(job: dict[str, Any], jinja2: Any) -> dict[str, Any]:  # noqa: ANN401 - the module
    if job["do"] == "search":
        try:
            pattern = re.compile(job["pattern"])
        except re.error as wrong:
            return {"error": f"it is no pattern: {wrong}"}
        return {"found": [bool(pattern.search(text)) for text in job["texts"]]}
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined)
    try:
        if job["do"] == "variables":
            tree = environment.parse(job["text"])
            names = jinja2.meta.find_undeclared_variables(tree) - set(environment.globals)
            return {"variables": sorted(names)}
        pieces, size = [], 0
        for piece in environment.from_string(job["text"]).generate(**job["variables"]):
            size += len(piece)
            if size > _MOST:
                return {"error": "its text is longer than 1 MiB"}
            pieces.append(piece)
    except jinja2.TemplateSyntaxError as wrong:
        return {"error": f"line {wrong.lineno}: {wrong.message}"}
    except jinja2.UndefinedError as wrong:
        return {"error": str(wrong.message)}
    except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as wrong:
        return {"error": f"{type(wrong).__name__}: {wrong}"[:300]}
    return {"text": "".join(pieces)}


if __name__ == "__main__":
    main()
