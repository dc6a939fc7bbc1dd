"""A real Keycloak with the shipped realm; skipped where `scripts/keycloak` has not put one."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.service.conftest import free_port, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dure.testing.upstream import Upstream

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[3]
SECRET = "a client secret that only the test knows"
PASSWORD = "correct horse battery 12"


def home() -> Path:
    """Return the newest Keycloak that is here, or skip."""
    if shutil.which("java") is None:
        pytest.skip("no Java here: apt-get install openjdk-17-jre-headless")
    found = sorted((ROOT / "build/keycloak").glob("keycloak-*/bin/kc.sh"))
    if not found:
        pytest.skip("no Keycloak here: scripts/keycloak")
    return found[-1].parents[1]


@dataclass
class Keycloak:
    """A running server and its administrator."""

    url: str
    public_url: str

    @property
    def realm(self) -> str:
        return f"{self.url}/realms/dure"

    def admin(self) -> httpx.Client:
        form = {
            "grant_type": "password",
            "client_id": "admin-cli",
            "username": "admin",
            "password": PASSWORD,
        }
        answer = httpx.post(
            f"{self.url}/realms/master/protocol/openid-connect/token", data=form, timeout=30
        )
        assert answer.status_code == 200, answer.text
        headers = {"authorization": f"Bearer {answer.json()['access_token']}"}
        return httpx.Client(base_url=f"{self.url}/admin/realms/dure", headers=headers, timeout=30)

    def add(self, name: str, *roles: str) -> str:
        """Make a person with realm roles; return their id."""
        with self.admin() as admin:
            person = {
                "username": name,
                "email": f"{name}@example.com",
                "emailVerified": True,
                "firstName": name.title(),
                "lastName": "Park",
                "enabled": True,
                "credentials": [{"type": "password", "value": PASSWORD, "temporary": False}],
            }
            made = admin.post("/users", json=person)
            assert made.status_code == 201, made.text
            user_id = made.headers["location"].rpartition("/")[2]
            self.give(user_id, *roles)
        return user_id

    def give(self, user_id: str, *roles: str) -> None:
        with self.admin() as admin:
            known = [admin.get(f"/roles/{role}").json() for role in roles]
            path = f"/users/{user_id}/role-mappings/realm"
            assert admin.post(path, json=known).status_code == 204

    def end_sessions(self, user_id: str) -> None:
        with self.admin() as admin:
            assert admin.post(f"/users/{user_id}/logout").status_code == 204


@contextmanager
def started(folder: Path, port: int, public_url: str) -> Iterator[Keycloak]:
    """Run a copy: it writes into its own folder."""
    here = folder / "keycloak"
    shutil.copytree(home(), here)
    (here / "data/import").mkdir(parents=True)
    shutil.copy(ROOT / "deploy/keycloak/dure-realm.json", here / "data/import")
    own = {
        "DURE_PUBLIC_URL": public_url,
        "DURE_CLIENT_SECRET": SECRET,
        "KC_BOOTSTRAP_ADMIN_USERNAME": "admin",
        "KC_BOOTSTRAP_ADMIN_PASSWORD": PASSWORD,
        "JAVA_OPTS_KC_HEAP": "-Xms64m -Xmx512m",
    }
    command = [str(here / "bin/kc.sh"), "start-dev", "--import-realm"]
    command += [f"--http-port={port}", "--http-host=127.0.0.1"]
    log = folder / "keycloak.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, env=os.environ | own, stdout=out, stderr=out, start_new_session=True
        )
    found = Keycloak(f"http://127.0.0.1:{port}", public_url)
    try:
        deadline = time.monotonic() + 600
        while True:
            assert process.poll() is None, log.read_text()[-4000:]
            assert time.monotonic() < deadline, log.read_text()[-4000:]
            try:
                url = f"{found.realm}/.well-known/openid-configuration"
                if httpx.get(url, timeout=10).status_code == 200:
                    break
            except httpx.HTTPError:
                pass
            time.sleep(0.5)
        yield found
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


@pytest.fixture(scope="module")
def stack(
    tmp_path_factory: pytest.TempPathFactory, provider: Upstream
) -> Iterator[tuple[Keycloak, str]]:
    home()
    folder = tmp_path_factory.mktemp("keycloak")
    port, keycloak_port = free_port(), free_port()
    url = f"http://127.0.0.1:{port}"
    with started(folder, keycloak_port, url) as keycloak:
        issuer = {
            "name": "keycloak",
            "issuer": keycloak.realm,
            "audience": "dure-api",
            "client_id": "portal",
            "client_secret": SECRET,
        }
        with serving(
            folder / "data",
            f"--port={port}",
            DURE_AUTH="on",
            DURE_ISSUERS=json.dumps([issuer]),
            DURE_PUBLIC_URL=url,
            OPENAI_BASE_URL=provider.url,
            OPENAI_API_KEY="sk-behind-the-service",
        ) as _:
            yield keycloak, url


@pytest.fixture
def keycloak(stack: tuple[Keycloak, str]) -> Keycloak:
    return stack[0]


def browser(url: str) -> httpx.Client:
    """Return a client that sends secure cookies to this machine, as browsers do."""
    policy = DefaultCookiePolicy(secure_protocols=("https", "http"))
    client = httpx.Client(base_url=url, timeout=30, cookies=CookieJar(policy))

    def send_secure(request: httpx.Request) -> None:
        # httpx asks a copy of the jar, whose policy is lost
        request.headers.pop("cookie", None)
        client.cookies.set_cookie_header(request)

    client.event_hooks = {"request": [send_secure]}
    return client


def log_in(client: httpx.Client, name: str, password: str = PASSWORD) -> httpx.Response:
    """Fill in Keycloak's form as a person would; return the answer of our callback."""
    sent = client.get("/api/auth/oidc/keycloak/login", params={"next": "/health/live"})
    assert sent.status_code == 302, sent.text
    page = client.get(sent.headers["location"])
    action = re.search(r'action="([^"]+)"', page.text)
    assert action is not None, page.text[:2000]
    form = {"username": name, "password": password}
    done = client.post(html.unescape(action[1]), data=form)
    if done.status_code != 302:
        return done
    return client.get(done.headers["location"])


