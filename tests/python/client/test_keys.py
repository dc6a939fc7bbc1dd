"""Keys of a provider: quotas, turns by weight, what its headers say, rotation without a restart."""

from __future__ import annotations

import asyncio
import traceback
from typing import TYPE_CHECKING, Any

import dure
import pytest
from dure import errors
from dure.aio import Key

from .conftest import HELLO

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .conftest import Scripted

FULL = [("x-ratelimit-limit-requests", "100"), ("x-ratelimit-remaining-requests", "100")]


def ask(client: dure.Client, **options: Any) -> str:  # noqa: ANN401
    key_id: str = client.chat.completions.create(**HELLO, **options).dure.key_id
    return key_id


def sent_keys(scripted: Scripted) -> list[str]:
    headers = (dict(request["headers"]) for request in scripted.net.requests)
    return [one["Authorization"].removeprefix("Bearer ") for one in headers]


def test_one_quota_sleeps_for_all_of_its_keys(scripted: Scripted) -> None:
    """A 429 to one of three deployments' keys: the others on that quota are not asked meanwhile."""
    keys = [Key("sk-a1", "a"), Key("sk-a2", "a"), Key("sk-a3", "a"), Key("sk-b", "b")]
    client = scripted.client(api_key=keys)
    scripted.answer({}, status=429, headers=[("retry-after", "30")])
    for _ in range(5):
        scripted.answer()
    for _ in range(5):
        ask(client)
    assert sent_keys(scripted) == ["sk-a1", *["sk-b"] * 5]
    states = {key.key_id: key.state for key in client.keys.list()}
    assert sorted(states.values()) == ["asleep", "asleep", "asleep", "ready"]
    scripted.clock.advance(30)
    scripted.answer()
    ask(client)
    assert sent_keys(scripted)[-1] == "sk-a2", "its turn has come"


def test_a_storm_on_one_quota_asks_once_a_hint(scripted: Scripted) -> None:
    client = scripted.client(api_key=[Key(f"sk-{n}", "shared") for n in range(3)], max_retries=0)
    scripted.answer({}, status=429, headers=[("retry-after", "300")])
    for _ in range(50):
        with pytest.raises(errors.RateLimitError) as refused:
            ask(client)
        assert refused.value.retry_after == 300
    assert len(scripted.net.requests) == 1


def test_turns_go_by_weight(scripted: Scripted) -> None:
    client = scripted.client(api_key=[Key("sk-a", weight=3), Key("sk-b")])
    for _ in range(40):
        scripted.answer()
        ask(client)
    assert sent_keys(scripted).count("sk-a") == 30


def test_a_quota_that_is_used_up_is_left_before_it_refuses(scripted: Scripted) -> None:
    client = scripted.client(api_key=["sk-a", "sk-b"])
    empty = [
        ("x-ratelimit-limit-tokens", "1000"),
        ("x-ratelimit-remaining-tokens", "0"),
        ("x-ratelimit-reset-tokens", "1m30s"),
    ]
    scripted.answer(headers=empty)
    for _ in range(3):
        scripted.answer(headers=FULL)
    for _ in range(4):
        ask(client)
    assert sent_keys(scripted) == ["sk-a", "sk-b", "sk-b", "sk-b"]
    first = client.keys.list()[0]
    assert (first.state, first.wakes_in, first.left) == ("asleep", 90.0, 0.0)


def test_more_left_goes_first_and_nonsense_is_not_believed(scripted: Scripted) -> None:
    client = scripted.client(api_key=["sk-a", "sk-b"])
    low = [("x-ratelimit-limit-requests", "100"), ("x-ratelimit-remaining-requests", "20")]
    scripted.answer(headers=low)
    for _ in range(3):
        scripted.answer(headers=FULL)
    for _ in range(4):
        ask(client)
    assert sent_keys(scripted) == ["sk-a", "sk-b", "sk-b", "sk-b"]
    other = scripted.client(api_key=["sk-c", "sk-d"])
    for said in ({"limit": "0", "remaining": "0"}, {"limit": "100", "remaining": "-1"}):
        for _ in range(2):
            headers = [(f"x-ratelimit-{name}-requests", value) for name, value in said.items()]
            scripted.answer(headers=[*headers, ("x-ratelimit-reset-requests", "60s")])
            ask(other)
    assert sent_keys(scripted)[4:] == ["sk-c", "sk-d", "sk-c", "sk-d"]


