"""Logging in with a browser: code flow, PKCE, state, nonce; cookies, CSRF, logout."""

from __future__ import annotations

from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from dure.errors import InvalidArgumentError
from dure.service.settings import Issuer, Settings

from tests.service.auth.issuer import TestIssuer
from tests.service.inside import Inside, inside

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    import httpx

LOGIN = "/api/auth/oidc/keycloak/login"
CALLBACK = "/api/auth/oidc/keycloak/callback"


@pytest.fixture
def issuer() -> Iterator[TestIssuer]:
    running = TestIssuer()
    yield running
    running.close()


def settings_of(issuer: TestIssuer, **changed: Any) -> Issuer:
    given = {
        "name": "keycloak",
        "issuer": issuer.url,
        "audience": "dure-api",
        "client_id": "portal",
        "client_secret": "client-secret-of-the-portal",
        **changed,
    }
    return Issuer(**given)


@pytest.fixture
async def app(tmp_path: Path, place: dict[str, Any], issuer: TestIssuer) -> AsyncIterator[Inside]:
    async with inside(tmp_path, issuers=(settings_of(issuer),), **place) as found:
        yield found


@dataclass
class Browser:
    """What a browser does with cookies: it keeps them by path, and forgets those that ended."""

    app: Inside
    jar: dict[str, str] = field(default_factory=dict)
    made: dict[str, str] = field(default_factory=dict)

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.send("GET", path, **headers)

    async def send(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> httpx.Response:
        self.app.client.cookies.clear()
        cookie = {"cookie": "; ".join(f"{name}={value}" for name, value in self.jar.items())}
        answer = await self.app.call(method, path, body, **cookie, **headers)
        for line in answer.headers.get_list("set-cookie"):
            for name, one in SimpleCookie(line).items():
                attributes = line.partition(";")[2].lower().replace(" ", "")
                if one["max-age"] == "0":
                    kept = {
                        a
                        for a in attributes.split(";")
                        if "=" not in a or a[:4] in {"path", "same"}
                    }
                    assert kept == set(self.made.pop(name).split(";")), "deleted as it was made"
                    self.jar.pop(name)
                    continue
                self.jar[name] = one.value
                self.made[name] = ";".join(
                    a for a in attributes.split(";") if "=" not in a or a[:4] in {"path", "same"}
                )
        return answer

    async def login(self, issuer: TestIssuer, **changed: Any) -> httpx.Response:
        sent = await self.get(f"{LOGIN}?next=/docs")
        assert sent.status_code == 302, sent.text
        back = issuer.approve(sent.headers["location"], **changed)
        return await self.app_back(back)

    async def app_back(self, back: dict[str, str]) -> httpx.Response:
        query = "&".join(f"{name}={value}" for name, value in back.items())
        return await self.get(f"{CALLBACK}?{query}")


async def test_a_browser_logs_in_at_its_issuer(app: Inside, issuer: TestIssuer) -> None:
    browser = Browser(app)
    landed = await browser.login(issuer)
    assert (landed.status_code, landed.headers["location"]) == (302, "/docs"), landed.text
    assert set(browser.jar) == {"dure_session", "dure_refresh", "dure_csrf"}
    me = await browser.get("/api/auth/me")
    assert (me.json()["email"], me.json()["role"]) == ("kim@example.com", "user")
    again = await Browser(app).login(issuer)
    assert again.status_code == 302
    assert browser.jar["dure_session"] not in landed.text


async def test_cookies_are_kept_from_scripts_and_from_other_sites(
    app: Inside, issuer: TestIssuer
) -> None:
    browser = Browser(app)
    await browser.login(issuer)
    assert "httponly" in browser.made["dure_session"]
    assert "samesite=lax" in browser.made["dure_session"]
    assert "samesite=strict" in browser.made["dure_refresh"]
    assert "httponly" in browser.made["dure_refresh"]
    assert "path=/api" in browser.made["dure_refresh"]
    assert "httponly" not in browser.made["dure_csrf"]


async def test_what_is_asked_of_the_issuer_proves_who_asks(app: Inside) -> None:
    sent = [await Browser(app).get(LOGIN) for _ in range(2)]
    first, second = ({**parse_qs(urlsplit(one.headers["location"]).query)} for one in sent)
    assert first["code_challenge_method"] == ["S256"]
    assert first["redirect_uri"] == ["http://testserver/api/auth/oidc/keycloak/callback"]
    for name in ("state", "nonce", "code_challenge"):
        assert first[name] != second[name]
        assert len(first[name][0]) >= 32
    cookie = sent[0].headers["set-cookie"]
    assert first["nonce"][0] not in cookie


@pytest.mark.parametrize(
    "changed",
    [
        {"state": "another"},
        {"state": ""},
        {"iss": "https://elsewhere.example"},
        {"code": ""},
        {"code": "never-given"},
    ],
    ids=str,
)
async def test_a_browser_that_was_not_sent_is_not_taken_in(
    app: Inside, issuer: TestIssuer, changed: dict[str, str]
) -> None:
    browser = Browser(app)
    sent = await browser.get(LOGIN)
    back = issuer.approve(sent.headers["location"])
    refused = await browser.app_back({**back, **changed})
    assert refused.status_code == 401
    assert refused.json()["error"]["code"] == "login_refused"
    assert "dure_session" not in browser.jar


async def test_a_code_comes_back_to_the_browser_that_began_and_once(
    app: Inside, issuer: TestIssuer
) -> None:
    victim, thief = Browser(app), Browser(app)
    sent = await victim.get(LOGIN)
    back = issuer.approve(sent.headers["location"])
    assert (await thief.app_back(back)).status_code == 401, "no cookie of this login"
    await thief.get(LOGIN)
    assert (await thief.app_back(back)).status_code == 401, "the cookie of another login"
    assert (await victim.app_back(back)).status_code == 302
    assert (await victim.app_back(back)).status_code == 401, "the cookie is gone, the code too"


async def test_a_login_under_way_ends_after_ten_minutes(app: Inside, issuer: TestIssuer) -> None:
    browser = Browser(app)
    sent = await browser.get(LOGIN)
    back = issuer.approve(sent.headers["location"])
    app.clock.turn(minutes=10, seconds=1)
    assert (await browser.app_back(back)).status_code == 401


@pytest.mark.parametrize(
    "changed",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "dure-api"},
        {"aud": ["portal", "other"], "azp": None},
        {"azp": "other"},
        {"iss": "https://elsewhere.example"},
        {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"},
        {"sub": "somebody-else"},
        {"exp": 1},
        {"access": {"aud": "another-api"}},
        {"access": {"sub": "somebody-else"}},
        {"access": "a.b.c"},
        {"key": TestIssuer.rsa_keys[1]},
    ],
    ids=lambda changed: "-".join(f"{name}={value!s:.16}" for name, value in changed.items()),
)
async def test_a_forged_answer_of_the_issuer_is_nobody(
    app: Inside, issuer: TestIssuer, changed: dict[str, Any]
) -> None:
    browser = Browser(app)
    refused = await browser.login(issuer, **changed)
    assert refused.status_code == 401, refused.text
    assert "dure_session" not in browser.jar


