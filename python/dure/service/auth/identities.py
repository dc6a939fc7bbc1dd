"""From a credential to the caller: looked up once, kept for thirty seconds at most."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from sqlalchemy.ext.asyncio import AsyncSession

from dure.aio import HttpClient
from dure.db.tables import ApiKey, MembershipModel, UserModel
from dure.errors import NotFoundError
from dure.service.errors import ForbiddenError, NotAuthenticatedError
from dure.service.kit import audit
from dure.service.kit.state import State
from dure.service.settings import Issuer

from . import api_keys, jws, sessions
from .keysets import KeySet
from .repository import IdentityRepository
from .subject import RANK, Role, Subject

__all__ = ["ACCESS_RULES", "DEFAULT_ORG", "LOCAL_USER", "Identities", "local_subject", "rules_of"]

DEFAULT_ORG = "default"
LOCAL_USER = "usr_local"  # who acts while login is skipped
ACCESS_RULES = jws.Rules(
    issuer="dure",
    algorithm="HS256",
    audience="dure",
    types=frozenset(("at+jwt",)),
    needs_type=True,
)
_KEEP = timedelta(seconds=30)
_MOST_KEPT = 10_000
_NOBODY = "0" * 64

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class _Kept:
    subject: Subject
    until: datetime
    networks: tuple[_Network, ...] = ()


class Identities:
    """Finds the caller of a credential. Task-safe within one event loop.

    What it finds is kept under the SHA-256 of the whole credential, never past its end, so a role
    that changes and a key that is revoked count everywhere within thirty seconds.
    """

    def __init__(
        self,
        state: State,
        http: HttpClient,
        *,
        admit: Callable[[Subject], Awaitable[None]] | None = None,
        monotonic: Callable[[], float] | None = None,
    ) -> None:
        self._state, self._admit = state, admit
        clock = monotonic or asyncio.get_running_loop().time
        issuers = state.settings.issuers
        self._issuers = {one.issuer: (one, KeySet(one, http, clock)) for one in issuers}
        self._unnamed = [pair for pair in self._issuers.values() if pair[0].kind == "legacy"]
        self._fixed = [
            (hashlib.sha256(key.encode()).digest(), _fixed_subject(key))
            for key in state.settings.api_keys
        ]
        self._access_key = state.secret.key("access-tokens")
        self.seal = sessions.seal_of(state.secret)
        self._kept: dict[bytes, _Kept] = {}
        self._used: set[str] = set()

    async def of(self, credential: str, address: str) -> Subject:
        """Return the caller.

        Raises:
            NotAuthenticatedError: the credential is not good; why is not told.
            ForbiddenError: an issuer vouches for them, and they have no role here.
            UnavailableError: the issuer's keys cannot be had.
            StorageError: the database cannot be reached.
        """
        digest = hashlib.sha256(credential.encode("utf-8", "surrogateescape")).digest()
        now = self._state.clock.now()
        kept = self._kept.get(digest)
        if kept is None or kept.until <= now:
            kept = await self._found(credential, digest, now)
            if self._admit is not None:  # limits are in place before the first call
                await self._admit(kept.subject)
            self._keep(digest, kept)
        if kept.networks and not _is_inside(address, kept.networks):
            raise NotAuthenticatedError("This key is not for this address.")
        if kept.subject.key_id is not None:
            self._used.add(kept.subject.key_id)
        return kept.subject

    def forget(self) -> None:
        """Look everybody up anew; what another process changed counts at once."""
        self._kept.clear()

    async def write_used(self) -> None:
        """Write down which keys were used since the last time."""
        used, self._used = self._used, set()
        if used:
            async with self._state.database.write() as work:
                await IdentityRepository(work).used(used, self._state.clock.now())

    def _keep(self, digest: bytes, kept: _Kept) -> None:
        self._kept.pop(digest, None)
        while len(self._kept) >= _MOST_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[digest] = kept

    async def _found(self, credential: str, digest: bytes, now: datetime) -> _Kept:
        fixed = [subject for known, subject in self._fixed if hmac.compare_digest(known, digest)]
        if fixed:
            return _Kept(fixed[0], now + _KEEP)
        if credential.startswith(api_keys.PREFIX):
            return await self._by_key(credential, now)
        if jws.issuer_of(credential) == ACCESS_RULES.issuer:
            return await self._by_own_token(credential, now)
        return await self._by_issuer(credential, now)

    async def _by_key(self, credential: str, now: datetime) -> _Kept:
        parts = api_keys.parse(credential)
        if parts is None:
            raise _unknown()
        mac = api_keys.mac_of(parts, self._state.secret)
        async with self._state.database.read() as work:
            repository = IdentityRepository(work)
            row = await repository.key(parts.id)
            good = hmac.compare_digest(mac, _NOBODY if row is None else row.mac)
            if row is None or not good or row.revoked_at is not None or row.expires_at <= now:
                raise _unknown()
            holder = await repository.member(row.org_id, row.owner_id)
        if holder is None:
            raise _unknown()
        networks = tuple(ipaddress.ip_network(one, strict=False) for one in row.addresses)
        return _Kept(_subject_of_key(row, holder[1]), min(now + _KEEP, row.expires_at), networks)

    async def _by_own_token(self, token: str, now: datetime) -> _Kept:
        claims = jws.verify(token, ACCESS_RULES, lambda _kid: self._access_key, now)
        org_id, session = str(claims.get("org")), str(claims.get("sid"))
        async with self._state.database.read() as work:
            repository = IdentityRepository(work)
            login = await repository.family(session)
            holder = await repository.member(org_id, claims["sub"])
        if login is None or login.revoked_at is not None or holder is None:
            raise _unknown()
        if (login.user_id, login.org_id) != (claims["sub"], org_id):
            raise _unknown()
        return _Kept(_subject_of(holder, session), _until(claims, now))

    async def _by_issuer(self, token: str, now: datetime) -> _Kept:
        named = jws.issuer_of(token)
        if named is None and len(self._unnamed) == 1:
            issuer, keys = self._unnamed[0]
        elif named in self._issuers:
            issuer, keys = self._issuers[named]
        else:
            raise _unknown()
        claims = await _verified(token, keys, rules_of(issuer), now)
        return _Kept(await self.known(issuer, claims), _until(claims, now))

    def issuer(self, name: str) -> tuple[Issuer, KeySet]:
        """Return an issuer at whose page people may log in, and its keys.

        Raises:
            NotFoundError: there is none of that name.
        """
        for issuer, keys in self._issuers.values():
            if issuer.name == name and issuer.kind == "oidc" and issuer.client_id is not None:
                return issuer, keys
        raise NotFoundError("no such issuer")

    async def claims_of(self, name: str, token: str, rules: jws.Rules) -> dict[str, Any]:
        """Return the claims of an issuer's good token.

        Raises:
            NotAuthenticatedError: it is not good; why is not told.
            UnavailableError: the issuer's keys cannot be had.
        """
        return await _verified(token, self.issuer(name)[1], rules, self._state.clock.now())

    async def known(self, issuer: Issuer, claims: dict[str, Any]) -> Subject:
        """Return the person whom checked claims name, made or brought up to date.

        Raises:
            ForbiddenError: the issuer gives them no role here.
            NotAuthenticatedError: they are disabled here.
        """
        now = self._state.clock.now()
        role = _role_of(issuer, claims)
        if role is None:
            raise ForbiddenError(
                f"{issuer.name} gives you no role here: ask its administrator", code="no_role"
            )
        email = claims.get("email") if claims.get("email_verified") is True else None
        name = str(claims.get("name") or claims.get("preferred_username") or claims["sub"])[:255]
        async with self._state.database.read() as work:
            repository = IdentityRepository(work)
            user = await repository.by_identity(issuer.issuer, claims["sub"])
            holder = None if user is None else await repository.member(issuer.org, user.id)
        if user is not None and user.disabled_at is not None:
            raise _unknown()
        if user is None or holder is None or _differs(holder, email, name, role):
            async with self._state.database.write() as work:
                holder = await self._brought_up(work, issuer, claims["sub"], email, name, role, now)
        return _subject_of(holder, None, legacy=issuer.kind == "legacy")

    async def _brought_up(
        self,
        work: AsyncSession,
        issuer: Issuer,
        subject: str,
        email: object,
        name: str,
        role: Role,
        now: datetime,
    ) -> tuple[UserModel, MembershipModel]:
        repository = IdentityRepository(work)
        address = email if isinstance(email, str) else None
        if await repository.org(issuer.org) is None:
            await repository.add_org(issuer.org, issuer.org, now)
        user = await repository.by_identity(issuer.issuer, subject)
        if user is None:
            user = await repository.add_user(issuer.issuer, subject, now, email=address, name=name)
        user.email, user.name = address, name
        if await repository.set_role(issuer.org, user.id, role, now):
            await audit.record(
                work,
                self._state.secret,
                now,
                org_id=issuer.org,
                actor=f"issuer:{issuer.name}",
                action="role.set",
                target=user.id,
                role=role,
            )
        found = await repository.member(issuer.org, user.id)
        assert found is not None
        return found


def _fixed_subject(key: str) -> Subject:
    key_id = "env-" + hashlib.sha256(b"id:" + key.encode()).hexdigest()[:8]
    return Subject(DEFAULT_ORG, None, key_id, "user")


def _subject_of(
    holder: tuple[UserModel, MembershipModel], session: str | None, *, legacy: bool = False
) -> Subject:
    user, membership = holder
    role = cast("Role", membership.role)
    operator = user.operator and not legacy
    return Subject(membership.org_id, user.id, None, role, operator=operator, session=session)


def _subject_of_key(row: ApiKey, membership: MembershipModel) -> Subject:
    """Return the key's rights: its own, cut by what its owner may now."""
    role = min(row.role, membership.role, key=RANK.__getitem__)
    return Subject(
        row.org_id,
        None if row.service_account else row.owner_id,
        row.id,
        cast("Role", role),
        scopes=frozenset(row.scopes),
        models=frozenset(row.models),
        rate=row.rate,
    )