def test_anthropics_headers_say_it_too(scripted: Scripted) -> None:
    client = scripted.client(api_key=["sk-a", "sk-b"])
    said = [
        ("anthropic-ratelimit-requests-limit", "50"),
        ("anthropic-ratelimit-requests-remaining", "0"),
        ("anthropic-ratelimit-requests-reset", "2000-01-01T00:00:00Z"),  # begun anew already
    ]
    scripted.answer(headers=said)
    ask(client)
    state = client.keys.list()[0]
    assert (state.state, state.left) == ("ready", 0.0)


def test_keys_are_rotated_without_a_restart(scripted: Scripted) -> None:
    client = scripted.client(api_key="sk-old")
    other = scripted.client(api_key="sk-old")
    scripted.answer()
    old = ask(client)
    new = client.keys.add(Key("sk-new"))
    client.keys.drain(old)
    for each in (client, other):
        scripted.answer()
        assert ask(each) == new, "one endpoint: the other client rotates too"
    client.keys.remove(old)
    assert [key.state for key in client.keys.list()] == ["retired", "ready"]
    client.keys.remove(new)
    with pytest.raises(errors.UnavailableError, match="no API key is of use"):
        ask(client)
    assert client.keys.add("sk-old") == old
    scripted.answer()
    ask(client)
    assert sent_keys(scripted) == ["sk-old", "sk-new", "sk-new", "sk-old"]
    with pytest.raises(errors.NotFoundError):
        client.keys.remove("nobody")


def test_a_parked_key_is_of_use_again_once_it_is_added(scripted: Scripted) -> None:
    client = scripted.client(api_key=["sk-a", "sk-b"])
    scripted.answer({"error": {"message": "no"}}, status=401)
    scripted.answer()
    ask(client)
    assert [key.state for key in client.keys.list()] == ["parked", "ready"]
    client.keys.add("sk-a")
    assert [key.state for key in client.keys.list()] == ["ready", "ready"]


def test_keys_come_from_a_file_or_a_function(scripted: Scripted, tmp_path: Path) -> None:
    client = scripted.client(api_key=["sk-1", "sk-2"])
    path = tmp_path / "keys"
    path.write_text("# of the team\nsk-2\n\nsk-3\n")
    ids = client.keys.reload(path)
    path.unlink()
    states = {key.key_id: key.state for key in client.keys.list()}
    assert [states[one] for one in ids] == ["ready", "ready"]
    assert sorted(states.values()) == ["ready", "ready", "retired"]

    def source() -> Iterator[Key]:
        yield Key("sk-4", quota="team", weight=2)

    (only,) = client.keys.reload(source)
    scripted.answer()
    assert ask(client) == only
    assert sent_keys(scripted) == ["sk-4"]
    for wrong in (lambda: [], lambda: ["a\nb"], lambda: [3]):
        with pytest.raises(errors.InvalidArgumentError):
            client.keys.reload(wrong)  # type: ignore[arg-type]
    scripted.answer()
    assert ask(client) == only, "nothing has changed"


async def test_a_call_under_way_keeps_a_key_that_goes(scripted: Scripted) -> None:
    """And what the provider says of it is still shown without it."""
    client = scripted.aclient(api_key=["sk-going-away", "sk-b"], max_retries=0)
    call = asyncio.create_task(client.chat.completions.create(**HELLO))
    for _ in range(3):
        await asyncio.sleep(0)
    client.keys.remove(client.keys.list()[0].key_id)
    echo = {"message": "Incorrect API key provided: sk-going-away", "code": "sk-going-away"}
    scripted.answer({"error": echo}, status=400, headers=[("x-request-id", "sk-going-away")])
    scripted.net.pump()
    with pytest.raises(errors.UpstreamError) as refused:
        await call
    assert sent_keys(scripted) == ["sk-going-away"]
    error = refused.value
    shown = "".join(traceback.format_exception(error)) + str(error.to_dict())
    assert "going-away" not in shown + str(error.body) + str(error.request_id)


def test_keys_are_never_shown(scripted: Scripted) -> None:
    key = Key("sk-hidden-from-all", "team")
    client = scripted.client(api_key=key)
    for shown in (key, client.keys, client.keys.list(), client):
        assert "hidden" not in repr(shown)
    for wrong in (0, -1, True, "2", float("nan")):
        with pytest.raises(errors.InvalidArgumentError) as refused:
            Key("sk-hidden-from-all", weight=wrong)  # type: ignore[arg-type]
        assert "hidden" not in str(refused.value)
