"""Layer 7 of the frame: nobody passes unknown, and it is settled before a body byte is read."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from dure.errors import DureError
from dure.service.errors import ForbiddenError, NotAuthenticatedError, answer_of
from dure.service.kit.frame import LOCAL_HOSTS, header_of
from dure.service.settings import Settings, is_loopback

from . import sessions
from .identities import Identities, local_subject

__all__ = ["Gate"]


class Gate:
    """Finds the caller from the headers, or refuses. Thread-safe: holds only settings.

    Args:
        app: What is behind it.
        settings: Whether login is skipped.
        identities: Gives the app's `Identities`.
        is_public: Whether a path is for anybody.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        settings: Settings,
        identities: Callable[[], Identities],
        is_public: Callable[[str], bool],
    ) -> None:
        self._app, self._settings = app, settings
        self._identities, self._is_public = identities, is_public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        try:
            await self._enter(scope)
        except DureError as refused:
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
                return
            await answer_of(refused, scope)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _enter(self, scope: Scope) -> None:
        """Write the caller into the scope's state.

        Raises:
            NotAuthenticatedError, ForbiddenError: they do not enter.
        """
        if self._settings.auth == "off":
            if _is_stranger(scope):
                raise ForbiddenError(
                    "While DURE_AUTH=off only this machine's own programs may enter.",
                    code="loopback_only",
                )
            scope["state"]["subject"] = local_subject()
            return
        if self._is_public(scope["path"]):
            return
        credential = _credential(scope)
        from_browser = credential is None
        if from_browser:
            credential = sessions.token_in(scope)
        if credential is None:
            raise NotAuthenticatedError("Send a valid key: Authorization: Bearer KEY.")
        subject = await self._identities().of(credential, scope["state"]["address"])
        if from_browser:
            sessions.check(scope, subject.session, self._identities().seal)
        scope["state"]["subject"] = subject


def _credential(scope: Scope) -> str | None:
    """Return what the headers carry; a query string counts for nothing."""
    given = header_of(scope, b"authorization")
    if given is None:
        return header_of(scope, b"x-api-key")  # as Anthropic's SDK sends it
    kind, _, credential = given.partition(" ")
    credential = credential.strip()
    return credential if kind.lower() == "bearer" and credential else None


def _is_stranger(scope: Scope) -> bool:
    """Whether a request may come from elsewhere: another address, host, origin, or a proxy."""
    server = scope.get("server")
    own = server is None or is_loopback(server[0]) or server[0] == "testserver"
    host = header_of(scope, b"host") or "localhost"
    name = host if host.endswith("]") else host.rsplit(":", 1)[0]
    proxied = any(
        key == b"forwarded" or key.startswith(b"x-forwarded-") for key, _ in scope["headers"]
    )
    origin = header_of(scope, b"origin")
    foreign = bool(origin) and str(origin).partition("://")[2] != host
    return not own or name not in LOCAL_HOSTS or proxied or foreign