def local_subject() -> Subject:
    """Return who acts while login is skipped."""
    return Subject(DEFAULT_ORG, LOCAL_USER, None, "admin", operator=True)


async def _verified(token: str, keys: KeySet, rules: jws.Rules, now: datetime) -> dict[str, Any]:
    kid = jws.header_of(token).get("kid")
    await keys.prepare(kid if isinstance(kid, str) else None)
    return jws.verify(token, rules, keys.key, now)


def rules_of(issuer: Issuer) -> jws.Rules:
    """Return what an issuer's access tokens must be."""
    return jws.Rules(
        issuer=issuer.issuer,
        algorithm=issuer.algorithm,
        audience=issuer.audience,
        authorized_party=issuer.client_id,
        legacy=issuer.kind == "legacy",
    )


def _role_of(issuer: Issuer, claims: dict[str, Any]) -> Role | None:
    """Return the highest role that the claims give; ours mean themselves, unless `legacy`."""
    named: list[object] = []
    groups = [claims, claims.get("realm_access")]
    if issuer.client_id is not None and isinstance(claims.get("resource_access"), dict):
        groups.append(claims["resource_access"].get(issuer.client_id))
    for group in groups:
        if isinstance(group, dict) and isinstance(group.get("roles"), list):
            named += group["roles"]
    own = {} if issuer.kind == "legacy" else {name: name for name in RANK}
    mapped = [{**own, **issuer.roles}.get(name) for name in named if isinstance(name, str)]
    found = [role for role in mapped if role is not None]
    best = max(found, key=RANK.__getitem__) if found else issuer.default_role
    return cast("Role | None", best)


def _differs(
    holder: tuple[UserModel, MembershipModel], email: object, name: str, role: str
) -> bool:
    user, membership = holder
    return (user.email, user.name, membership.role) != (email, name, role)


def _until(claims: dict[str, Any], now: datetime) -> datetime:
    return min(now + _KEEP, datetime.fromtimestamp(float(claims["exp"]), UTC))


def _is_inside(address: str, networks: tuple[_Network, ...]) -> bool:
    try:
        known = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(known in network for network in networks)


def _unknown() -> NotAuthenticatedError:
    return NotAuthenticatedError("Send a valid key: Authorization: Bearer KEY.")
