"""Answers kept in a real Redis: for other hosts, in every form, and never in a call's way."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any

import dure
import pytest
from dure import errors
from dure.aio import Cache
from dure.testing import upstream

from tests.redis_server import redis_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from dure.integrations.redis import AnswerCache

redis = pytest.importorskip("redis")
HELLO: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}
CALL = dure.Call(org="acme")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with redis_server() as url:
        yield url


@pytest.fixture
def answers(server: str, request: pytest.FixtureRequest) -> Iterator[AnswerCache]:
    from dure.integrations.redis import AnswerCache

    cache = AnswerCache(server, prefix=request.node.name, timeout=5)
    yield cache
    cache.close()


@pytest.fixture(scope="module")
def provider() -> Iterator[upstream.Upstream]:
    with upstream.start() as running:
        yield running


def host(provider: upstream.Upstream, folder: Path, answers: AnswerCache, **more: Any) -> Any:  # noqa: ANN401
    """Return a client of a host of its own: another data folder, nothing in memory."""
    folder.mkdir(parents=True, exist_ok=True)
    return dure.Client(
        base_url=provider.url,
        api_key="sk-any",
        data=folder,
        cache=Cache(ttl=60, remote=answers),
        **more,
    )


def stored(server: str, answers: AnswerCache, count: int) -> list[bytes]:
    """Wait until so many answers are there: they are kept behind the caller's back."""
    client = redis.Redis.from_url(server)
    until = time.monotonic() + 20
    while True:
        names: list[bytes] = list(client.scan_iter(match=f"{answers._prefix}:*"))
        if len(names) >= count or time.monotonic() > until:
            return names
        time.sleep(0.01)


def hosts_until(
    provider: upstream.Upstream, folder: Path, answers: AnswerCache, kept: Callable[[Any], bool]
) -> Any:  # noqa: ANN401
    """Return a new host for which `kept` holds; a look-up that took too long is no failure."""
    for number in range(20):
        client = host(provider, folder / f"host{number}", answers)
        if kept(client):
            return client
    raise AssertionError("nobody found the answer")


def is_kept(client: Any) -> bool:  # noqa: ANN401
    """Whether the first answer that a host hears was kept."""
    cached: bool = client.chat.completions.create(**HELLO, dure=CALL).dure.cached
    return cached


def test_another_host_hears_the_same(
    tmp_path: Path, server: str, provider: upstream.Upstream, answers: AnswerCache
) -> None:
    one = host(provider, tmp_path / "one", answers)
    first = one.chat.completions.create(**HELLO, dure=CALL)
    assert not first.dure.cached
    (name,) = stored(server, answers, 1)
    assert redis.Redis.from_url(server).pttl(name) <= 60_000
    heard: list[Any] = []

    def whole(client: Any) -> bool:  # noqa: ANN401
        heard.append(client.chat.completions.create(**HELLO, dure=CALL))
        cached: bool = heard[-1].dure.cached
        return cached

    other = hosts_until(provider, tmp_path, answers, whole)
    kept = heard[-1]
    assert kept.choices[0].message.content == first.choices[0].message.content
    assert (kept.dure.cost_pico, kept.dure.attempts) == (0, 0)
    assert kept.dure.saved_pico > 0

    def streamed(client: Any) -> bool:  # noqa: ANN401
        with client.chat.completions.create(**HELLO, dure=CALL, stream=True) as stream:
            text = "".join(c.choices[0].delta.content or "" for c in stream if c.choices)
        assert text == first.choices[0].message.content
        cached: bool = stream.dure.cached
        return cached

    hosts_until(provider, tmp_path / "streams", answers, streamed)
    stranger = other.chat.completions.create(**HELLO, dure=dure.Call(org="other"))
    assert not stranger.dure.cached, "the organisation is part of the name"
    other.clear_cache()
    assert list(redis.Redis.from_url(server).scan_iter(match=f"{answers._prefix}:*")) == []