def test_a_person_logs_in_by_keycloaks_page_and_out_again(
    stack: tuple[Keycloak, str],
) -> None:
    keycloak, url = stack
    keycloak.add("kim", "user")
    with browser(url) as client:
        landed = log_in(client, "kim")
        assert (landed.status_code, landed.headers["location"]) == (302, "/health/live")
        me = client.get("/api/auth/me").json()
        assert (me["email"], me["role"], me["name"]) == ("kim@example.com", "user", "Kim Park")
        csrf = client.cookies["dure_csrf"]
        assert client.post("/api/keys", json={"name": "x"}).status_code == 403
        headers = {"x-csrf-token": csrf}
        made = client.post("/api/keys", json={"name": "x"}, headers=headers)
        assert made.status_code == 201, made.text
        asked = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}
        answer = client.post(
            "/v1/chat/completions",
            json=asked,
            headers={"authorization": f"Bearer {made.json()['key']}"},
        )
        assert answer.status_code == 200, answer.text
        assert client.post("/api/auth/logout", headers=headers).status_code == 204
        assert client.get("/api/auth/me").status_code == 401


def test_a_wrong_password_comes_back_to_nobody(stack: tuple[Keycloak, str]) -> None:
    keycloak, url = stack
    keycloak.add("lee", "user")
    with browser(url) as client:
        assert log_in(client, "lee", "wrong password").status_code == 200, "Keycloak's page again"
        assert client.get("/api/auth/me").status_code == 401


def test_roles_come_from_the_realm(stack: tuple[Keycloak, str]) -> None:
    keycloak, url = stack
    user_id = keycloak.add("park", "viewer")
    with browser(url) as client:
        log_in(client, "park")
        assert client.get("/api/auth/me").json()["role"] == "viewer"
    keycloak.give(user_id, "admin")
    with browser(url) as client:
        log_in(client, "park")
        assert client.get("/api/auth/me").json()["role"] == "admin"
    keycloak.add("choi")
    with browser(url) as client:
        refused = log_in(client, "choi")
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "no_role")


def test_an_access_token_of_keycloak_is_a_bearer_here(stack: tuple[Keycloak, str]) -> None:
    keycloak, url = stack
    user_id = keycloak.add("jung", "user")
    client_id = f"cli-{user_id[:8]}"
    with keycloak.admin() as admin:
        public = {
            "clientId": client_id,
            "publicClient": True,
            "directAccessGrantsEnabled": True,
            "defaultClientScopes": ["dure"],
        }
        assert admin.post("/clients", json=public).status_code == 201
    form = {
        "grant_type": "password", "client_id": client_id, "username": "jung",
        "password": PASSWORD, "scope": "openid",
    }  # fmt: skip
    given = httpx.post(f"{keycloak.realm}/protocol/openid-connect/token", data=form, timeout=30)
    assert given.status_code == 200, given.text
    token: dict[str, Any] = given.json()
    for name, status in (("access_token", 401), ("id_token", 401)):
        headers = {"authorization": f"Bearer {token[name]}"}
        answer = httpx.get(f"{url}/api/auth/me", headers=headers, timeout=30)
        assert answer.status_code == status, "another client's azp, and an ID token, are no bearer"


def test_keycloak_ends_our_logins_too(stack: tuple[Keycloak, str]) -> None:
    keycloak, url = stack
    user_id = keycloak.add("han", "user")
    with browser(url) as client:
        log_in(client, "han")
        assert client.get("/api/auth/me").status_code == 200
        keycloak.end_sessions(user_id)
        deadline = time.monotonic() + 30
        while client.get("/api/auth/me").status_code == 200:
            assert time.monotonic() < deadline, "the back-channel logout did not come"
            time.sleep(0.2)
