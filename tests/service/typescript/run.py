"""Calls a service with the compiled client: `python -m tests.service.typescript.run call.js`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from dure.testing import upstream

from tests.service.conftest import serving


def main(script: str) -> int:
    with tempfile.TemporaryDirectory() as folder, upstream.start(seed=5) as provider:
        data = Path(folder, "data")
        own = {"OPENAI_BASE_URL": provider.url, "OPENAI_API_KEY": "sk-behind"}
        with serving(data, "--dev", **own) as url:
            return subprocess.run(["node", script, url], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
