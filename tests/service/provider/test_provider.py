"""What lives in the provider's account: for those who made it, and nobody else knows of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from dure.db.tables import OrgModel, ProviderObjectModel
from dure.service.provider.service import references

from tests.service.settled import settled

if TYPE_CHECKING:
    from dure.testing.upstream import Upstream

    from tests.service.inside import Inside

LINE = {
    "custom_id": "1",
    "method": "POST",
    "url": "/v1/chat/completions",
    "body": {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]},
}
ASKED = {"model": "gpt-4o-mini", "input": "Hello there"}


async def upload(app: Inside, token: str, content: bytes = json.dumps(LINE).encode()) -> str:
    made = await app.client.post(
        "/v1/files",
        files={"file": ("in.jsonl", content, "application/jsonl")},
        data={"purpose": "batch"},
        headers={"authorization": f"Bearer {token}"},
    )
    assert made.status_code == 200, made.text
    found: str = made.json()["id"]
    return found


async def people(app: Inside) -> tuple[str, str, str]:
    admin = (await app.first())["access_token"]
    _, kim = await app.add(admin, "kim@example.com", "user")
    _, lee = await app.add(admin, "lee@example.com", "user")
    return admin, kim, lee


async def test_a_file_is_its_makers_and_the_administrators(app: Inside) -> None:
    admin, kim, lee = await people(app)
    file_id = await upload(app, kim)
    for end, method in (("", "GET"), ("/content", "GET"), ("", "DELETE")):
        foreign = await app.call(method, f"/v1/files/{file_id}{end}", key=lee)
        assert (foreign.status_code, foreign.json()["error"]["code"]) == (404, "not_found")
    got = await app.call("GET", f"/v1/files/{file_id}/content", key=kim)
    assert got.content == json.dumps(LINE).encode()
    assert got.headers["content-type"] == "application/octet-stream"
    assert (await app.call("GET", f"/v1/files/{file_id}", key=admin)).json()["id"] == file_id
    assert (await app.call("GET", "/v1/files", key=lee)).json()["data"] == []
    gone = await app.call("DELETE", f"/v1/files/{file_id}", key=kim)
    assert gone.json()["deleted"] is True
    assert (await app.call("GET", f"/v1/files/{file_id}", key=kim)).status_code == 404
    assert settled(app) == [], "files cost nothing"


async def test_lists_come_from_our_own_rows_page_by_page(app: Inside) -> None:
    admin, kim, lee = await people(app)
    mine = [await upload(app, kim) for _ in range(3)]
    await upload(app, lee)
    page = (await app.call("GET", "/v1/files?limit=2&order=asc", key=kim)).json()
    assert ([one["id"] for one in page["data"]], page["has_more"]) == (mine[:2], True)
    rest = f"/v1/files?limit=2&order=asc&after={page['last_id']}"
    page = (await app.call("GET", rest, key=kim)).json()
    assert ([one["id"] for one in page["data"]], page["has_more"]) == (mine[2:], False)
    assert len((await app.call("GET", "/v1/files", key=admin)).json()["data"]) == 4
    assert (await app.call("GET", f"/v1/files?after={mine[0]}", key=lee)).status_code == 404
    assert (await app.call("GET", "/v1/files?purpose=vision", key=kim)).json()["data"] == []
    assert (await app.call("GET", "/v1/files?limit=1000000000", key=kim)).status_code == 400


async def test_another_tenants_id_is_not_found_even_for_an_administrator(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    file_id = await upload(app, admin)
    async with app.state.database.write() as work:
        work.add(
            OrgModel(
                id="other", name="o", zone="UTC", log_content="off", created_at=app.clock.now()
            )
        )
        await work.flush()
        row = await work.get(ProviderObjectModel, ("file", file_id))
        assert row is not None
        row.org_id = "other"
    assert (await app.call("GET", f"/v1/files/{file_id}", key=admin)).status_code == 404
    assert (await app.call("GET", "/v1/files", key=admin)).json()["data"] == []


async def test_a_batch_runs_on_ones_own_file_and_its_output_is_ones_own(app: Inside) -> None:
    _, kim, lee = await people(app)
    file_id = await upload(app, kim)
    asked = {"input_file_id": file_id, "endpoint": LINE["url"], "completion_window": "24h"}
    assert (await app.call("POST", "/v1/batches", asked, lee)).status_code == 404
    made = await app.call("POST", "/v1/batches", asked, kim)
    assert made.status_code == 200, made.text
    assert made.headers["x-dure-cost-usd"] == "1.5"
    batch = made.json()
    at = f"/v1/batches/{batch['id']}"
    assert (await app.call("GET", at, key=lee)).status_code == 404
    assert (await app.call("POST", f"{at}/cancel", None, lee)).status_code == 404
    assert (await app.call("GET", at, key=kim)).json()["status"] == "completed"
    output = f"/v1/files/{batch['output_file_id']}/content"
    assert (await app.call("GET", output, key=lee)).status_code == 404
    (line,) = (await app.call("GET", output, key=kim)).text.splitlines()
    assert json.loads(line)["custom_id"] == "1"
    listed = (await app.call("GET", "/v1/batches", key=kim)).json()["data"]
    assert [one["id"] for one in listed] == [batch["id"]]
    assert (await app.call("POST", f"{at}/cancel", None, kim)).json()["status"] == "cancelling"
    assert [one["pico"] for one in settled(app)] == [1_500_000_000_000]


async def test_a_response_is_kept_for_who_asked(app: Inside, provider: Upstream) -> None:
    _, kim, lee = await people(app)
    made = await app.call("POST", "/v1/responses", ASKED, kim)
    assert made.status_code == 200, made.text
    response = made.json()
    at = f"/v1/responses/{response['id']}"
    before = len(provider.log())
    for method, end in (("GET", ""), ("GET", "/input_items"), ("DELETE", ""), ("POST", "/cancel")):
        assert (await app.call(method, at + end, None, lee)).status_code == 404
    follow = {**ASKED, "previous_response_id": response["id"]}
    assert (await app.call("POST", "/v1/responses", follow, lee)).status_code == 404
    assert len(provider.log()) == before, "the provider was not even asked"
    assert (await app.call("POST", "/v1/responses", follow, kim)).status_code == 200
    assert (await app.call("GET", at, key=kim)).json() == response
    items = (await app.call("GET", f"{at}/input_items?limit=1", key=kim)).json()["data"]
    assert [one["content"] for one in items] == [ASKED["input"]]
    assert (await app.call("DELETE", at, key=kim)).status_code == 200
    assert (await app.call("GET", at, key=kim)).status_code == 404
    usage = response["usage"]
    assert settled(app)[0]["tokens"] == usage["total_tokens"]


async def test_a_streamed_response_is_noted_before_its_id_is_told(app: Inside) -> None:
    _, kim, lee = await people(app)
    streamed = await app.call("POST", "/v1/responses", {**ASKED, "stream": True}, kim)
    assert streamed.headers["content-type"].startswith("text/event-stream")
    found = [part.split(b"\n") for part in streamed.content.split(b"\n\n") if part]
    events = [
        (one[0], json.loads(one[1].removeprefix(b"data: ")))
        for one in found
        if one[0].startswith(b"event: ")
    ]
    assert events[0][0] == b"event: response.created"
    assert events[-1][1]["type"] == "response.completed"
    response = events[-1][1]["response"]
    assert (await app.call("GET", f"/v1/responses/{response['id']}", key=lee)).status_code == 404
    assert (await app.call("GET", f"/v1/responses/{response['id']}", key=kim)).status_code == 200
    assert settled(app)[-1]["tokens"] == response["usage"]["total_tokens"]


async def test_counting_input_costs_nothing(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    counted = await app.call("POST", "/v1/responses/input_tokens", ASKED, admin)
    assert counted.json()["input_tokens"] > 0
    assert settled(app) == []


async def test_ids_in_a_chat_are_looked_at_too(app: Inside) -> None:
    _, kim, lee = await people(app)
    file_id = await upload(app, kim)
    part = {"type": "file", "file": {"file_id": file_id}}
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": [part]}]}
    foreign = await app.call("POST", "/v1/chat/completions", body, lee)
    assert (foreign.status_code, foreign.json()["error"]["code"]) == (404, "not_found")


async def test_what_is_not_served_says_so(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    for path in ("vector_stores", "threads", "fine_tuning/jobs", "uploads", "images/edits"):
        answer = await app.call("POST", f"/v1/{path}", {}, admin)
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "unsupported_endpoint"


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"previous_response_id": "r"}, [("response", "r")]),
        ({"conversation": "c"}, [("conversation", "c")]),
        ({"conversation": {"id": "c"}}, [("conversation", "c")]),
        ({"prompt": {"id": "p", "variables": {"file_id": "f"}}}, [("prompt", "p")]),
        ({"input": [{"id": "i"}]}, [("item", "i")]),
        ({"input": [{"type": "item_reference", "id": "i"}]}, [("item", "i")]),
        ({"input": [{"content": [{"type": "input_file", "file_id": "f"}]}]}, [("file", "f")]),
        ({"tools": [{"type": "file_search", "vector_store_ids": ["v", "w"]}]},
         [("vector_store", "v"), ("vector_store", "w")]),
        ({"tools": [{"container": {"type": "auto", "file_ids": ["f"]}}]}, [("file", "f")]),
        ({"tools": [{"container": "k"}]}, [("container", "k")]),
        ({"metadata": {"file_id": "f"}}, []),
        ({"tools": [{"parameters": {"properties": {"file_id": {"type": "string"}}}}]}, []),
        ({"previous_response_id": None, "conversation": None}, []),
    ],
)  # fmt: skip
def test_ids_are_found_wherever_they_stand(body: dict[str, Any], found: list[Any]) -> None:
    assert list(references(body)) == found
