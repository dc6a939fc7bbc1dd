"""Counts of chat requests against figures that OpenAI published."""

import base64
import struct
import zlib

import pytest
from dure import tokens
from dure.errors import InvalidArgumentError
from dure.tokens.images import ASSUMED, size_of

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
