"""Compares what a stream used, by Anthropic's SDK and by dure: python anthropic_usage.py FOLDER.

FOLDER holds what `scripts/conformance-anthropic` fetched: the package in `site`, and the sdist,
whose recorded streams are read. Both readers get the same bytes and no network.
"""

from __future__ import annotations

import json
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

OURS = Path(__file__).parents[1] / "data/anthropic"
HELLO = [{"role": "user", "content": "hi"}]


def by_sdk(stream: bytes) -> tuple[int, int] | None:
    """Return input and output tokens by the SDK; None: it takes the stream for broken."""
    anthropic: Any = import_module("anthropic")
    httpx: Any = import_module(anthropic.DefaultHttpxClient.__mro__[1].__module__.split(".")[0])

    def answer(_request: object) -> Any:  # noqa: ANN401 - of the library that the SDK uses
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=stream)

    client = anthropic.Anthropic(
        api_key="sk-any",
        max_retries=0,
        http_client=httpx.Client(transport=httpx.MockTransport(answer)),
    )
    try:
        with client.messages.stream(
            model="claude-sonnet-4-5", max_tokens=100, messages=HELLO
        ) as events:
            usage = events.get_final_message().usage
    except anthropic.APIError:
        return None
    cached = (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
    return usage.input_tokens + cached, usage.output_tokens


def by_dure(stream: bytes) -> tuple[int, int] | None:
    """Return the same by dure."""
    import dure
    from dure._testing import FakeClock, FakeRandom, FakeTransport

    clock = FakeClock()
    net = FakeTransport(clock)
    with tempfile.TemporaryDirectory() as data:
        client = dure.Client(
            base_url="http://127.0.0.1",
            dialect="anthropic_messages",
            api_key="sk-any",
            max_retries=0,
            data=data,
            transport=net,
            clock=clock,
            random=FakeRandom(1),
        )
        net.reply([stream.decode()], headers=[("content-type", "text/event-stream")])
        chunks: list[Any] = []
        try:
            with client.chat.completions.create(
                model="claude-sonnet-4-5",
                messages=HELLO,
                stream=True,
                stream_options={"include_usage": True},
            ) as events:
                chunks = list(events)
        except dure.DureError:
            return None
    usage = chunks[-1].usage
    return usage.prompt_tokens, usage.completion_tokens


def streams(folder: Path) -> dict[str, bytes]:
    """Return the recorded streams: the SDK's own and ours."""
    found = sorted(folder.glob("anthropic-*/tests/lib/streaming/fixtures/*.txt"))
    assert found, f"no streams below {folder}"
    return {path.name: path.read_bytes() for path in [*found, *sorted(OURS.glob("*.sse"))]}


def is_messages(stream: bytes) -> bool:
    """Whether it is a stream of messages: the SDK's tests have other shapes too."""
    return b"message_start" in stream or b"error" in stream


def main(folder: Path) -> int:
    """Print a line for each stream; 1 if any differs."""
    sys.path.insert(0, str(folder / "site"))  # before ours: one set of the SDK's own packages
    differ = 0
    for name, stream in streams(folder).items():
        if not is_messages(stream):
            continue
        try:
            sdk, ours = by_sdk(stream), by_dure(stream)
        except ValueError as wrong:  # tool arguments that are no JSON: only the SDK reads them
            sys.stdout.write(f"not compared  {name}: the SDK says {str(wrong)[:60]!r}\n")
            continue
        differ += sdk != ours
        verdict = "same" if sdk == ours else "DIFFERS"
        sys.stdout.write(f"{verdict}  {name}: {json.dumps([sdk, ours])}\n")
    sys.stdout.write(f"{differ} differ\n")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
