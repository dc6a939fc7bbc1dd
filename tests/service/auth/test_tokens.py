"""Other issuers' tokens: one good form, and every forgery we know of."""

from __future__ import annotations

import hmac
import json
import string
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from dure.db.tables import IdentityModel, UserModel
from dure.errors import InvalidArgumentError
from dure.service.settings import Issuer, Settings
from sqlalchemy import func, select

from tests.service.auth.issuer import NOW, TestIssuer, b64
from tests.service.inside import Hands, Inside, inside

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

SECRET = "a secret that ai-helper-back shares with us"


@pytest.fixture(scope="module")
def issuer() -> Iterator[TestIssuer]:
    found = TestIssuer()
    yield found
    found.close()


def settings_of(issuer: TestIssuer, **changed: Any) -> dict[str, Any]:
    given = {
        "name": "keycloak",
        "issuer": issuer.url,
        "audience": "dure-api",
        "client_id": "portal",
        **changed,
    }
    return {"issuers": (Issuer(**given),)}


@pytest.fixture
async def app(tmp_path: Path, issuer: TestIssuer) -> AsyncIterator[Inside]:
    issuer.keys = [issuer.public(issuer.rsa_keys[0], "one")]
    issuer.down = False
    issuer.asked.clear()
    async with inside(tmp_path, **settings_of(issuer)) as found:
        yield found


async def status(app: Inside, token: str) -> int:
    return (await app.call("GET", "/api/auth/me", key=token)).status_code


async def test_a_good_token_is_a_person_here(app: Inside, issuer: TestIssuer) -> None:
    me = await app.call("GET", "/api/auth/me", key=issuer.token())
    assert me.status_code == 200, me.text
    found = me.json()
    assert (found["email"], found["name"], found["role"]) == ("kim@example.com", "Kim", "user")
    assert found["operator"] is False
    later = issuer.token(name="Kim Lee", realm_access={"roles": ["admin"]}, jti="2")
    changed = (await app.call("GET", "/api/auth/me", key=later)).json()
    assert (changed["name"], changed["role"]) == ("Kim Lee", "admin")
    assert changed["user_id"] == found["user_id"]
    assert issuer.asked.count("/keys") == 1


async def test_a_persons_identity_is_issuer_and_subject_and_never_the_address(
    app: Inside, issuer: TestIssuer
) -> None:
    await app.first("kim@example.com")
    mine = (await app.call("GET", "/api/auth/me", key=issuer.token())).json()
    other = (await app.call("GET", "/api/auth/me", key=issuer.token(sub="other"))).json()
    assert mine["user_id"] != other["user_id"]
    assert mine["role"] == "user", "the administrator's address gives nothing"
    unverified = issuer.token(sub="third", email_verified=False)
    assert (await app.call("GET", "/api/auth/me", key=unverified)).json()["email"] is None
    async with app.state.database.read() as work:
        assert await work.scalar(select(func.count()).select_from(IdentityModel)) == 4
        assert await work.scalar(select(func.count()).select_from(UserModel)) == 4


async def test_roles_come_from_the_realm_and_from_our_client(
    app: Inside, issuer: TestIssuer
) -> None:
    async def role(**claims: Any) -> object:
        answer = await app.call("GET", "/api/auth/me", key=issuer.token(**claims))
        return answer.json().get("role", answer.json().get("error", {}).get("code"))

    none = {"roles": ["offline_access"]}
    ours = {"portal": {"roles": ["viewer"]}, "other": {"roles": ["admin"]}}
    assert await role(realm_access=none, resource_access=ours) == "viewer"
    assert await role(realm_access=none, resource_access={"other": {"roles": ["admin"]}}) == (
        "no_role"
    )
    assert await role(realm_access={"roles": ["viewer", "admin", 7]}) == "admin"
    assert await role(realm_access={"roles": ["operator", "root"]}) == "no_role"
    assert await role(realm_access="admin", roles=["user"]) == "user"


