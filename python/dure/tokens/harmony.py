"""What a request to gpt-oss costs: messages in the harmony format, counted part by part.

The format is published (openai/harmony, docs/format.md) and its renderer encodes each part of a
message apart, so the counts add up and are exact. A server writes the system message itself; here
it is the one of the format's guide: a date, and reasoning of any effort (each is one token).
"""

from __future__ import annotations

from dure.errors import InvalidArgumentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from dure.tokens.core import Encoding

SOURCE = (
    "openai/harmony, docs/format.md: the guide's system message, "
    "earlier reasoning dropped, the start of the answer included"
)
_SYSTEM = (
    "You are ChatGPT, a large language model trained by OpenAI.\n"
    "Knowledge cutoff: 2024-06\n"
    "Current date: 2025-06-28\n\n"
    "Reasoning: medium\n\n"
    "# Valid channels: analysis, commentary, final. Channel must be included for every message."
)
_CALLS = "\nCalls to these tools must go to the commentary channel: 'functions'."


class Conversation:
    """Adds up the tokens of rendered messages."""

    def __init__(self, encoding: Encoding) -> None:
        """Count in `encoding`."""
        self._count = encoding.count
        self.tokens = 0
        self.exact = True
        self._names: dict[str, str] = {}  # of tool calls, by their ids

    def add(
        self,
        role: str,
        content: str,
        *,
        to: str | None = None,
        channel: str | None = None,
        json: bool = False,
    ) -> None:
        """Add one message; its marks are one token each."""
        marks = 3 if channel is None else 4
        parts = [role, f" to={to}" if to else "", channel or "", " json" if json else "", content]
        self.tokens += marks + sum(map(self._count, parts))

    def add_chat(self, message: Mapping[str, Any], path: str) -> None:
        """Add a message as the chat API takes it."""
        role, name = message.get("role"), message.get("name")
        content = _text(message.get("content"), f"{path}.content")
        if role == "user":
            self.add("user", content)
            self.tokens += self._count(f":{name}") if name else 0
        elif role in {"system", "developer"}:
            self.add("developer", f"# Instructions\n\n{content}")
        elif role == "assistant":
            self._add_answer(message, content, path)
        elif role == "tool":
            called = self._names.get(str(message.get("tool_call_id")), name or "unknown")
            self.add(f"functions.{called}", content, to="assistant", channel="commentary")
        else:
            raise InvalidArgumentError(
                f"{path}.role must be system, developer, user, assistant or tool, not {role!r}",
                argument="messages",
                path=f"{path}.role",
            )
        self.exact &= set(message) <= {"role", "content", "name", "tool_calls", "tool_call_id"}

    def _add_answer(self, message: Mapping[str, Any], content: str, path: str) -> None:
        calls = message.get("tool_calls") or ()
        if content or not calls:
            self.add("assistant", content, channel="commentary" if calls else "final")
        for index, call in enumerate(calls):
            function = call.get("function") if isinstance(call, dict) else None
            if not isinstance(function, dict) or not isinstance(function.get("name"), str):
                place = f"{path}.tool_calls[{index}]"
                raise InvalidArgumentError(
                    f"{place} has no function name", argument="messages", path=place
                )
            self._names[str(call.get("id"))] = function["name"]
            self.add(
                "assistant",
                str(function.get("arguments", "")),
                to=f"functions.{function['name']}",
                channel="commentary",
                json=True,
            )


def count_chat(
    messages: Iterable[Mapping[str, Any]],
    encoding: Encoding,
    tools: Sequence[Mapping[str, Any]] | None = None,
) -> tuple[int, bool]:
    """Return (tokens, is that exact?) of a request, up to the start of the answer.

    Servers render tools in different ways: with tools it is an estimate, of the library's way.
    """
    talk = Conversation(encoding)
    talk.add("system", _SYSTEM + (_CALLS if tools else ""))
    listed = list(messages)
    first = listed[0].get("role") if listed and hasattr(listed[0], "get") else None
    instructed = first in {"system", "developer"}
    if tools:
        sections = [describe(tools)]
        if instructed:
            content = _text(listed[0].get("content"), "messages[0].content")
            sections.insert(0, f"# Instructions\n\n{content}")
        talk.add("developer", "\n\n".join(sections))
    for index, message in enumerate(listed):
        if not hasattr(message, "get"):
            kind, place = type(message).__name__, f"messages[{index}]"
            raise InvalidArgumentError(
                f"{place} must be a dict, not {kind}", argument="messages", path=place
            )
        if not (tools and instructed and index == 0):
            talk.add_chat(message, f"messages[{index}]")
        talk.exact &= index == 0 or message.get("role") not in {"system", "developer"}
    return talk.tokens + 1 + encoding.count("assistant"), talk.exact and not tools