def test_callers_at_once_share_a_look_up(
    tmp_path: Path, server: str, provider: upstream.Upstream, answers: AnswerCache
) -> None:
    host(provider, tmp_path / "one", answers).chat.completions.create(**HELLO, dure=CALL)
    stored(server, answers, 1)

    async def ask(client: Any) -> list[Any]:  # noqa: ANN401
        async with dure.AsyncClient.of(client.view) as shared:
            create = shared.chat.completions.create
            return list(await asyncio.gather(*(create(**HELLO, dure=CALL) for _ in range(50))))

    def together(client: Any) -> bool:  # noqa: ANN401
        got = asyncio.run(ask(client))
        assert len({one.id for one in got}) == 1
        return all(one.dure.cached for one in got)

    hosts_until(provider, tmp_path, answers, together)


def test_what_is_damaged_is_asked_for_anew(
    tmp_path: Path, server: str, provider: upstream.Upstream, answers: AnswerCache
) -> None:
    host(provider, tmp_path / "one", answers).chat.completions.create(**HELLO, dure=CALL)
    (name,) = stored(server, answers, 1)
    client = redis.Redis.from_url(server)
    value = bytearray(client.get(name))
    value[-2] ^= 1
    for number, wrong in enumerate((bytes(value), b"", b"x" * 100)):
        client.set(name, wrong)
        other = host(provider, tmp_path / f"n{number}", answers)
        assert not is_kept(other)
        until = time.monotonic() + 20
        while client.get(name) == wrong and time.monotonic() < until:
            time.sleep(0.01)  # the new answer is kept in its place
        assert client.get(name) != wrong


def test_a_server_that_is_down_or_hangs_holds_nobody_up(
    tmp_path: Path, provider: upstream.Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    from dure.integrations.redis import AnswerCache

    gone = AnswerCache(f"unix://{tmp_path}/nobody")
    client = host(provider, tmp_path / "one", gone)
    for number in range(3):
        body = {**HELLO, "seed": number}
        assert not client.chat.completions.create(**body, dure=CALL).dure.cached
        assert client.chat.completions.create(**body, dure=CALL).dure.cached, "memory keeps it"
    assert "Redis gave no answer" in caplog.text
    gone.close()
    gone.close()
    assert client.chat.completions.create(**HELLO, dure=CALL).choices, "calls go on without it"
    with pytest.raises(errors.UnavailableError):
        gone.clear()


def test_a_look_up_that_never_ends_is_not_waited_for(
    tmp_path: Path, provider: upstream.Upstream
) -> None:
    from dure._core import client as core

    class Silent:
        """Takes no job at all."""

        def __init__(self) -> None:
            self.native = core.RemoteAnswers()

        def clear(self) -> None:
            raise NotImplementedError

    silent: Any = Silent()
    client = host(provider, tmp_path / "one", silent)
    assert client.chat.completions.create(**HELLO, dure=CALL).choices
    with client.chat.completions.create(**{**HELLO, "seed": 1}, dure=CALL, stream=True) as stream:
        assert list(stream)
    assert len(silent.native.take()) == 4, "two look-ups, two answers to keep"


def test_the_child_of_a_fork_has_its_own_thread(
    tmp_path: Path, server: str, provider: upstream.Upstream, answers: AnswerCache
) -> None:
    host(provider, tmp_path / "one", answers).chat.completions.create(**HELLO, dure=CALL)
    stored(server, answers, 1)
    child = os.fork()
    if child == 0:
        try:
            hosts_until(provider, tmp_path / "child", answers, is_kept)
            os._exit(0)
        except BaseException:  # noqa: BLE001 - the child must not go on as the parent
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    hosts_until(provider, tmp_path / "parent", answers, is_kept)


def test_arguments_are_checked_and_a_password_is_not_shown() -> None:
    from dure.integrations.redis import AnswerCache

    for options in ({"url": "http://u:hidden@h"}, {"url": "redis://h", "timeout": 0}):
        with pytest.raises(errors.InvalidArgumentError) as refused:
            AnswerCache(**options)
        assert "hidden" not in str(refused.value)
    with pytest.raises(errors.InvalidArgumentError):
        Cache(remote="redis://h")  # type: ignore[arg-type]
