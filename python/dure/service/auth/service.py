"""Logging in and out: passwords, rotating refresh tokens, the first start."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncSession

from dure.db.base import new_id
from dure.db.engine import Database
from dure.db.tables import RefreshTokenModel
from dure.errors import NotFoundError, RateLimitError, StorageError
from dure.service.errors import ConflictError, NotAuthenticatedError
from dure.service.kit import audit
from dure.service.kit.clock import Clock
from dure.service.kit.state import State
from dure.service.rates import Limiter

from . import jws
from .identities import ACCESS_RULES, DEFAULT_ORG, LOCAL_USER, Identities
from .passwords import Passwords
from .repository import IdentityRepository
from .schemas import Tokens
from .subject import Subject

__all__ = ["LOCAL_ISSUER", "Logins", "first_start", "prepare"]

LOCAL_ISSUER = "local"
_REPLAY = timedelta(seconds=10)  # two tabs may show the same token
_FIRST_START = timedelta(hours=1)
_FROM_ISSUER, _WORKING_DAY = "sso_", timedelta(hours=12)
_RATE_OF_ACCOUNT, _RATE_OF_ADDRESS = "5/minute", "30/minute"


@dataclass(frozen=True, slots=True)
class _Turned:
    """What became of a refresh token; nothing: it was not good."""

    user_id: str = ""
    org_id: str = ""
    family: str = ""
    counter: int = 0


class Logins:
    """Gives and takes back access. Task-safe."""

    def __init__(self, state: State, identities: Identities) -> None:
        self._state, self._identities = state, identities
        self._passwords, self._limiter = Passwords(), Limiter()
        self._access_key = state.secret.key("access-tokens")
        self._refresh_key = state.secret.key("refresh-tokens")

    async def login(self, email: str, password: str, org: str | None, address: str) -> Tokens:
        """Return tokens for a good password.

        Raises:
            NotAuthenticatedError: name or password is wrong; which is not told, nor by time.
            RateLimitError: too many tries for this account, or from this address.
        """
        account = email.strip().lower()
        self._limit(account, address)
        async with self._state.database.read() as work:
            repository = IdentityRepository(work)
            user = await repository.by_identity(LOCAL_ISSUER, account)
            joined = [] if user is None else await repository.memberships(user.id)
        kept = None if user is None or user.disabled_at is not None else user.password_hash
        good = await self._passwords.verify(password, kept)
        orgs = [one.org_id for one in joined if org in (None, one.org_id)]
        if not good or user is None or not orgs:
            raise NotAuthenticatedError("E-mail address or password is wrong.", code="wrong_login")
        return await self._begun(user.id, orgs[0])

    async def first_start(
        self, token: str, email: str, password: str, name: str, address: str
    ) -> Tokens:
        """Make the first administrator and operator; return their tokens.

        Raises:
            NotAuthenticatedError: the token is wrong, used or too old.
            ConflictError: there is an administrator already.
        """
        account = email.strip().lower()
        self._limit(account, address)
        hashed = await self._passwords.hash(password)
        now = self._state.clock.now()
        if not _take(self._state.data, token, now):
            raise NotAuthenticatedError(
                "The first-start token is wrong, used or too old: start the service again.",
                code="wrong_login",
            )
        async with self._state.database.write() as work:
            repository = IdentityRepository(work)
            if await repository.has_logins(LOCAL_USER):
                raise ConflictError("there is an administrator already: log in")
            user = await repository.add_user(
                LOCAL_ISSUER,
                account,
                now,
                email=email.strip(),
                name=name or account,
                password_hash=hashed,
                operator=True,
            )
            await repository.set_role(DEFAULT_ORG, user.id, "admin", now)
            await audit.record(
                work,
                self._state.secret,
                now,
                org_id=DEFAULT_ORG,
                actor=f"user:{user.id}",
                action="first_start",
                target=user.id,
            )
        return await self._begun(user.id, DEFAULT_ORG)

    async def vouched(self, user_id: str, org_id: str, issuer: str, session: str | None) -> Tokens:
        """Return tokens for somebody whom an issuer has just shown to be there."""
        return await self._begun(user_id, org_id, family=_family_of(issuer, session))

    async def ended_elsewhere(self, issuer: str, subject: str, session: str | None) -> None:
        """End the logins that an issuer says are over: one of its sessions, or all of a person."""
        now = self._state.clock.now()
        start = _FROM_ISSUER if session is None else _family_start(issuer, session)
        async with self._state.database.write() as work:
            repository = IdentityRepository(work)
            user = await repository.by_identity(issuer, subject)
            rows = [] if user is None else await repository.open_families(user.id, start)
            for row in rows:
                row.revoked_at = now
                await self._told(work, row, "logout")
        self._identities.forget()

    async def refresh(self, token: str) -> Tokens:
        """Return the next pair. The last token may be shown again within ten seconds.

        Raises:
            NotAuthenticatedError: it is not good; one that was used before ends the whole login.
        """
        family, counter = self._parts(token)
        async with self._state.database.write() as work:
            repository = IdentityRepository(work)
            row = await repository.family(family, lock=True)
            ended = row is None or row.revoked_at is not None
            turned = _Turned() if row is None else self._turn(row, counter)
            if row is not None and row.revoked_at is not None and not ended:
                await self._told(work, row, "login.ended")
        if not turned.user_id:
            self._identities.forget()
            raise _not_good()
        return self._tokens(turned)

    async def logout(self, subject: Subject) -> None:
        """End the login; its tokens are dead here at once, elsewhere within thirty seconds.

        Raises:
            NotFoundError: the caller did not log in: a key is revoked instead.
        """
        if subject.session is None:
            raise NotFoundError("there is no login to end: revoke the key instead")
        async with self._state.database.write() as work:
            row = await IdentityRepository(work).family(subject.session, lock=True)
            if row is not None and row.revoked_at is None:
                row.revoked_at = self._state.clock.now()
                await self._told(work, row, "logout")
        self._identities.forget()

    def close(self) -> None:
        """End the threads that check passwords."""
        self._passwords.close()

    async def hash(self, password: str) -> str:
        """Return what is kept of a password."""
        return await self._passwords.hash(password)

    def _limit(self, account: str, address: str) -> None:
        """Slow down whoever guesses: a delay, never a lock."""
        for rate, key in (
            (_RATE_OF_ACCOUNT, f"account:{account}"),
            (_RATE_OF_ADDRESS, f"address:{address}"),
        ):
            wait = self._limiter.wait(rate, key)
            if wait > 0:
                raise RateLimitError("too many logins: come back later", retry_after=wait)

    async def _begun(self, user_id: str, org_id: str, *, family: str | None = None) -> Tokens:
        now = self._state.clock.now()
        lives = timedelta(days=self._state.settings.refresh_days)
        row = RefreshTokenModel(
            family=family or new_id("ses"),
            user_id=user_id,
            org_id=org_id,
            counter=1,
            rotated_at=now,
            created_at=now,
            expires_at=now + (lives if family is None else min(lives, _WORKING_DAY)),
            revoked_at=None,
        )
        async with self._state.database.write() as work:
            work.add(row)
            await self._told(work, row, "login")
        return self._tokens(_Turned(user_id, org_id, row.family, 1))

    async def _told(self, work: AsyncSession, row: RefreshTokenModel, action: str) -> None:
        await audit.record(
            work,
            self._state.secret,
            self._state.clock.now(),
            org_id=row.org_id,
            actor=f"user:{row.user_id}",
            action=action,
            target=row.family,
        )

    def _turn(self, row: RefreshTokenModel, counter: int) -> _Turned:
        """Move a login on by one token; one shown too late ends it."""
        now = self._state.clock.now()
        if row.revoked_at is not None or row.expires_at <= now:
            return _Turned()
        if counter == row.counter:
            row.counter, row.rotated_at = counter + 1, now
            if not row.family.startswith(_FROM_ISSUER):  # those ask their issuer again
                row.expires_at = now + timedelta(days=self._state.settings.refresh_days)
        elif counter != row.counter - 1 or now - row.rotated_at > _REPLAY:
            row.revoked_at = now  # somebody has a copy
            return _Turned()
        return _Turned(row.user_id, row.org_id, row.family, row.counter)

    def _tokens(self, turned: _Turned) -> Tokens:
        now = int(self._state.clock.now().timestamp())
        seconds = self._state.settings.access_seconds
        claims = {
            "iss": ACCESS_RULES.issuer,
            "aud": ACCESS_RULES.audience,
            "sub": turned.user_id,
            "org": turned.org_id,
            "sid": turned.family,
            "jti": secrets.token_hex(8),
            "iat": now,
            "exp": now + seconds,
        }
        return Tokens(
            access_token=jws.sign(claims, self._access_key, kind="at+jwt"),
            expires_in=seconds,
            refresh_token=self._refresh_token(turned.family, turned.counter),
        )

    def _refresh_token(self, family: str, counter: int) -> str:
        """Return a login's n-th token: its seal is computed, so none of them is kept anywhere."""
        text = f"{family}.{counter}"
        return f"rt_{text}.{hmac.digest(self._refresh_key, text.encode(), 'sha256').hex()}"

    def _parts(self, token: str) -> tuple[str, int]:
        """Return family and number of a token of ours.

        Raises:
            NotAuthenticatedError: it is none.
        """
        family, _, rest = token.removeprefix("rt_").partition(".")
        number = rest.partition(".")[0]
        if not number.isascii() or not number.isdigit() or len(number) > 12:
            raise _not_good()
        if not hmac.compare_digest(
            token.encode("utf-8", "replace"), self._refresh_token(family, int(number)).encode()
        ):
            raise _not_good()
        return family, int(number)


