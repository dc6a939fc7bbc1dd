"""A small issuer of tokens on loopback: keys that rotate, discovery, and a log of who asked."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

NOW = 1_795_262_400  # 2026-11-21 12:00 UTC, as the tests' clock begins


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class TestIssuer:
    """Serves discovery and keys; makes tokens."""

    __test__ = False
    rsa_keys: ClassVar = [rsa.generate_private_key(65537, 2048) for _ in range(2)]
    ec_key = ec.generate_private_key(ec.SECP256R1())

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = [self.public(self.rsa_keys[0], "one")]
        self.asked: list[str] = []
        self.down = False
        self.codes: dict[str, dict[str, Any]] = {}
        self.elsewhere = ""  # where it says that codes are exchanged
        self.cache_control = "max-age=600"
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked.append(self.path)
                found = issuer.document(self.path)
                self.send_response(503 if issuer.down or found is None else 200)
                self.send_header("cache-control", issuer.cache_control)
                body = json.dumps(found).encode()
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                issuer.asked.append(self.path)
                sent = self.rfile.read(int(self.headers["content-length"])).decode()
                form = {name: values[0] for name, values in parse_qs(sent).items()}
                found = issuer.exchange(form, self.headers.get("authorization"))
                self.send_response(400 if found is None else 200)
                body = json.dumps(found or {"error": "invalid_grant"}).encode()
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.base = f"http://127.0.0.1:{self._server.server_port}"
        self.url = f"{self.base}/realms/dure"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def document(self, path: str) -> dict[str, Any] | None:
        if path.endswith("/.well-known/openid-configuration"):
            return {
                "issuer": self.url,
                "jwks_uri": f"{self.base}/keys",
                "authorization_endpoint": f"{self.base}/authorize",
                "token_endpoint": self.elsewhere or f"{self.base}/token",
                "end_session_endpoint": f"{self.base}/leave",
            }
        return {"keys": self.keys} if path == "/keys" else None

    def approve(self, url: str, **changed: Any) -> dict[str, str]:
        """Act for a person who logs in at `url`; return what the browser brings back.

        What is changed goes into the ID token; `access` into the access token.
        """
        asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        code = f"code-{len(self.codes)}"
        self.codes[code] = {"asked": asked, "changed": changed}
        return {"code": code, "state": asked["state"], "iss": self.url}

    def exchange(self, form: dict[str, str], authorization: str | None) -> dict[str, Any] | None:
        """Return tokens for a code, once, to whoever can prove to have asked for it."""
        kept = self.codes.pop(form.get("code", ""), None)
        if kept is None:
            return None
        asked, changed = kept["asked"], dict(kept["changed"])
        proof = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        basic = "Basic " + base64.b64encode(b"portal:client-secret-of-the-portal").decode()
        if b64(proof) != asked["code_challenge"] or authorization != basic:
            return None
        if (
            form["redirect_uri"] != asked["redirect_uri"]
            or asked["code_challenge_method"] != "S256"
        ):
            return None
        access = changed.pop("access", None)
        token = self.token(**(access or {})) if isinstance(access, dict | None) else access
        own = {"aud": "portal", "nonce": asked["nonce"], "sid": "session-1", "realm_access": None}
        digest = hashlib.sha256(token.encode()).digest()
        own["at_hash"] = b64(digest[:16])
        return {"access_token": token, "id_token": self.token(**(own | changed))}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @staticmethod
    def public(key: Any, kid: str | None, **more: object) -> dict[str, Any]:
        algorithm = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
        found: dict[str, Any] = algorithm.to_jwk(key.public_key(), as_dict=True)
        named = {} if kid is None else {"kid": kid}
        return {**found, "use": "sig", **named, **more}

    def claims(self, **changed: Any) -> dict[str, Any]:
        """Return good claims; a value of None takes a claim out."""
        good = {
            "iss": self.url,
            "aud": "dure-api",
            "azp": "portal",
            "sub": "8c1e-kim",
            "iat": NOW - 5,
            "exp": NOW + 300,
            "email": "kim@example.com",
            "email_verified": True,
            "name": "Kim",
            "realm_access": {"roles": ["user", "offline_access"]},
        }
        return {name: value for name, value in (good | changed).items() if value is not None}

    def token(
        self, *, key: Any = None, header: dict[str, Any] | None = None, **changed: Any
    ) -> str:
        """Return a good token, but for what is changed."""
        found = {"kid": "one", "typ": "JWT", **(header or {})}
        headers = {name: value for name, value in found.items() if value is not None}
        return self.sign(headers, json.dumps(self.claims(**changed)).encode(), key)

    def sign(self, headers: dict[str, Any], body: bytes, key: Any = None) -> str:
        """Return header and body as they are, signed by RS256 (or ES256 with an EC key)."""
        key = key or self.rsa_keys[0]
        name = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
        head = {"alg": name, **headers}
        signed = f"{b64(json.dumps(head).encode())}.{b64(body)}"
        signature = jwt.algorithms.get_default_algorithms()[name].sign(signed.encode(), key)
        return f"{signed}.{b64(signature)}"
