"""The app inside the test's process, with its real lifespan, database and frame."""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
from dure.service.app import create_app
from dure.service.auth.service import token_path
from dure.service.settings import Settings
from sqlalchemy import event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from dure.service.kit.state import State
    from fastapi import FastAPI

PASSWORD = "correct horse battery"
_asked: ContextVar[list[str] | None] = ContextVar("asked", default=None)


class Hands:
    """A clock whose hands the test turns."""

    def __init__(self) -> None:
        self.time = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def turn(self, **by: float) -> None:
        self.time += timedelta(**by)


@dataclass
class Inside:
    """A running app and a client of it."""

    app: FastAPI
    client: httpx.AsyncClient
    clock: Hands
    data: Path

    @property
    def state(self) -> State:
        found: State = self.app.state.dure
        return found

    @contextmanager
    def statements(self) -> Iterator[list[str]]:
        """Give what the database is asked by the test's own calls, not by the app meanwhile."""
        engine, found = self.state.database.engine.sync_engine, list[str]()

        def look(_c: Any, _cursor: Any, statement: str, *_more: Any) -> None:
            if (mine := _asked.get()) is not None:
                mine.append(statement)

        event.listen(engine, "before_cursor_execute", look)
        token = _asked.set(found)
        try:
            yield found
        finally:
            _asked.reset(token)
            event.remove(engine, "before_cursor_execute", look)

    async def call(
        self, method: str, path: str, body: object = None, key: str | None = None, **headers: str
    ) -> httpx.Response:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if key is not None:
            sent["authorization"] = f"Bearer {key}"
        return await self.client.request(method, path, json=body, headers=sent)

    async def first(self, email: str = "root@example.com") -> dict[str, Any]:
        """Make the first administrator; return their tokens."""
        token = token_path(self.data).read_text().split()[0]
        body = {"token": token, "email": email, "password": PASSWORD}
        answer = await self.call("POST", "/api/auth/first-start", body)
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def add(self, admin: str, email: str, role: str) -> tuple[str, str]:
        """Make a person; return their id and an access token."""
        body = {"email": email, "password": PASSWORD, "role": role}
        made = await self.call("POST", "/api/admin/users", body, admin)
        assert made.status_code == 201, made.text
        return made.json()["id"], await self.login(email)

    async def login(self, email: str) -> str:
        answer = await self.call("POST", "/api/auth/login", {"email": email, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        found: str = answer.json()["access_token"]
        return found

    async def key(self, token: str, **asked: object) -> str:
        """Make an API key."""
        made = await self.call("POST", "/api/keys", {"name": "k", **asked}, token)
        assert made.status_code == 201, made.text
        found: str = made.json()["key"]
        return found


@asynccontextmanager
async def inside(
    data: Path, clock: Hands | None = None, *, client: Any = None, **given: Any
) -> AsyncIterator[Inside]:
    """Run the app on a data folder."""
    hands = clock or Hands()
    settings = Settings(**{"data": data, "access_log": "off", "rate_chat": None, **given})
    app = create_app(settings, clock=hands)
    transport = httpx.ASGITransport(app, client=client or ("127.0.0.1", 5000))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://testserver") as found,
    ):
        yield Inside(app, found, hands, data)