def _family_start(issuer: str, session: str) -> str:
    """Return what the names of all logins of an issuer's session begin with."""
    return f"{_FROM_ISSUER}{hashlib.sha256(f'{issuer} {session}'.encode()).hexdigest()[:24]}_"


def _family_of(issuer: str, session: str | None) -> str:
    start = _family_start(issuer, session or secrets.token_hex(16))
    return start + secrets.token_hex(8)


def _not_good() -> NotAuthenticatedError:
    return NotAuthenticatedError("The refresh token is not valid: log in.", code="invalid_token")


# The first start ---------------------------------------------------------------------------------


async def prepare(database: Database, clock: Clock, *, off: bool) -> None:
    """Make what has to be there before the first request: a tenant, and who acts without login."""
    async with database.read() as work:
        repository = IdentityRepository(work)
        ready = await repository.org(DEFAULT_ORG) is not None
        ready &= not off or await repository.user(LOCAL_USER) is not None
    if ready:
        return
    async with database.write() as work:
        repository = IdentityRepository(work)
        if await repository.org(DEFAULT_ORG) is None:
            await repository.add_org(DEFAULT_ORG, "Default", clock.now())
        if off and await repository.user(LOCAL_USER) is None:
            await repository.add_local_user(LOCAL_USER, clock.now())
            await repository.set_role(DEFAULT_ORG, LOCAL_USER, "admin", clock.now())


