"""Azure's twin: deployments in the path, a version in the query, a key in its own header."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import dure
import pytest
from dure import errors

from .conftest import CHAT, HELLO

if TYPE_CHECKING:
    from .conftest import Scripted

VECTORS = {
    "object": "list",
    "model": "text-embedding-3-small",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.5, 0.5]}],
    "usage": {"prompt_tokens": 1, "total_tokens": 1},
}


def azure(scripted: Scripted, **options: Any) -> dure.AzureClient:  # noqa: ANN401
    known = {name: value for name, value in scripted.options.items() if name != "base_url"}
    settings = {
        "azure_endpoint": "http://127.0.0.1/",
        "api_version": "2026-02-01",
        "api_key": "key-1",
    }
    return dure.AzureClient(**{**known, **settings, **options})


def headers_of(request: dict[str, Any]) -> dict[str, str]:
    return {name.lower(): value for name, value in request["headers"]}


def test_paths_query_and_key(scripted: Scripted) -> None:
    scripted.answer(CHAT)
    scripted.answer(VECTORS)
    scripted.answer({"object": "list", "data": []})
    with azure(scripted, deployments={"gpt-4o-mini": "team-mini"}) as client:
        answer = client.chat.completions.create(**HELLO)
        client.embeddings.create(model="text-embedding-3-small", input="a", encoding_format="float")
        client.models.list()
    chat, embed, models = scripted.net.requests
    root = "http://127.0.0.1/openai"
    version = "?api-version=2026-02-01"
    assert chat["url"] == f"{root}/deployments/team-mini/chat/completions{version}"
    assert embed["url"] == f"{root}/deployments/text-embedding-3-small/embeddings{version}"
    assert models["url"] == f"{root}/models{version}"
    assert headers_of(chat)["api-key"] == "key-1"
    assert "authorization" not in headers_of(chat)
    assert json.loads(chat["body"])["model"] == "gpt-4o-mini"
    assert answer.dure.model == "gpt-4o-mini"
    assert answer.dure.cost_pico > 0


def test_one_deployment_serves_all_and_streams(scripted: Scripted) -> None:
    scripted.answer(CHAT)
    with azure(scripted, azure_deployment="only") as client:
        client.chat.completions.create(**HELLO)
    assert "/deployments/only/chat/completions?" in scripted.net.requests[0]["url"]


def test_a_token_of_entra_goes_as_bearer(scripted: Scripted) -> None:
    scripted.answer(CHAT)
    with azure(scripted, api_key=None, azure_ad_token="token-of-entra") as client:
        client.chat.completions.create(**HELLO, extra_query={"a": 1})
        assert "token-of-entra" not in repr(client)
    request = scripted.net.requests[0]
    assert headers_of(request)["authorization"] == "Bearer token-of-entra"
    assert "api-key" not in headers_of(request)
    assert request["url"].endswith("/chat/completions?a=1&api-version=2026-02-01")


def test_images_go_to_their_deployment(scripted: Scripted) -> None:
    scripted.answer({"created": 1, "data": []})
    with azure(scripted, deployments={"gpt-image-1": "draw"}) as client:
        client.images.generate(model="gpt-image-1", prompt="salt", dure=dure.Call(price="0.04"))
    assert "/openai/deployments/draw/images/generations?" in scripted.net.requests[0]["url"]


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AZURE_OPENAI_ENDPOINT", "OPENAI_API_VERSION", "AZURE_OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(errors.InvalidArgumentError, match="AZURE_OPENAI_ENDPOINT"):
        dure.AzureClient(api_version="1", api_key="k")
    with pytest.raises(errors.InvalidArgumentError, match="OPENAI_API_VERSION"):
        dure.AsyncAzureClient(azure_endpoint="https://x.openai.azure.com", api_key="k")


def test_default_query_is_added_everywhere(scripted: Scripted) -> None:
    scripted.answer(CHAT)
    with scripted.client(default_query={"tag": "a b", "n": [1, 2]}) as client:
        client.chat.completions.create(**HELLO)
    assert scripted.net.requests[0]["url"].endswith("/chat/completions?tag=a+b&n=1&n=2")
