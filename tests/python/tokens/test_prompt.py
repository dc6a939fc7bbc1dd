"""Counts of chat requests against figures that OpenAI published."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from dure import tokens
from dure.errors import InvalidArgumentError
from dure.tokens.images import ASSUMED, size_of

from tests.quality import tiktoken_oracle

if TYPE_CHECKING:
    from collections.abc import Iterator

# The example of openai-cookbook, "How to count tokens with tiktoken"; its output: 129 tokens
# counted and billed for the gpt-3.5 and gpt-4 models, 124 for the gpt-4o models.
COOKBOOK = [
    {
        "role": "system",
        "content": "You are a helpful, pattern-following assistant that translates corporate jargon into plain English.",  # noqa: E501
    },
    {
        "role": "system",
        "name": "example_user",
        "content": "New synergies will help drive top-line growth.",
    },
    {
        "role": "system",
        "name": "example_assistant",
        "content": "Things working well together will increase revenue.",
    },
    {
        "role": "system",
        "name": "example_user",
        "content": "Let's circle back when we have more bandwidth to touch base on opportunities for increased leverage.",  # noqa: E501
    },
    {
        "role": "system",
        "name": "example_assistant",
        "content": "Let's talk later when we're less busy about how to do better.",
    },
    {
        "role": "user",
        "content": "This late pivot means we don't have time to boil the ocean for the client deliverable.",  # noqa: E501
    },
]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_current_weather",
        "description": "Get the current weather in a given location",
        "parameters": {
            "type": "object",
            "properties": {
                "location": {
                    "type": "string",
                    "description": "The city and state, e.g. San Francisco, CA",
                },
                "unit": {
                    "type": "string",
                    "description": "The unit of temperature to return",
                    "enum": ["celsius", "fahrenheit"],
                },
            },
            "required": ["location"],
        },
    },
}
ASKED = [
    {
        "role": "system",
        "content": "You are a helpful assistant that can answer to questions about the weather.",
    },
    {"role": "user", "content": "What's the weather like in San Francisco?"},
]


@pytest.mark.parametrize(
    ("model", "billed"),
    [("gpt-3.5-turbo-0125", 129), ("gpt-4-0613", 129), ("gpt-4o-2024-08-06", 124)],
)
def test_messages_cost_what_the_cookbook_was_billed(model: str, billed: int) -> None:
    count = tokens.count_messages(COOKBOOK, model=model)
    assert (count.tokens, count.exact) == (billed, True)
    assert "cookbook" in count.source


@pytest.mark.parametrize(("model", "billed"), [("gpt-3.5-turbo", 105), ("gpt-4o", 101)])
def test_tools_cost_what_the_cookbook_was_billed(model: str, billed: int) -> None:
    count = tokens.count_messages(ASKED, model=model, tools=[WEATHER])
    assert (count.tokens, count.exact) == (billed, False)


def test_an_unknown_model_is_never_exact() -> None:
    count = tokens.count_messages(COOKBOOK, model="gpt-6-astra")
    assert not count.exact
    assert "no source" in count.source


def test_bad_messages_say_where() -> None:
    with pytest.raises(InvalidArgumentError, match=r"messages\[0\]\.content must be") as caught:
        tokens.count_messages([{"role": "user", "content": 5}], model="gpt-4o")
    assert caught.value.path == "messages[0].content"


@pytest.mark.parametrize(
    ("model", "image", "cost"),
    [
        ("gpt-4o", (1024, 1024, "high"), 765),
        ("gpt-4o", (2048, 4096, "high"), 1105),
        ("gpt-4o", (4096, 8192, "low"), 85),
        ("gpt-4.1-mini", (1024, 1024, "high"), 1659),
        ("gpt-4.1-mini", (1800, 2400, "high"), 2353),
        ("gpt-4o-mini", (1024, 1024, "low"), 2833),
    ],
)
def test_images_cost_what_the_guide_says(
    model: str, image: tuple[int, int, str], cost: int
) -> None:
    assert tokens.count_images([image], model=model).tokens == cost


def test_bad_images() -> None:
    with pytest.raises(InvalidArgumentError, match="detail must be"):
        tokens.count_images([(10, 10, "tiny")], model="gpt-4o")
    with pytest.raises(InvalidArgumentError, match="image side"):
        tokens.count_images([(0, 10, "low")], model="gpt-4o")


def png(width: int, height: int) -> bytes:
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))


def test_image_sizes_come_from_their_headers() -> None:
    def url(raw: bytes) -> str:
        return "data:image/any;base64," + base64.b64encode(raw).decode()

    assert size_of(url(png(640, 480))) == (640, 480)
    assert size_of(url(b"GIF89a" + struct.pack("<HH", 7, 9))) == (7, 9)
    jpeg = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc0\x00\x11\x08" + struct.pack(">HH", 33, 44) + b"\x03"
    assert size_of(url(jpeg)) == (44, 33)
    vp8x = (
        b"RIFF\0\0\0\0WEBPVP8X" + bytes(8) + (99).to_bytes(3, "little") + (49).to_bytes(3, "little")
    )
    assert size_of(url(vp8x)) == (100, 50)
    assert size_of(url(b"nonsense")) == ASSUMED
    assert size_of("https://example.com/a.png") == ASSUMED
    message = {
        "role": "user",
        "content": [
            {"type": "text", "text": "see"},
            {"type": "image_url", "image_url": {"url": url(png(1024, 1024)), "detail": "high"}},
        ],
    }
    count = tokens.count_messages([message], model="gpt-4o")
    assert (count.tokens, count.exact) == (3 + 3 + 1 + 1 + 765, False)


# gpt-oss. The figures are those of the format's own renderer (openai-harmony), asked here again.
BIG_TOOL = {
    "type": "function",
    "function": {
        "name": "search",
        "description": "Searches.\nSlowly.",
        "parameters": {
            "type": "object",
            "description": "What to look for",
            "properties": {
                "place": {"type": "string", "title": "Place", "description": "A city"},
                "words": {"type": "array", "items": {"type": "string"}, "default": ["a", "b"]},
                "unit": {"type": "string", "enum": ["km", "mi"], "default": "km"},
                "most": {"type": "integer", "default": 5, "nullable": True},
                "by": {"type": ["string", "null"], "examples": ["date", "size"]},
                "inside": {
                    "type": "object",
                    "description": "a box",
                    "properties": {"x": {"type": "number"}, "open": {"type": "boolean"}},
                    "required": ["x"],
                },
                "either": {
                    "oneOf": [{"type": "string"}, {"type": "number", "default": 3}],
                    "default": 3,
                },
                "rows": {
                    "type": "array",
                    "items": {"type": "object", "properties": {"z": {"type": "string"}}},
                },
                "any": {},
            },
            "required": ["place"],
        },
    },
}
NO_ARGUMENTS = {"type": "function", "function": {"name": "now", "description": "The time."}}
WITH_CALLS = [
    {"role": "system", "content": "한국어로 답해."},
    {"role": "user", "name": "kim", "content": "지금 몇 시?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "now", "arguments": '{"a":1}'}}
        ],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "12:30 <|end|>"},
    {"role": "assistant", "content": "열두 시 반입니다."},
    {"role": "user", "content": "고마워!"},
]


@pytest.fixture(scope="module")
def renderer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """OpenAI's renderer; it reads its vocabulary from a folder."""
    from openai_harmony import HarmonyEncodingName, load_harmony_encoding

    folder = tmp_path_factory.mktemp("harmony")
    tiktoken_oracle.fill_harmony(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_ENCODINGS_BASE", str(folder))
        yield load_harmony_encoding(HarmonyEncodingName.HARMONY_GPT_OSS)


def rendered(
    encoding: Any,  # noqa: ANN401
    messages: list[Any],
    tools: list[Any] | None,
    effort: str,
) -> int:
    """The number of ids that OpenAI's renderer gives."""
    from openai_harmony import (
        Author,
        Conversation,
        DeveloperContent,
        Message,
        ReasoningEffort,
        Role,
        SystemContent,
        ToolDescription,
    )

    system = SystemContent.new().with_reasoning_effort(ReasoningEffort(effort))
    system = system.with_conversation_start_date("2026-11-21")
    out = [Message.from_role_and_content(Role.SYSTEM, system)]
    developer = DeveloperContent.new()
    rest = messages
    if messages and messages[0]["role"] == "system":
        developer, rest = developer.with_instructions(messages[0]["content"]), messages[1:]
    functions = [one["function"] for one in tools or ()]
    if functions:
        developer = developer.with_function_tools(
            [
                ToolDescription.new(one["name"], one["description"], one.get("parameters"))
                for one in functions
            ]
        )
    if functions or rest is not messages:
        out.append(Message.from_role_and_content(Role.DEVELOPER, developer))
    for one in rest:
        if one["role"] == "tool":
            author = Author.new(Role.TOOL, "functions.now")
            made = Message.from_author_and_content(author, one["content"])
            out.append(made.with_channel("commentary").with_recipient("assistant"))
        elif one["role"] == "assistant" and "tool_calls" in one:
            arguments = one["tool_calls"][0]["function"]["arguments"]
            made = Message.from_role_and_content(Role.ASSISTANT, arguments)
            made = made.with_channel("commentary").with_recipient("functions.now")
            out.append(made.with_content_type("json"))
        elif one["role"] == "assistant":
            made = Message.from_role_and_content(Role.ASSISTANT, one["content"])
            out.append(made.with_channel("final"))
        else:
            author = Author(role=Role.USER, name=one.get("name"))
            out.append(Message.from_author_and_content(author, one["content"]))
    talk = Conversation.from_messages(out)
    return len(encoding.render_conversation_for_completion(talk, Role.ASSISTANT))


@pytest.mark.parametrize(
    ("messages", "tools"),
    [
        ([], None),
        ([{"role": "user", "content": "Hi"}], None),
        (ASKED, None),
        (WITH_CALLS, None),
        (ASKED, [WEATHER]),
        (ASKED[1:], [WEATHER, NO_ARGUMENTS]),
        (WITH_CALLS, [BIG_TOOL, NO_ARGUMENTS]),
    ],
)
def test_gpt_oss_costs_what_its_renderer_says(
    messages: list[Any],
    tools: list[Any] | None,
    renderer: Any,  # noqa: ANN401
) -> None:
    count = tokens.count_messages(messages, model="gpt-oss-20b", tools=tools)
    for effort in ("Low", "Medium", "High"):
        assert count.tokens == rendered(renderer, messages, tools, effort)
    assert count.exact is not bool(tools)
    assert "harmony" in count.source


def test_gpt_oss_is_not_exact_where_servers_differ() -> None:
    second = [*ASKED, {"role": "system", "content": "And be brief."}]
    assert not tokens.count_messages(second, model="gpt-oss-120b").exact
    thought = [*ASKED, {"role": "assistant", "content": "Sunny.", "reasoning": "Look outside."}]
    assert not tokens.count_messages(thought, model="gpt-oss-120b").exact
    tools = tokens.count_tools([WEATHER], model="gpt-oss-120b")
    both = tokens.count_messages([], model="gpt-oss-120b", tools=[WEATHER])
    assert tools.tokens == both.tokens - tokens.count_messages([], model="gpt-oss-120b").tokens
    assert not tools.exact


@pytest.mark.parametrize(
    ("message", "path"),
    [
        ({"role": "robot", "content": "x"}, r"messages\[0\]\.role"),
        ({"role": "user", "content": 5}, r"messages\[0\]\.content"),
        ({"role": "assistant", "tool_calls": [{"id": "a"}]}, r"messages\[0\]\.tool_calls\[0\]"),
        ("hello", r"messages\[0\]"),
    ],
)
def test_bad_messages_of_gpt_oss_say_where(message: Any, path: str) -> None:  # noqa: ANN401
    with pytest.raises(InvalidArgumentError, match=path):
        tokens.count_messages([message], model="gpt-oss-20b")