async def first_start(database: Database, data: Path, clock: Clock, *, off: bool) -> Path | None:
    """Return where the first-start token lies, made if nobody can log in; None: somebody can.

    Raises:
        StorageError: it cannot be written.
    """
    if off:
        return None
    async with database.read() as work:
        if await IdentityRepository(work).has_logins(LOCAL_USER):
            return None
    path = token_path(data)
    _put(path, clock.now())
    return path


def token_path(data: Path) -> Path:
    """Return where the token of the first start lies."""
    return data / "first-start-token"


def _put(path: Path, now: datetime) -> None:
    """Write a new token, unless a young one is there."""
    if _is_young(path, now):
        return
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(f"{secrets.token_urlsafe(32)} {int(now.timestamp())}\n")
        fresh.replace(path)
    except OSError as failed:
        raise StorageError(f"the first-start token cannot be written: {failed.strerror}") from None


def _is_young(path: Path, now: datetime) -> bool:
    try:
        made = int(path.read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return False
    return 0 <= now.timestamp() - made < _FIRST_START.total_seconds()


def _take(data: Path, token: str, now: datetime) -> bool:
    """Whether it is the token; it is gone then."""
    path = token_path(data)
    if not _is_young(path, now):
        return False
    known = path.read_text().split()[0]
    if not hmac.compare_digest(known.encode(), token.strip().encode("utf-8", "replace")):
        return False
    try:
        path.unlink()  # of two at once, one
    except FileNotFoundError:
        return False
    return True
