"""The gateway over real HTTP: openai's own client, the short forms, the error shape."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import openai
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dure.testing.upstream import Upstream

MESSAGES: list[Any] = [{"role": "user", "content": "Hello there"}]


@pytest.fixture
def client(service: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{service}/v1", api_key="any", max_retries=0) as found:
        yield found


def call(url: str, body: object = None, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    return send(url, None if body is None else json.dumps(body).encode(), **headers)


def send(url: str, data: bytes | None, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    request = urllib.request.Request(url, data, {"content-type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), dict(error.headers)


def error_of(answer: tuple[int, bytes, dict[str, str]]) -> dict[str, object]:
    found: dict[str, object] = json.loads(answer[1])["error"]
    assert set(found) >= {"message", "type", "param", "code"}
    return found


def test_openai_python_chats(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES)
    assert "no language model" in (answer.choices[0].message.content or "")
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 5
    assert answer._request_id


def test_openai_python_streams(client: openai.OpenAI, provider: Upstream) -> None:
    whole = client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES)
    before = len(provider.log())
    chunks = list(
        client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES, stream=True)
    )
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert all(chunk.choices for chunk in chunks), "usage was not asked for"
    assert provider.log()[before]["stream"] is True


def test_openai_python_gets_usage_if_it_asks(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model="gpt-4o-mini",
            messages=MESSAGES,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 5


def test_openai_python_embeds_and_lists(client: openai.OpenAI) -> None:
    made = client.embeddings.create(model="text-embedding-3-small", input=["a", "b"], dimensions=32)
    assert [len(one.embedding) for one in made.data] == [32, 32]
    names = {model.id for model in client.models.list()}
    assert {"gpt-4o-mini", "gpt-4o"} <= names
    assert client.models.retrieve("gpt-4o").id == "gpt-4o"


def test_openai_python_moderates(client: openai.OpenAI) -> None:
    judged = client.moderations.create(input=["Hello", "there"])
    assert [one.flagged for one in judged.results] == [False] * len(judged.results)
    assert judged.results
    with pytest.raises(openai.BadRequestError, match="input"):
        client.moderations.create(input="")


def test_openai_python_raises_its_own_errors(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="no-such-model", messages=MESSAGES)
    assert unknown.value.body is not None
    assert unknown.value.code == "model_not_found"
    assert "no-such-model" in unknown.value.message
    with pytest.raises(openai.NotFoundError, match="no-such-model") as nothing:
        client.embeddings.create(model="no-such-model", input="a")
    assert nothing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError, match="messages"):
        client.chat.completions.create(model="gpt-4o", messages=[])
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no-such-model")


@pytest.mark.parametrize("path", ["/chat", "/api/chat", "/api/v1/chat"])
def test_the_short_form_answers_under_every_name(service: str, path: str) -> None:
    status, body, _ = call(service + path, {"messages": MESSAGES, "max_tokens": 40})
    assert status == 200
    assert "no language model" in json.loads(body)["response"]


@pytest.mark.parametrize("path", ["/chat/stream", "/api/chat/stream", "/api/v1/chat/stream"])
def test_the_short_stream_gives_pieces(service: str, path: str) -> None:
    status, body, headers = call(service + path, {"messages": MESSAGES, "max_tokens": 40})
    assert status == 200
    assert headers["content-type"].startswith("text/event-stream")
    events = body.decode().split("\n\n")[:-1]
    assert len(events) > 3
    text = "".join(event.removeprefix("data: ") for event in events)
    whole = json.loads(call(service + "/chat", {"messages": MESSAGES, "max_tokens": 40})[1])
    assert text == whole["response"]


def test_model_system_and_history_are_taken(service: str, provider: Upstream) -> None:
    body = {
        "messages": MESSAGES,
        "model": "gpt-4o-mini",
        "system": "Be brief.",
        "history": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}],
    }
    short = len(provider.log())
    call(service + "/chat", {"messages": MESSAGES})
    assert call(service + "/chat", body)[0] == 200
    plain, rich = provider.log()[short:]
    assert (plain["model"], rich["model"]) == ("gpt-4-turbo", "gpt-4o-mini")
    assert rich["prompt_tokens"] > plain["prompt_tokens"]


def test_answers_say_who_answered_and_for_what(service: str) -> None:
    headers = call(service + "/chat", {"messages": MESSAGES})[2]
    assert headers["x-dure-model"] == "gpt-4-turbo", "DURE_CHAT_MODEL's default"
    assert float(headers["x-dure-cost-usd"]) > 0
    assert headers["x-dure-attempts"] == "1"
    body = {"messages": MESSAGES, "model": "gpt-4o-mini"}
    cheap = call(service + "/chat", body)[2]
    assert cheap["x-dure-model"] == "gpt-4o-mini"
    assert float(cheap["x-dure-cost-usd"]) < float(headers["x-dure-cost-usd"]) / 40
    assert call(service + "/chat/stream", body)[2]["x-dure-model"] == "gpt-4o-mini"
    assert call(service + "/embed", {"texts": ["a"]})[2]["x-dure-model"] == "text-embedding-ada-002"
    whole = {"model": "gpt-4o", "messages": MESSAGES}
    assert call(service + "/v1/chat/completions", whole)[2]["x-dure-model"] == "gpt-4o"


def test_the_api_pages_speak_of_the_service_alone(service: str) -> None:
    schema = call(service + "/openapi.json")[1].decode()
    assert "seed" not in schema
    assert "DURE_CHAT_MODEL" in schema


@pytest.mark.parametrize("path", ["/embed", "/api/embed", "/api/v1/embed"])
def test_embed_gives_vectors(service: str, path: str) -> None:
    status, body, _ = call(service + path, {"texts": ["소금", "iron"]})
    assert status == 200
    assert [len(vector) for vector in json.loads(body)["embeddings"]] == [1536, 1536]


def test_completions_under_the_other_name(service: str) -> None:
    status, body, _ = call(
        service + "/api/chat/completions", {"model": "gpt-4o", "messages": MESSAGES}
    )
    assert status == 200
    assert json.loads(body)["object"] == "chat.completion"


def test_models_and_tiers(service: str) -> None:
    everything = json.loads(call(service + "/api/models")[1])
    assert everything["total"] == len(everything["models"])
    same = json.loads(call(service + "/api/v1/gen-ai/models")[1])
    assert same == everything
    mini = json.loads(call(service + "/api/v1/gen-ai/models?tier=mini")[1])
    assert {model["tier"] for model in mini["models"]} == {"mini"}
    prices = {m["model_id"]: m for m in everything["models"]}["gpt-4o-mini"]
    assert (prices["input_price_per_1m"], prices["output_price_per_1m"]) == (0.15, 0.6)
    wrong = call(service + "/api/v1/gen-ai/models?tier=gold")
    assert wrong[0] == 400
    for tier in ("mini", "standard", "advanced", "premium"):
        assert tier in str(error_of(wrong)["message"])


def test_policies(service: str) -> None:
    status, body, _ = call(service + "/api/v1/gen-ai/models/StrategyBuilder")
    policy = json.loads(body)
    assert status == 200
    assert policy["service_name"] == "StrategyBuilder"
    assert policy["default_model"] == "gpt-4o-mini"
    assert "gpt-4o-mini" in [model["model_id"] for model in policy["allowed_models"]]
    unknown = call(service + "/api/v1/gen-ai/models/NoSuchService")
    assert unknown[0] == 404
    error_of(unknown)


def test_bad_bodies_have_the_error_shape(service: str) -> None:
    missing = call(service + "/chat", {"max_tokens": 3})
    assert missing[0] == 422
    assert error_of(missing)["param"] == "messages"
    assert call(service + "/chat", {"messages": MESSAGES, "modle": "x"})[0] == 422
    assert call(service + "/v1/chat/completions", ["no", "object"])[0] == 400
    assert call(service + "/v1/nothing")[0] == 404
    assert error_of(call(service + "/v1/nothing"))["code"] == "unsupported_endpoint"
    assert error_of(call(service + "/v1/images/edits", {}))["code"] == "unsupported_endpoint"
    assert call(service + "/v1/chat/completions")[0] == 405


@pytest.mark.parametrize("depth", [300, 900, 5_000, 100_000])
@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/chat/completions", "messages"),
        ("/v1/embeddings", "input"),
        ("/chat", "messages"),
        ("/chat/stream", "messages"),
        ("/embed", "texts"),
    ],
)
def test_a_deeply_nested_body_is_the_callers_mistake(
    service: str, provider: Upstream, path: str, field: str, depth: int
) -> None:
    before = len(provider.log())
    value = f'[{{"role": "user", "content": {"[" * depth + "]" * depth}}}]'
    model = '"model": "gpt-4o-mini", ' if path.startswith("/v1/") else ""
    answers = [send(service + path, f'{{{model}"{field}": {value}}}'.encode())]
    answers.append(send(service + path, b"[" * depth))
    for answer in answers:
        assert answer[0] == 400 or (answer[0] == 422 and not path.startswith("/v1/")), answer[:2]
        assert error_of(answer)["type"] == "invalid_request_error"
    assert len(provider.log()) == before, "nothing was sent"


def test_an_unknown_model_is_a_bad_argument_of_our_short_forms(service: str) -> None:
    for path, body in (("/chat", {"messages": MESSAGES}), ("/embed", {"texts": ["a"]})):
        answer = call(service + path, {**body, "model": "no-such-model"})
        assert answer[0] == 400
        assert error_of(answer)["code"] == "invalid_model"


@pytest.mark.parametrize(
    ("path", "more", "param"),
    [
        ("/v1/chat/completions", {"max_tokens": -1}, "max_tokens"),
        ("/v1/chat/completions", {"messages": ["no object"]}, "messages[0]"),
        ("/v1/chat/completions", {"extra_headers": {"authorization": "x"}}, "extra_headers"),
        ("/v1/embeddings", {"input": ""}, "input"),
        ("/v1/embeddings", {"input": "a", "timeout": 3}, "timeout"),
    ],
)
def test_param_names_what_is_wrong(
    service: str, provider: Upstream, path: str, more: dict[str, Any], param: str
) -> None:
    before = len(provider.log())
    body = {"model": "gpt-4o", "messages": MESSAGES, **more}
    answer = call(service + path, body)
    assert answer[0] == 400
    assert error_of(answer)["param"] == param
    assert len(provider.log()) == before, "nothing was sent"


def test_a_vendors_parameters_reach_the_provider(service: str, provider: Upstream) -> None:
    vendor = {"top_k": 40, "thinking": {"type": "enabled"}, "reasoning_effort": "low"}
    for more in ({}, {"stream": True}):
        body = {"model": "gpt-4o-mini", "messages": MESSAGES, **vendor, **more}
        assert call(service + "/v1/chat/completions", body)[0] == 200
        assert set(vendor) <= set(provider.log()[-1]["parameters"])
    body = {"model": "text-embedding-3-small", "input": "a", "input_type": "query"}
    assert call(service + "/v1/embeddings", body)[0] == 200
    assert "input_type" in provider.log()[-1]["parameters"]


def test_health_and_ids(service: str) -> None:
    status, body, headers = call(service + "/api/health")
    assert status == 200
    assert json.loads(body)["status"] == "ok"
    assert headers["x-request-id"].startswith("req_")


def test_api_pages_load_nothing_from_elsewhere(service: str) -> None:
    for page, library in (("/docs", "swagger-ui-bundle.js"), ("/redoc", "redoc.standalone.js")):
        status, body, headers = call(service + page)
        assert status == 200
        assert b"https://" not in body
        assert "default-src 'self'" in headers["content-security-policy"]
        assert f"/docs/assets/{library}".encode() in body
        status, script, _ = call(f"{service}/docs/assets/{library}")
        assert status == 200
        assert len(script) > 100_000
    assert call(f"{service}/docs/assets/..%2f__init__.py")[0] == 404


def test_the_schema_lists_every_route_and_its_aliases(service: str) -> None:
    paths = json.loads(call(service + "/openapi.json")[1])["paths"]
    for path in (
        "/v1/chat/completions",
        "/api/v1/chat",
        "/api/v1/health",
        "/api/v1/gen-ai/models/{service_name}",
    ):
        assert "alias" not in str(paths[path])
    for path in ("/chat", "/chat/stream", "/embed", "/api/chat/completions", "/api/health"):
        assert all(operation["tags"] == ["alias"] for operation in paths[path].values())
    ids = [op["operationId"] for path in paths.values() for op in path.values()]
    assert len(ids) == len(set(ids))


def test_the_schema_names_every_error_that_an_operation_may_answer(service: str) -> None:
    schema = json.loads(call(service + "/openapi.json")[1])
    shape = schema["components"]["schemas"]["ErrorBody"]["properties"]["error"]
    for path, method, body, status in (
        ("/api/v1/keys/{key_id}", "GET", None, "404"),
        ("/v1/chat/completions", "POST", {"model": 5}, "400"),
        ("/v1/chat/completions", "POST", {"model": "no-such", "messages": []}, "400"),
        ("/api/v1/knowledge/search", "POST", {"query": 5}, "422"),
    ):
        operation = schema["paths"][path][method.lower()]
        at = service + path.replace("{key_id}", "none")
        answered, text, _ = call(at, body)
        assert str(answered) in operation["responses"], (path, answered)
        assert str(answered) == status, (path, answered)
        error = json.loads(text)["error"]
        assert set(shape["required"]) <= set(error) <= set(shape["properties"]), error
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            assert {"400", "429", "503"} <= operation["responses"].keys(), (path, method)
    assert "ValidationError" not in str(schema)


def test_strangers_do_not_enter_without_keys(service: str) -> None:
    assert call(service + "/api/models", **{"X-Forwarded-For": "203.0.113.9"})[0] == 403
    assert call(service + "/api/models", Host="evil.example")[0] == 403
    assert call(service + "/api/models", Origin="https://evil.example")[0] == 403


def test_every_example_of_the_api_pages_can_be_sent(service: str) -> None:
    schema = json.loads(call(service + "/openapi.json")[1])
    components = schema["components"]["schemas"]
    sent = 0
    for path, operations in schema["paths"].items():
        if any(part in path for part in ("/auth/", "/admin/", "{", "/notifications/rules")):
            continue  # each is good once, for those who log in, or names what one has made before
        again = {409} if operations.get("post", {}).get("tags") == ["alias"] else set()
        content = operations.get("post", {}).get("requestBody", {}).get("content", {})
        for kind, body in content.items():
            name = body["schema"].get("$ref", "").rpartition("/")[2]
            if kind != "application/json" or not (name or "example" in body):
                continue  # a form, or it names what one has made before
            example = body.get("example") or components[name]["example"]
            assert call(service + path, example)[0] in {200, 201, 202} | again, path
            sent += 1
    assert sent >= 4
    assert schema["info"]["description"]