async def test_the_code_is_exchanged_on_the_issuers_own_host_only(
    app: Inside, issuer: TestIssuer
) -> None:
    issuer.elsewhere = "http://127.0.0.1:1/token"
    refused = await Browser(app).get(LOGIN)
    assert refused.status_code == 502
    assert "/token" not in issuer.asked


@pytest.mark.parametrize(
    "path", ["//evil.example", "https://evil.example", "/\\evil", "evil", "/\n"]
)
async def test_a_login_leads_nowhere_else(app: Inside, path: str) -> None:
    sent = await app.client.get(LOGIN, params={"next": path})
    assert sent.status_code == 400
    assert sent.json()["error"]["param"] == "next"


async def test_a_person_without_a_role_is_told_so(app: Inside, issuer: TestIssuer) -> None:
    browser = Browser(app)
    refused = await browser.login(issuer, access={"realm_access": {"roles": ["offline_access"]}})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "no_role")


async def test_a_change_needs_the_csrf_token_and_our_own_page(
    app: Inside, issuer: TestIssuer
) -> None:
    browser = Browser(app)
    await browser.login(issuer)
    csrf = browser.jar["dure_csrf"]
    body = {"name": "laptop"}
    bare = await browser.send("POST", "/api/keys", body)
    assert (bare.status_code, bare.json()["error"]["code"]) == (403, "csrf_token_missing")
    wrong = await browser.send("POST", "/api/keys", body, x_csrf_token=csrf[:-1] + "0")
    assert wrong.status_code == 403 or csrf.endswith("0")
    foreign = await browser.send(
        "POST", "/api/keys", body, x_csrf_token=csrf, origin="https://evil.example"
    )
    assert (foreign.status_code, foreign.json()["error"]["code"]) == (403, "foreign_origin")
    made = await browser.send(
        "POST", "/api/keys", body, x_csrf_token=csrf, origin="http://testserver"
    )
    assert made.status_code == 201, made.text
    other = Browser(app)
    await other.login(issuer)
    stolen = await browser.send("POST", "/api/keys", body, x_csrf_token=other.jar["dure_csrf"])
    assert stolen.status_code == 403


async def test_a_bearer_needs_no_csrf_token_and_goes_before_cookies(
    app: Inside, issuer: TestIssuer
) -> None:
    browser = Browser(app)
    await browser.login(issuer)
    token = issuer.token()
    made = await browser.send("POST", "/api/keys", {"name": "x"}, authorization=f"Bearer {token}")
    assert made.status_code == 201, made.text
    bad = await browser.get("/api/auth/me", authorization="Bearer nobody")
    assert bad.status_code == 401


async def test_a_browser_refreshes_its_cookies(app: Inside, issuer: TestIssuer) -> None:
    browser = Browser(app)
    await browser.login(issuer)
    csrf, old = browser.jar["dure_csrf"], browser.jar["dure_session"]
    app.clock.turn(minutes=20)
    assert (await browser.get("/api/auth/me")).status_code == 401
    assert (await browser.send("POST", "/api/auth/session/refresh")).status_code == 403
    fresh = await browser.send("POST", "/api/auth/session/refresh", x_csrf_token=csrf)
    assert fresh.status_code == 200, fresh.text
    assert browser.jar["dure_session"] != old
    assert browser.jar["dure_csrf"] == csrf
    assert (await browser.get("/api/auth/me")).status_code == 200
    nobody = await Browser(app).send("POST", "/api/auth/session/refresh", x_csrf_token=csrf)
    assert nobody.status_code == 401


