"""Budgets shared, and answers kept, through Redis: `pip install "dure[redis]"`.

Example::

    fleet = dure.integrations.redis.connect(client.budgets, "redis://...", host="web-1")
    fleet.set("org:acme", limit="250.00", window="month", zone="Asia/Seoul")

    client = dure.Client(cache=dure.aio.Cache(remote=AnswerCache("redis://...")))

Redis must keep what it is told of budgets: without append-only file and replica the limit is as
safe as it is. Answers may be lost.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, cast

from dure.errors import MissingExtraError, UnavailableError
from dure.integrations._fleet import Fleet, FleetBudget

try:
    import redis
except ImportError as error:  # pragma: no cover - tested in an environment without it
    raise MissingExtraError.of("redis", "redis") from error

from dure.integrations._answers import AnswerCache

if TYPE_CHECKING:
    from dure.costs import AsyncBudgets, Budgets

__all__ = ["AnswerCache", "Fleet", "FleetBudget", "RedisLeases", "connect"]

# Lua has doubles only: amounts go to HINCRBY as text, which counts in 64 bits; of what comes back
# only the sign is looked at.
_SET_LIMIT = """
local old = redis.call('HGET', KEYS[1], 'most') or '0'
redis.call('HINCRBY', KEYS[1], 'left', ARGV[1])
redis.call('HSET', KEYS[1], 'most', ARGV[1])
if old ~= '0' then redis.call('HINCRBY', KEYS[1], 'left', '-' .. old) end
return 1"""
_LEASE = """
if redis.call('HINCRBY', KEYS[1], 'left', '-' .. ARGV[2]) < 0 then
  redis.call('HINCRBY', KEYS[1], 'left', ARGV[2])
  return 0
end
redis.call('HINCRBY', KEYS[2], ARGV[1], ARGV[2])
return 1"""
_GIVE_BACK = """
if redis.call('HINCRBY', KEYS[2], ARGV[1], '-' .. ARGV[2]) < 0 then
  redis.call('HINCRBY', KEYS[2], ARGV[1], ARGV[2])
  return 0
end
redis.call('HINCRBY', KEYS[1], 'left', ARGV[2])
return 1"""
_GRANT = """
redis.call('ZADD', KEYS[3], ARGV[3], ARGV[1] .. ':' .. ARGV[2])
redis.call('HINCRBY', KEYS[1], 'left', ARGV[2])
return 1"""
_GRANTED = """
for _, grant in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', ARGV[1])) do
  redis.call('HINCRBY', KEYS[1], 'left', '-' .. string.match(grant, ':(%d+)$'))
  redis.call('ZREM', KEYS[3], grant)
end
return redis.call('ZRANGE', KEYS[3], 0, -1)"""
_SCRIPTS = (_SET_LIMIT, _LEASE, _GIVE_BACK, _GRANT, _GRANTED)


class RedisLeases:
    """A `LeaseStore`: one script leases, one gives back."""

    def __init__(self, url: str) -> None:
        """Connect.

        Raises:
            UnavailableError: The server cannot be reached.
        """
        self._redis = redis.Redis.from_url(url, socket_timeout=10)
        self._scripts = {text: self._redis.register_script(text) for text in _SCRIPTS}
        self._try(self._redis.ping)

    def set_limit(self, key: str, limit: int) -> None:
        """Create the budget or change its limit."""
        self._run(_SET_LIMIT, key, str(limit))

    def lease(self, key: str, host: str, amount: int) -> bool:
        """Give the host `amount` more if that much is left, else nothing."""
        return self._run(_LEASE, key, host, str(amount)) == 1

    def give_back(self, key: str, host: str, amount: int) -> None:
        """Take `amount` of the host's slice back."""
        self._run(_GIVE_BACK, key, host, str(amount))

    def left(self, key: str) -> int | None:
        """Return what nobody has leased; None: there is no such budget."""
        found = self._field(key, "left")
        return None if found is None else max(0, found)

    def limit(self, key: str) -> int:
        """Return the budget's limit, without grants."""
        return self._field(key, "most") or 0

    def grant(self, key: str, amount: int, until_us: int) -> None:
        """Let `amount` more be leased until then."""
        self._run(_GRANT, key, secrets.token_hex(8), str(amount), str(until_us))

    def granted(self, key: str, now_us: int) -> int:
        """Return what is granted, after those grants that have ended were taken back."""
        grants = cast("list[bytes]", self._run(_GRANTED, key, str(now_us)))
        return sum(int(grant.rpartition(b":")[2]) for grant in grants)

    def report(self, key: str, host: str, used: int) -> int:
        """Note what the host has used; return what all have."""
        name = _names(key)[3]
        self._try(self._redis.hset, name, host, str(used))
        of_all: list[bytes] = self._try(self._redis.hvals, name)
        return sum(int(one) for one in of_all)

    def tell_once(self, key: str, percent: int) -> bool:
        """Whether the asker is the first, of all hosts, to tell this alert."""
        return bool(self._try(self._redis.hsetnx, _names(key)[0], f"alert {percent}", "told"))

    def slices(self, key: str) -> dict[str, int]:
        """Return what each host has leased."""
        found: dict[bytes, bytes] = self._try(self._redis.hgetall, _names(key)[1])
        return {host.decode(): int(amount) for host, amount in sorted(found.items())}

    def ask_back(self, key: str, amount: int) -> None:
        """Let the other hosts know that `amount` is missing."""
        self._try(self._redis.hset, _names(key)[0], "wanted", str(amount))

    def wanted(self, key: str) -> int:
        """Return what is missing somewhere."""
        return self._field(key, "wanted") or 0

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()

    def _field(self, key: str, name: str) -> int | None:
        found = self._try(self._redis.hget, _names(key)[0], name)
        return None if found is None else int(found)

    def _run(self, script: str, key: str, *values: str) -> object:
        return self._try(self._scripts[script], keys=_names(key), args=values)

    @staticmethod
    def _try(call: Any, *values: object, **named: object) -> Any:  # noqa: ANN401 - the client's own
        try:
            return call(*values, **named)
        except redis.RedisError as error:
            raise UnavailableError(
                f"Redis gave no answer ({type(error).__name__}): no more is leased until it does"
            ) from error


def _names(key: str) -> list[str]:
    """Return the budget's key and those beside it, in one slot of a cluster."""
    return [f"dure:{{{key}}}{part}" for part in ("", ":slices", ":grants", ":uses")]


def connect(
    budgets: Budgets | AsyncBudgets, url: str, *, host: str, interval: float = 0.1
) -> Fleet:
    """Share budgets with the other hosts on this Redis.

    Args:
        budgets: `client.budgets` of this host's data folder.
        url: `redis://`, `rediss://` or `unix://`.
        host: This host's name, the same after a restart.
        interval: Seconds between two looks at Redis.

    Raises:
        UnavailableError: The server cannot be reached, or another process keeps this folder.
    """
    return Fleet(budgets.account, lambda: RedisLeases(url), host=host, interval=interval)