def cut(token: str, part: int, change: Callable[[str], str]) -> str:
    parts = token.split(".")
    parts[part] = change(parts[part])
    return ".".join(parts)


def unsigned(issuer: TestIssuer, alg: object, signature: str = "") -> str:
    head = {"alg": alg, "typ": "JWT", "kid": "one"}
    body = json.dumps(issuer.claims()).encode()
    return f"{b64(json.dumps(head).encode())}.{b64(body)}.{signature}"


def by_hmac(issuer: TestIssuer, key: bytes) -> str:
    signed = unsigned(issuer, "HS256").rstrip(".")
    return f"{signed}.{b64(hmac.digest(key, signed.encode(), 'sha256'))}"


def public_bytes(issuer: TestIssuer, encoding: serialization.Encoding) -> bytes:
    return (
        issuer.rsa_keys[0]
        .public_key()
        .public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def flipped(text: str) -> str:
    return text[:20] + ("A" if text[20] != "A" else "B") + text[21:]


def noncanonical(text: str) -> str:
    """Return another spelling of the same bytes: the last sign's idle bits are set."""
    signs = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
    return text[:-1] + signs[signs.index(text[-1]) + 1]


def doubled(issuer: TestIssuer) -> str:
    body = json.dumps(issuer.claims())[:-1] + ', "sub": "root"}'
    return issuer.sign({"kid": "one", "typ": "JWT"}, body.encode())


def deep(issuer: TestIssuer, depth: int) -> str:
    body = json.dumps(issuer.claims())[:-1] + ', "x": ' + "[" * depth + "]" * depth + "}"
    return issuer.sign({"kid": "one", "typ": "JWT"}, body.encode())


def ec_der(issuer: TestIssuer) -> str:
    token = issuer.token(key=issuer.ec_key)
    signed = token.rpartition(".")[0].encode()
    return f"{signed.decode()}.{b64(issuer.ec_key.sign(signed, ec.ECDSA(hashes.SHA256())))}"


def own_key(issuer: TestIssuer) -> dict[str, Any]:
    return issuer.public(issuer.rsa_keys[1], "one")


JWE_HEAD = b64(b'{"alg":"PBES2-HS256+A128KW","p2c":2147483647}')
LEGACY_HEAD = b'{"alg":"HS256"}'
FORGED: dict[str, Any] = {
    "alg none": lambda i: unsigned(i, "none"),
    "alg none, signed by nothing": lambda i: unsigned(i, "none", "AA"),
    "alg nOnE": lambda i: unsigned(i, "nOnE", "AA"),
    "alg empty": lambda i: unsigned(i, "", "AA"),
    "alg missing": lambda i: unsigned(i, None, i.token().split(".")[2]),
    "alg a list": lambda i: unsigned(i, ["RS256"], i.token().split(".")[2]),
    "HS256 by the PEM": lambda i: by_hmac(i, public_bytes(i, serialization.Encoding.PEM)),
    "HS256 by the DER": lambda i: by_hmac(i, public_bytes(i, serialization.Encoding.DER)),
    "HS256 by the JWK": lambda i: by_hmac(i, json.dumps(i.keys[0]).encode()),
    "HS256 by nothing": lambda i: by_hmac(i, b""),
    "ES256 where RS256 is set": lambda i: i.token(key=i.ec_key),
    "signature empty": lambda i: cut(i.token(), 2, lambda _: ""),
    "signature cut": lambda i: cut(i.token(), 2, lambda s: s[:-8]),
    "signature one bit off": lambda i: cut(i.token(), 2, flipped),
    "signature of another token": lambda i: cut(
        i.token(), 2, lambda _: i.token(sub="x").split(".")[2]
    ),
    "signature by another key": lambda i: i.token(key=i.rsa_keys[1]),
    "signature spelt otherwise": lambda i: cut(i.token(), 2, noncanonical),
    "signature padded": lambda i: i.token() + "==",
    "body changed": lambda i: cut(
        i.token(), 1, lambda _: b64(json.dumps(i.claims(sub="r")).encode())
    ),
    "two segments": lambda i: i.token().rpartition(".")[0],
    "four segments": lambda i: i.token() + ".AA",
    "jwk in the header": lambda i: i.token(key=i.rsa_keys[1], header={"jwk": own_key(i)}),
    "jku in the header": lambda i: i.token(header={"jku": f"{i.base}/keys"}),
    "x5u in the header": lambda i: i.token(header={"x5u": f"{i.base}/keys"}),
    "x5c in the header": lambda i: i.token(header={"x5c": ["MIIB"]}),
    "crit unknown": lambda i: i.token(header={"crit": ["x"], "x": 1}),
    "b64 false": lambda i: i.token(header={"b64": False, "crit": ["b64"]}),
    "kid a path": lambda i: i.token(header={"kid": "../../etc/passwd"}),
    "kid as SQL": lambda i: i.token(header={"kid": "one' OR '1'='1"}),
    "kid a list": lambda i: i.token(header={"kid": ["one"]}),
    "kid a number": lambda i: i.token(header={"kid": 1}),
    "typ wrong": lambda i: i.token(header={"typ": "logout+jwt"}),
    "typ a list": lambda i: i.token(header={"typ": ["JWT"]}),
    "typ of an ID token": lambda i: i.token(header={"typ": "id_token"}),
    "exp missing": lambda i: i.token(exp=None),
    "exp past the leeway": lambda i: i.token(exp=NOW - 61),
    "exp a text": lambda i: i.token(exp="9999999999"),
    "exp 1e308": lambda i: i.token(exp=1e308),
    "exp true": lambda i: i.token(exp=True),
    "exp negative": lambda i: i.token(exp=-1),
    "nbf ahead": lambda i: i.token(nbf=NOW + 61),
    "nbf a text": lambda i: i.token(nbf="0"),
    "iat missing": lambda i: i.token(iat=None),
    "iat ahead": lambda i: i.token(iat=NOW + 61),
    "iss missing": lambda i: i.token(iss=None),
    "iss wrong": lambda i: i.token(iss="https://evil.example"),
    "iss with a slash": lambda i: i.token(iss=i.url + "/"),
    "iss of another tenant": lambda i: i.token(iss=i.url.replace("dure", "other")),
    "iss a list": lambda i: i.token(iss=[i.url]),
    "iss ours": lambda i: i.token(iss="dure"),
    "aud missing": lambda i: i.token(aud=None),
    "aud wrong": lambda i: i.token(aud="account"),
    "aud wrong in a list": lambda i: i.token(aud=["account", "dure-api2"]),
    "azp another": lambda i: i.token(azp="other-client"),
    "sub missing": lambda i: i.token(sub=None),
    "sub empty": lambda i: i.token(sub=""),
    "sub a number": lambda i: i.token(sub=7),
    "sub too long": lambda i: i.token(sub="x" * 256),
    "sub twice": doubled,
    "over the size cap": lambda i: i.token(x="y" * 9000),
    "nested deep": lambda i: deep(i, 100),
    "nested beyond reading": lambda i: deep(i, 2_500),
    "a JWE": lambda _: f"{JWE_HEAD}.AA.AA.AA.AA",
    "p2c in a JWS": lambda i: i.token(header={"p2c": 2147483647}),
    "bad UTF-8": lambda i: i.sign({"kid": "one"}, b'{"sub": "\xff\xfe"}'),
    "NaN": lambda i: i.sign({"kid": "one"}, b'{"exp": NaN, "sub": "x"}'),
    "no object": lambda i: i.sign({"kid": "one"}, b'["sub"]'),
    "an array for a header": lambda _: f"{b64(b'[]')}.{b64(b'{}')}.AA",
    "a space inside": lambda i: cut(i.token(), 1, lambda s: s[:10] + " " + s[10:]),
}


def test_there_are_many_forgeries() -> None:
    assert len(FORGED) >= 40


@pytest.mark.parametrize("name", FORGED)
async def test_a_forged_token_is_nobody(app: Inside, issuer: TestIssuer, name: str) -> None:
    token = FORGED[name](issuer)
    answer = await app.call("GET", "/api/auth/me", key=token)
    assert answer.status_code == 401, answer.text
    assert token[:20] not in answer.text
    assert await status(app, issuer.token()) == 200, "the good one still is"


async def test_a_key_without_a_name_is_not_guessed_among_two(
    app: Inside, issuer: TestIssuer
) -> None:
    nameless = issuer.token(header={"kid": None})
    assert await status(app, nameless) == 200, "there is but one"
    issuer.keys = [issuer.public(key, None) for key in issuer.rsa_keys]
    async with inside(app.data / "other", **settings_of(issuer)) as other:
        assert await status(other, nameless) == 401


@pytest.mark.parametrize(
    "changed", [{"use": "enc"}, {"alg": "RS512"}, {"kty": "oct", "k": "AAAA"}, {"n": "AQ"}]
)
async def test_a_key_for_something_else_signs_nothing(
    tmp_path: Path, issuer: TestIssuer, changed: dict[str, str]
) -> None:
    issuer.keys = [issuer.public(issuer.rsa_keys[0], "one", **changed)]
    async with inside(tmp_path, **settings_of(issuer)) as app:
        assert await status(app, issuer.token()) == 401


async def test_elliptic_tokens_and_their_forgeries(tmp_path: Path, issuer: TestIssuer) -> None:
    issuer.keys = [issuer.public(issuer.ec_key, "one")]
    async with inside(tmp_path, **settings_of(issuer, algorithm="ES256")) as app:
        good = issuer.token(key=issuer.ec_key)
        assert await status(app, good) == 200
        assert await status(app, ec_der(issuer)) == 401
        assert await status(app, cut(good, 2, lambda _: b64(bytes(64)))) == 401
        assert await status(app, issuer.token()) == 401, "RS256 where ES256 is set"


async def test_keys_rotate_and_unknown_names_ask_once_in_ten_seconds(
    tmp_path: Path, issuer: TestIssuer
) -> None:
    issuer.keys = [issuer.public(issuer.rsa_keys[0], "one")]
    async with inside(tmp_path, **settings_of(issuer)) as app:
        hands = [0.0]
        app.app.state.identities._issuers[issuer.url][1]._monotonic = lambda: hands[0]
        issuer.asked.clear()
        assert await status(app, issuer.token()) == 200
        issuer.keys = [issuer.public(issuer.rsa_keys[1], "two")]
        fresh = issuer.token(key=issuer.rsa_keys[1], header={"kid": "two"})
        flood = [issuer.token(header={"kid": f"k{n}"}) for n in range(30)]
        assert {await status(app, token) for token in [fresh, *flood]} == {401}
        assert issuer.asked.count("/keys") == 1
        hands[0] += 10.1
        assert await status(app, fresh) == 200
        assert issuer.asked.count("/keys") == 2
        retired = issuer.token(jti="never seen")
        assert await status(app, retired) == 401, "the old key is gone"


async def test_known_keys_stay_while_the_issuer_is_down(tmp_path: Path, issuer: TestIssuer) -> None:
    issuer.keys = [issuer.public(issuer.rsa_keys[0], "one")]
    async with inside(tmp_path, **settings_of(issuer)) as app:
        hands = [0.0]
        app.app.state.identities._issuers[issuer.url][1]._monotonic = lambda: hands[0]
        issuer.down = True
        first = await app.call("GET", "/api/auth/me", key=issuer.token())
        assert first.status_code == 502, "nobody is known yet, and it is not their fault"
        issuer.down, hands[0] = False, 11.0
        assert await status(app, issuer.token(jti="1")) == 200
        issuer.down, hands[0] = True, 5000.0
        assert await status(app, issuer.token(jti="2")) == 200
        issuer.down = False


async def test_what_is_kept_of_a_token_is_kept_under_all_of_it(
    tmp_path: Path, issuer: TestIssuer
) -> None:
    issuer.keys = [issuer.public(issuer.rsa_keys[0], "one")]
    clock = Hands()
    async with inside(tmp_path, clock, **settings_of(issuer)) as app:
        good = issuer.token(exp=NOW + 10)
        assert await status(app, good) == 200
        assert await status(app, good[:-10] + "AAAAAAAAAA") == 401
        assert await status(app, good[:20] + issuer.token(key=issuer.rsa_keys[1])[20:]) == 401
        clock.turn(seconds=11)
        kept = app.app.state.identities._kept.values()
        assert all(one.until <= clock.now() for one in kept), "never past its end"
        clock.turn(seconds=60)
        assert await status(app, good) == 401


def legacy(**claims: Any) -> str:
    good = {"sub": "back-7", "exp": NOW + 600, "iat": NOW - 5, "roles": ["ROLE_USER"], **claims}
    body = json.dumps({name: value for name, value in good.items() if value is not None})
    signed = f"{b64(LEGACY_HEAD)}.{b64(body.encode())}"
    return f"{signed}.{b64(hmac.digest(SECRET.encode(), signed.encode(), 'sha256'))}"


async def test_tokens_of_a_neighbour_are_taken_by_their_own_rules(
    tmp_path: Path, issuer: TestIssuer
) -> None:
    back = Issuer(
        name="back",
        issuer="ai-helper-back",
        algorithm="HS256",
        secret=SECRET,  # type: ignore[arg-type]
        kind="legacy",
        roles={"ROLE_USER": "user", "ROLE_ADMIN": "admin"},
    )
    both = (back, *settings_of(issuer)["issuers"])
    issuer.keys = [issuer.public(issuer.rsa_keys[0], "one")]
    async with inside(tmp_path, issuers=both) as app:
        me = (await app.call("GET", "/api/auth/me", key=legacy())).json()
        assert (me["role"], me["operator"]) == ("user", False)
        assert await status(app, legacy(iss="ai-helper-back")) == 200
        assert await status(app, issuer.token()) == 200, "each by its own key"
        assert await status(app, legacy(iat=None, exp=NOW + 3000)) == 200
        forged: dict[str, dict[str, Any]] = {
            "another issuer": {"iss": "evil"},
            "of Keycloak's name": {"iss": issuer.url},
            "older than an hour": {"iat": NOW - 3700},
            "longer than an hour": {"iat": None, "exp": NOW + 4000},
            "ended": {"exp": NOW - 61},
        }
        for name, claims in forged.items():
            assert await status(app, legacy(**claims)) == 401, name
        unmapped = await app.call("GET", "/api/auth/me", key=legacy(roles=["admin"], sub="x"))
        assert unmapped.status_code == 403, "our own names mean nothing in a neighbour's mouth"


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"audience": None}, "no audience"),
        ({"algorithm": "HS256"}, "legacy"),
        ({"algorithm": "HS256", "kind": "legacy", "secret": "short"}, "32 bytes"),
        ({"secret": "x" * 40}, "does not use"),
        ({"jwks_url": "http://keys.example/jwks"}, "not https"),
        ({"issuer": "http://idp.example"}, "not https"),
        ({"issuer": "ftp://idp.example"}, "not https"),
    ],
)
def test_an_issuer_that_cannot_be_trusted_keeps_the_service_from_starting(
    changed: dict[str, Any], fault: str
) -> None:
    good: dict[str, Any] = {
        "name": "x",
        "issuer": "https://idp.example",
        "audience": "dure",
    }
    Settings(issuers=(Issuer(**good),))
    with pytest.raises(InvalidArgumentError, match=fault) as wrong:
        Settings(issuers=(Issuer(**{**good, **changed}),))
    assert "x" * 40 not in str(wrong.value)
