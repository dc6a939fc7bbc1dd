"""The caller of a request, as a type: nothing is done for anybody else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, cast

from fastapi import Depends
from starlette.requests import HTTPConnection

from dure.service.errors import NotAuthenticatedError

__all__ = ["RANK", "Role", "Subject", "Who", "subject_of"]

Role = Literal["viewer", "user", "admin"]
RANK: dict[str, int] = {"viewer": 1, "user": 2, "admin": 3}


@dataclass(frozen=True, slots=True)
class Subject:
    """A person or a program in one tenant. Immutable.

    Attributes:
        org_id: The tenant; every query begins with it.
        user_id: The person; None: a program without one.
        key_id: The API key that was sent, if one was.
        role: What its holder may do in the tenant.
        scopes: What a key is narrowed to; empty: all that the role may.
        operator: Whether they run the whole installation.
        session: The login's family of tokens, if it is one.
        models: Models that a key may use; empty: all.
        rate: A key's own rate, like "60/minute".
    """

    org_id: str
    user_id: str | None
    key_id: str | None
    role: Role
    scopes: frozenset[str] = frozenset()
    operator: bool = False
    session: str | None = None
    models: frozenset[str] = frozenset()
    rate: str | None = None

    @property
    def actor(self) -> str:
        """Who did it, for the audit log."""
        return f"key:{self.key_id}" if self.key_id else f"user:{self.user_id}"

    @property
    def principal(self) -> str:
        """Whose rate counts: the key's, or the person's."""
        return self.actor

    def has_scope(self, scope: str | None) -> bool:
        """Whether nothing narrows it, or its scopes have this one or what stands before the `:`."""
        if scope is None or not self.scopes:
            return True
        return scope in self.scopes or scope.partition(":")[0] in self.scopes


def subject_of(connection: HTTPConnection) -> Subject:
    """Return the caller, as the gate found them.

    Raises:
        NotAuthenticatedError: nobody is logged in.
    """
    found = connection.scope.get("state", {}).get("subject")
    if found is None:
        raise NotAuthenticatedError("Send a valid key: Authorization: Bearer KEY.")
    return cast("Subject", found)


Who = Annotated[Subject, Depends(subject_of)]
