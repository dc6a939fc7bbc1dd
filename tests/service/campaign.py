"""Schemathesis against a real service, all phases, each role: no 5xx that the schema does not name.

`python -m tests.service.campaign [EXAMPLES]`; scripts/nightly service runs it. Schemathesis has an
environment of its own: build/schemathesis-env.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from dure.testing import upstream

from tests.service.conftest import serving

TOOL = Path("build/schemathesis-env/bin/st")
PASSWORD = "correct horse battery"
ROLES = ("none", "viewer", "user", "admin", "operator")
CHECKS = "not_a_server_error,status_code_conformance"
# What ends the login under test, or sends people elsewhere.
LEFT_OUT = r"/logout|/oidc/|/auth/"


def post(url: str, body: dict[str, Any], token: str = "") -> Any:
    headers = {"content-type": "application/json", "authorization": f"Bearer {token}"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def tokens(url: str, data: Path) -> dict[str, str]:
    """Make one caller of each role; return their tokens."""
    first = (data / "first-start-token").read_text().split()[0]
    person = {"email": "root@example.com", "password": PASSWORD}
    root = post(f"{url}/api/auth/first-start", {"token": first, **person})["access_token"]
    found = {"none": "", "operator": root}
    for role in ("viewer", "user", "admin"):
        login = {"email": f"{role}@example.com", "password": PASSWORD}
        post(f"{url}/api/admin/users", {**login, "role": role}, root)
        access = post(f"{url}/api/auth/login", login)["access_token"]
        body = {"name": "campaign", "role": role, "expires_in_days": 1}
        try:
            found[role] = post(f"{url}/api/keys", body, access)["key"]
        except urllib.error.HTTPError:
            found[role] = access
    return found


def run(url: str, role: str, token: str, examples: int) -> int:
    command = [str(TOOL), "run", f"{url}/openapi.json", "--checks", CHECKS]
    command += ["--phases", "examples,coverage,fuzzing,stateful", "--seed", "5"]
    command += ["--max-examples", str(examples), "--exclude-path-regex", LEFT_OUT]
    command += ["--exclude-tag", "alias", "--workers", "1", "--request-timeout", "30"]
    if token:
        command += ["--header", f"Authorization: Bearer {token}"]
    sys.stdout.write(f"schemathesis as {role}\n")
    sys.stdout.flush()
    return subprocess.run(command, check=False).returncode


def main(examples: int) -> int:
    with tempfile.TemporaryDirectory() as folder, upstream.start(seed=5) as provider:
        data = Path(folder, "data")
        own = {"OPENAI_BASE_URL": provider.url, "OPENAI_API_KEY": "sk-b", "DURE_AUTH": "on"}
        with serving(data, "--dev", DURE_ACCESS_SECONDS="86400", **own) as url:
            known = tokens(url, data)
            failed = [role for role in ROLES if run(url, role, known[role], examples) != 0]
    told = f"failed for {failed}" if failed else "all roles passed"
    sys.stdout.write(f"schemathesis: {told}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 30))
