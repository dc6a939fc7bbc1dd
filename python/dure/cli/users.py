"""`dure users add|operator EMAIL`: people, from the machine that holds the data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dure.errors import InvalidArgumentError, NotFoundError

from ._service import opened
from .output import print_json, say

if TYPE_CHECKING:
    import argparse

    from dure.service.kit.secret import Secret


def run(options: argparse.Namespace) -> int:
    """Run one of the two."""
    import asyncio

    facts = asyncio.run(_add(options) if options.action == "add" else _operator(options))
    if options.json:
        print_json(facts)
    else:
        say(" ".join(f"{name}={value}" for name, value in facts.items()))
    return 0


async def _add(options: argparse.Namespace) -> dict[str, object]:
    """Make a person whose password is asked for; without a terminal it is the first line."""
    from dure.service.auth.passwords import Passwords
    from dure.service.auth.repository import IdentityRepository
    from dure.service.auth.service import LOCAL_ISSUER
    from dure.service.kit.clock import SystemClock

    passwords, now = Passwords(), SystemClock().now()
    hashed = await passwords.hash(_password())
    passwords.close()
    account = options.email.lower()
    async with opened(options) as (database, secret), database.write() as work:
        repository = IdentityRepository(work)
        if await repository.org(options.org) is None:
            raise NotFoundError(f"no organisation {options.org}: make it first, or leave --org out")
        if await repository.by_identity(LOCAL_ISSUER, account) is not None:
            raise InvalidArgumentError(
                f"{options.email} can log in already", argument="email", code="already_exists"
            )
        user = await repository.add_user(
            LOCAL_ISSUER,
            account,
            now,
            email=options.email,
            name=options.email,
            password_hash=hashed,
        )
        await repository.set_role(options.org, user.id, options.role, now)
        await _tell(work, secret, options.org, "user.create", user.id)
    return {"id": user.id, "email": options.email, "role": options.role, "org": options.org}


async def _operator(options: argparse.Namespace) -> dict[str, object]:
    from dure.service.auth.repository import IdentityRepository
    from dure.service.auth.service import LOCAL_ISSUER

    async with opened(options) as (database, secret), database.write() as work:
        repository = IdentityRepository(work)
        user = await repository.by_identity(LOCAL_ISSUER, options.email.lower())
        if user is None:
            raise NotFoundError(f"nobody logs in as {options.email}: dure users add")
        user.operator = not options.off
        await _tell(work, secret, options.org, "operator.set", user.id, on=user.operator)
    return {"id": user.id, "email": options.email, "operator": user.operator}


async def _tell(work, secret: Secret, org: str, action: str, target: str, **detail: object) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    from dure.service.kit import audit
    from dure.service.kit.clock import SystemClock

    now = SystemClock().now()
    await audit.record(
        work, secret, now, org_id=org, actor="cli", action=action, target=target, **detail
    )


def _password() -> str:
    import getpass
    import sys

    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    first = getpass.getpass("password: ")
    if first != getpass.getpass("again: "):
        raise InvalidArgumentError("the two passwords differ", argument="password")
    return first