async def test_a_login_at_an_issuer_is_asked_for_anew_after_a_working_day(
    app: Inside, issuer: TestIssuer
) -> None:
    browser = Browser(app)
    await browser.login(issuer)
    csrf = browser.jar["dure_csrf"]
    for _ in range(11):
        app.clock.turn(hours=1)
        fresh = await browser.send("POST", "/api/auth/session/refresh", x_csrf_token=csrf)
        assert fresh.status_code == 200
    app.clock.turn(hours=1)
    ended = await browser.send("POST", "/api/auth/session/refresh", x_csrf_token=csrf)
    assert ended.status_code == 401


async def test_logging_out_takes_the_cookies_back_as_they_were_made(
    app: Inside, issuer: TestIssuer
) -> None:
    browser = Browser(app)
    await browser.login(issuer)
    kept = dict(browser.jar)
    gone = await browser.send("POST", "/api/auth/logout", x_csrf_token=kept["dure_csrf"])
    assert gone.status_code == 204
    assert browser.jar == {}
    browser.jar = kept
    assert (await browser.get("/api/auth/me")).status_code == 401
    ended = await browser.send("POST", "/api/auth/session/refresh", x_csrf_token=kept["dure_csrf"])
    assert ended.status_code == 401
    away = await browser.get("/api/auth/oidc/keycloak/logout")
    assert away.headers["location"].startswith(f"{issuer.base}/leave?client_id=portal")


EVENT: dict[str, Any] = {"http://schemas.openid.net/event/backchannel-logout": {}}


async def leave(app: Inside, token: str) -> int:
    answer = await app.client.post(
        "/api/auth/oidc/keycloak/backchannel-logout", data={"logout_token": token}
    )
    return answer.status_code


async def test_an_issuer_ends_the_logins_of_one_session(app: Inside, issuer: TestIssuer) -> None:
    here, there = Browser(app), Browser(app)
    await here.login(issuer)
    await there.login(issuer, sid="session-2")
    token = issuer.token(
        header={"typ": "logout+jwt"}, aud="portal", azp=None, sid="session-1", events=EVENT
    )
    assert await leave(app, token) == 200
    assert (await here.get("/api/auth/me")).status_code == 401
    assert (await there.get("/api/auth/me")).status_code == 200
    everywhere = issuer.token(header={"typ": "logout+jwt"}, aud="portal", azp=None, events=EVENT)
    assert await leave(app, everywhere) == 200
    assert (await there.get("/api/auth/me")).status_code == 401


@pytest.mark.parametrize(
    "changed",
    [
        {"events": None},
        {"events": {"other": {}}},
        {"nonce": "n"},
        {"aud": "dure-api"},
        {"sid": 7},
        {"key": TestIssuer.rsa_keys[1]},
    ],
    ids=lambda changed: "-".join(f"{name}={value!s:.16}" for name, value in changed.items()),
)
async def test_a_forged_logout_ends_nothing(
    app: Inside, issuer: TestIssuer, changed: dict[str, Any]
) -> None:
    browser = Browser(app)
    await browser.login(issuer)
    given = {"aud": "portal", "azp": None, "sid": "session-1", "events": EVENT, **changed}
    assert await leave(app, issuer.token(header={"typ": "logout+jwt"}, **given)) == 401
    assert (await browser.get("/api/auth/me")).status_code == 200


async def test_there_is_no_login_at_an_issuer_that_is_not_named(app: Inside) -> None:
    for path in ("login", "callback", "logout"):
        assert (await app.call("GET", f"/api/auth/oidc/nobody/{path}")).status_code == 404


async def test_cookies_are_secure_where_the_service_is(tmp_path: Path, issuer: TestIssuer) -> None:
    url = "https://dure.example.com"
    async with inside(tmp_path, issuers=(settings_of(issuer),), public_url=url) as app:
        browser = Browser(app)
        await browser.login(issuer)
        assert all("secure" in made.split(";") for made in browser.made.values())
        sent = await browser.get(LOGIN)
        assert "redirect_uri=https%3A%2F%2Fdure.example.com%2Fapi" in sent.headers["location"]


@pytest.mark.parametrize("url", ["http://dure.example.com", "https://a/b", "https://u@a", "dure"])
def test_a_public_url_that_cannot_be_is_refused(url: str) -> None:
    with pytest.raises(InvalidArgumentError, match="public_url"):
        Settings(public_url=url)


async def test_cookies_that_cannot_be_read_are_none(app: Inside) -> None:
    for cookie in ("dure_session", "dure_session=", 'dure_session="\\', "dure_session=a.b.c"):
        answer = await app.call("GET", "/api/auth/me", cookie=cookie)
        assert answer.status_code == 401, cookie