def _text(content: object, path: str) -> str:
    """The text of a message's content; a list holds parts of text."""
    if isinstance(content, str):
        return content
    if content is None:
        return ""
    if isinstance(content, list) and all(
        isinstance(part, dict) and isinstance(part.get("text"), str) for part in content
    ):
        return "".join(part["text"] for part in content)
    raise InvalidArgumentError(
        f"{path} must be a string or a list of parts of text: gpt-oss reads text alone",
        argument="messages",
        path=path,
    )


def describe(tools: Sequence[Mapping[str, Any]]) -> str:
    """Return the section of a developer message that declares functions."""
    lines = ["# Tools\n", "## functions\n", "namespace functions {\n"]
    for index, tool in enumerate(tools):
        function = tool.get("function", tool)
        if not isinstance(function.get("name"), str):
            raise InvalidArgumentError(
                f"tools[{index}] has no function name", argument="tools", path=f"tools[{index}]"
            )
        lines += [f"// {line}" for line in str(function.get("description") or "").splitlines()]
        parameters = function.get("parameters")
        taken = f"_: {_type(parameters, '')}" if parameters is not None else ""
        lines.append(f"type {function['name']} = ({taken}) => any;\n")
    return "\n".join([*lines, "} // namespace functions"])


def _type(schema: Mapping[str, Any], indent: str) -> str:
    """Return a JSON schema as a TypeScript type."""
    kind = schema.get("type")
    if isinstance(kind, list):
        return " | ".join("number" if one == "integer" else str(one) for one in kind)
    if kind == "object":
        return _object(schema, indent)
    if kind == "array":
        items = schema.get("items")
        return "Array<any>" if items is None else f"{_type(items, indent)}[]"
    if kind == "string":
        words = [f'"{one}"' for one in schema.get("enum") or () if isinstance(one, str)]
        return " | ".join(words) or "string"
    if kind is None and isinstance(schema.get("oneOf"), list):
        return "\n | ".join(_type(one, indent) for one in schema["oneOf"])
    return {"number": "number", "integer": "number", "boolean": "boolean"}.get(str(kind), "any")


def _object(schema: Mapping[str, Any], indent: str) -> str:
    about = schema.get("description")
    lines = [f"{indent}// {about}\n"] if about is not None else []
    lines.append("{\n")
    required = schema.get("required") or ()
    for name, field in (schema.get("properties") or {}).items():
        lines += _comments(field, indent)
        mark = "" if name in required else "?"
        if isinstance(field.get("oneOf"), list):
            lines.append(f"{indent}{name}{mark}:\n{_variants(field, indent)}{indent},\n")
            continue
        kind = _type(field, indent + "    ")
        if field.get("nullable") is True and "null" not in kind:
            kind += " | null"
        lines.append(f"{indent}{name}{mark}: {kind},{_default(field)}\n")
    return "".join([*lines, f"{indent}}}"])


def _comments(field: Mapping[str, Any], indent: str) -> list[str]:
    """Return the lines above a property."""
    import json

    lines = []
    if field.get("title") is not None:
        lines += [f"{indent}// {field['title']}\n", f"{indent}//\n"]
    if field.get("description") is not None:
        lines.append(f"{indent}// {field['description']}\n")
    examples = field.get("examples")
    if isinstance(examples, list) and examples:
        lines.append(f"{indent}// Examples:\n")
        lines += [
            f"{indent}// - {json.dumps(one, ensure_ascii=False)}\n"
            for one in examples
            if isinstance(one, str)
        ]
    if isinstance(field.get("oneOf"), list) and "default" in field:
        lines.append(f"{indent}//{_default(field).removeprefix(' //')}\n")
    return lines


def _variants(field: Mapping[str, Any], indent: str) -> str:
    return "".join(
        f"{indent} | {_type(one, indent + '   ')}{_default(one)}\n" for one in field["oneOf"]
    )


def _default(field: Mapping[str, Any]) -> str:
    """Return the comment that names a property's default."""
    import json

    if "default" not in field:
        return ""
    value = field["default"]
    if isinstance(value, str):
        return f" // default: {value}" if "enum" in field else f' // default: "{value}"'
    return f" // default: {json.dumps(value, ensure_ascii=False, separators=(',', ':'))}"
