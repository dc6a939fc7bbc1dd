"""Who an id at the provider belongs to: all tenants share one account there.

Whoever made an object is noted when the provider names its id; for everybody else there is no such
object. What was never noted is nobody's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sqlalchemy.exc import IntegrityError

from dure.db.tables import ProviderObjectModel
from dure.errors import NotFoundError, UpstreamError
from dure.service.auth.subject import Subject
from dure.service.kit.state import State

from .repository import ProviderObjects

__all__ = ["bind", "check_body", "forget", "owned", "page", "references"]

Reference = tuple[str, str]  # kind, id

# Names under which a body points at what is kept in the account, and of what kind that is.
_NAMES = {
    "previous_response_id": "response",
    "conversation": "conversation",
    "container": "container",
    "file_id": "file",
    "file_ids": "file",
    "input_file_id": "file",
    "vector_store_id": "vector_store",
    "vector_store_ids": "vector_store",
}
_OBJECTS = {"conversation": "conversation", "prompt": "prompt"}  # {"id": ...} beneath these
_PLAIN = frozenset(("metadata", "parameters", "schema"))  # the caller's own words beneath


async def bind(state: State, who: Subject, found: Iterable[Reference]) -> None:
    """Note that objects are the caller's. Idempotent.

    Raises:
        UpstreamError: the provider gives an id that is another tenant's.
    """
    wanted = list(dict.fromkeys(found))
    if not wanted:
        return
    try:
        async with state.database.write() as work:
            for kind, ids in _by_kind(wanted).items():
                known = await ProviderObjects(work, who.org_id).of(kind, ids, None)
                work.add_all(
                    ProviderObjectModel(
                        kind=kind,
                        id=one,
                        org_id=who.org_id,
                        owner_id=_owner(who),
                        created_at=state.clock.now(),
                    )
                    for one in ids
                    if one not in known
                )
    except IntegrityError:
        raise UpstreamError(
            "the provider gave an id that belongs to somebody else", code="id_taken"
        ) from None


async def owned(state: State, who: Subject, found: Iterable[Reference]) -> None:
    """Let the caller use what is theirs; an administrator's is all of the organisation.

    Raises:
        NotFoundError: one is not; whether it exists is not told.
    """
    wanted = list(dict.fromkeys(found))
    if not wanted:
        return
    async with state.database.read() as work:
        for kind, ids in _by_kind(wanted).items():
            known = await ProviderObjects(work, who.org_id).of(kind, ids, _narrowed(who))
            for one in ids:
                if one not in known:
                    shown = kind.replace("_", " ")
                    raise NotFoundError(f"No such {shown}: {one}", argument=kind)


async def check_body(state: State, who: Subject, body: Mapping[str, Any]) -> None:
    """Check every id at the provider that a body names.

    Raises:
        NotFoundError: one is not the caller's.
    """
    await owned(state, who, references(body))


def references(value: object) -> Iterator[Reference]:
    """Give what a body points at in the provider's account, wherever in it that stands."""
    if isinstance(value, list):
        for item in value:
            if isinstance(item, dict) and set(item) == {"id"}:  # a reference's type may be left out
                yield "item", str(item["id"])
            elif isinstance(item, dict | list):
                yield from references(item)
        return
    if not isinstance(value, dict):
        return
    if value.get("type") == "item_reference":
        yield "item", str(value.get("id"))
    for name, inside in value.items():
        kind = _NAMES.get(name)
        if kind is not None and isinstance(inside, str):
            yield kind, inside
        elif kind is not None and isinstance(inside, list):
            yield from ((kind, one) for one in inside if isinstance(one, str))
        if name in _OBJECTS and isinstance(inside, dict) and isinstance(inside.get("id"), str):
            yield _OBJECTS[name], inside["id"]
        elif name not in _PLAIN and isinstance(inside, dict | list):
            yield from references(inside)


async def page(
    state: State, who: Subject, kind: str, limit: int, after: str | None, *, rising: bool
) -> tuple[list[str], bool]:
    """Return ids of the caller, by age, and whether there are more.

    Raises:
        NotFoundError: `after` is none of them.
    """
    async with state.database.read() as work:
        rows = ProviderObjects(work, who.org_id)
        start = None
        if after is not None:
            start = (await rows.of(kind, [after], _narrowed(who))).get(after)
            if start is None:
                raise NotFoundError(f"No such {kind}: {after}", argument="after")
        found = await rows.page(kind, limit, start, _narrowed(who), rising=rising)
    return [row.id for row in found[:limit]], len(found) > limit


async def forget(state: State, who: Subject, found: Iterable[Reference]) -> None:
    """Forget objects that are no more."""
    async with state.database.write() as work:
        for kind, ids in _by_kind(list(found)).items():
            await ProviderObjects(work, who.org_id).forget(kind, ids)


def _by_kind(found: list[Reference]) -> dict[str, list[str]]:
    kinds: dict[str, list[str]] = defaultdict(list)
    for kind, one in found:
        kinds[kind].append(one)
    return kinds


def _owner(who: Subject) -> str:
    return who.user_id or who.key_id or ""


def _narrowed(who: Subject) -> str | None:
    """Return whose objects the caller has; None: everybody's in the tenant."""
    return None if who.role == "admin" else _owner(who)
