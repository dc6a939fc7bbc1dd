"""`dure keys create NAME --user EMAIL`: an API key, from the machine that holds the data.

`dure keys rewrap`: what is sealed with an older key of the installation gets the newest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dure.errors import InvalidArgumentError, NotFoundError

from ._service import opened
from .output import print_json, say

if TYPE_CHECKING:
    import argparse


def run(options: argparse.Namespace) -> int:
    """Make the key and show it, this once; or seal secrets anew."""
    import asyncio

    if options.action == "rewrap":
        counts = asyncio.run(_rewrap(options))
        if options.json:
            print_json(counts)
        else:
            say(f"{counts['rewrapped']} of {counts['sealed']} secrets sealed anew")
        return 0
    if options.name is None or options.user is None:
        raise InvalidArgumentError("say NAME and --user EMAIL", argument="name")
    facts = asyncio.run(_create(options))
    if options.json:
        print_json(facts)
    else:
        say(str(facts["key"]))
    return 0


async def _create(options: argparse.Namespace) -> dict[str, object]:
    from datetime import timedelta

    from dure.db.tables import ApiKey
    from dure.service.auth import api_keys
    from dure.service.auth.repository import IdentityRepository
    from dure.service.auth.service import LOCAL_ISSUER
    from dure.service.kit import audit
    from dure.service.kit.clock import SystemClock

    now = SystemClock().now()
    key, parts = api_keys.make()
    async with opened(options) as (database, secret), database.write() as work:
        repository = IdentityRepository(work)
        user = await repository.by_identity(LOCAL_ISSUER, options.user.lower())
        if user is None or await repository.member(options.org, user.id) is None:
            raise NotFoundError(
                f"nobody in {options.org} logs in as {options.user}: dure users add"
            )
        row = ApiKey(
            id=parts.id,
            org_id=options.org,
            owner_id=user.id,
            name=options.name,
            mac=api_keys.mac_of(parts, secret),
            service_account=False,
            role=options.role,
            scopes=[],
            models=[],
            addresses=[],
            rate=None,
            created_at=now,
            expires_at=now + timedelta(days=options.days),
            last_used_at=None,
            revoked_at=None,
        )
        work.add(row)
        await audit.record(
            work,
            secret,
            now,
            org_id=options.org,
            actor="cli",
            action="key.create",
            target=parts.id,
            name=options.name,
        )
    return {"id": parts.id, "key": key, "expires_at": row.expires_at.isoformat()}


async def _rewrap(options: argparse.Namespace) -> dict[str, int]:
    from sqlalchemy import select

    from dure.db.tables import ChannelModel, ProviderKeyModel
    from dure.service.app import envelope_of
    from dure.service.kit.envelope import Place

    from ._service import settings_of

    found = {"sealed": 0, "rewrapped": 0}
    async with opened(options) as (database, secret), database.write() as work:
        envelope = envelope_of(settings_of(options), secret)
        tables: tuple[Any, ...] = (ChannelModel, ProviderKeyModel)
        for table in tables:
            for row in await work.scalars(select(table)):
                found["sealed"] += 1
                if envelope.is_current(row.sealed):
                    continue
                place = Place(table.__tablename__, "sealed", row.org_id, row.id)
                row.sealed = envelope.rewrap(row.sealed, place)
                found["rewrapped"] += 1
    return found
