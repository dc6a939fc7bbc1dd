"""Whose request it is, by address: the peer, or what a trusted proxy says of it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from starlette.types import Scope

__all__ = ["Addresses"]

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Addresses:
    """Finds the address of a client. Immutable.

    Args:
        trusted: Proxies' addresses and networks. Without any, headers count for nothing.
    """

    def __init__(self, trusted: Iterable[str]) -> None:
        self._trusted: list[_Network] = [ipaddress.ip_network(one, strict=False) for one in trusted]

    def of(self, scope: Scope) -> str:
        """Return the peer's address, or the rightmost one that no trusted proxy has."""
        client = scope.get("client")
        peer = str(client[0]) if client else ""
        if not self._trusted or not self._trusts(peer):
            return peer
        for hop in reversed(_hops(scope)):
            if not self._trusts(hop):
                return hop if _is_address(hop) else peer
            peer = hop
        return peer

    def _trusts(self, address: str) -> bool:
        try:
            known = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(known in network for network in self._trusted)


def _hops(scope: Scope) -> list[str]:
    lines = [value.decode("latin-1") for name, value in scope["headers"] if name == _FORWARDED]
    return [hop.strip() for line in lines for hop in line.split(",")]


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


_FORWARDED = b"x-forwarded-for"
