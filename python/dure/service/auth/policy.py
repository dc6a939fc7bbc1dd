"""What each route asks of its caller: declared beside it, checked before a body byte is read.

    @router.post("/documents", status_code=202)
    @requires(role="user", scope="knowledge:write", owner="org")
    async def upload(...): ...

A route without a policy keeps the app from starting.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Route

from dure.errors import InternalError
from dure.service.errors import ForbiddenError, NotAuthenticatedError

from .subject import RANK, Role, Subject

__all__ = ["Policy", "PolicyRoute", "check", "check_routes", "policy_of", "public", "requires"]

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
Owner = Literal["org", "self"]
_MARK = "__dure_policy__"


@dataclass(frozen=True, slots=True)
class Policy:
    """Who may call a route. `role` None: anybody, logged in or not."""

    role: Role | None
    scope: str | None = None
    owner: Owner | None = None  # whose rows it shows: the tenant's, or the caller's own
    operator: bool = False


def requires(
    *,
    role: Role = "viewer",
    scope: str | None = None,
    owner: Owner | None = None,
    operator: bool = False,
) -> Callable[[Endpoint], Endpoint]:
    """Declare who may call an endpoint."""

    def declare(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _MARK, Policy(role, scope, owner, operator))
        return endpoint

    return declare


def public(endpoint: Endpoint) -> Endpoint:
    """Declare that anybody may call an endpoint."""
    setattr(endpoint, _MARK, Policy(None))
    return endpoint


def policy_of(route: BaseRoute) -> Policy | None:
    """Return what a route declares."""
    found: Policy | None = getattr(getattr(route, "endpoint", None), _MARK, None)
    return found


def check(policy: Policy, subject: Subject | None) -> None:
    """Let the caller pass.

    Raises:
        NotAuthenticatedError: nobody is logged in.
        ForbiddenError: they are, and may not.
    """
    if policy.role is None:
        return
    if subject is None:
        raise NotAuthenticatedError("Send a valid key: Authorization: Bearer KEY.")
    if policy.operator and not subject.operator:
        raise ForbiddenError("This is for operators of the installation.", code="operator_only")
    if RANK[subject.role] < RANK[policy.role]:
        raise ForbiddenError(f"This needs the role {policy.role}.", code="role_too_low")
    if not subject.has_scope(policy.scope):
        raise ForbiddenError(f"This key lacks the scope {policy.scope}.", code="scope_missing")


def check_routes(routes: Iterable[BaseRoute]) -> None:
    """Check that every route declares who may call it.

    Raises:
        InternalError: one does not, or is of a kind that cannot be checked.
    """
    for route in routes:
        if not isinstance(route, PolicyRoute) or policy_of(route) is None:
            raise InternalError(f"the route {getattr(route, 'path', route)} declares no policy")


class PolicyRoute(APIRoute):
    """A route that checks its policy before it reads anything of the request."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's handler behind the check."""
        handle = super().get_route_handler()
        policy = policy_of(self)
        if policy is None:
            raise InternalError(f"the route {self.path} declares no policy: @requires or @public")

        async def checked(request: Request) -> Response:
            check(policy, request.scope.get("state", {}).get("subject"))
            return await handle(request)

        return checked


def public_paths(routes: Iterable[BaseRoute]) -> Callable[[str], bool]:
    """Return whether a path leads to a route that anybody may call."""
    known = [route for route in routes if isinstance(route, Route)]
    plain = {route.path: False for route in known if not route.param_convertors}
    plain |= {
        path: True for path in plain if any(_is_open(one) for one in known if one.path == path)
    }
    patterns = [one.path_regex for one in known if one.param_convertors and _is_open(one)]

    def is_public(path: str) -> bool:
        found = plain.get(path)
        return any(pattern.match(path) for pattern in patterns) if found is None else found

    return is_public


def _is_open(route: Route) -> bool:
    policy = policy_of(route)
    return policy is not None and policy.role is None
