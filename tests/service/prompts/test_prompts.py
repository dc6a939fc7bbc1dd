"""Prompt templates on both databases: versions stay, labels move and go back, text is rendered."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from dure.errors import InvalidArgumentError
from dure.service.prompts.sandbox import Sandbox

if TYPE_CHECKING:
    from tests.service.inside import Inside

AT = "/api/prompt-templates"
SUMMARY = {"name": "summary", "texts": {"*": "Sum up: {text}", "ko": "요약: {text}"}}


async def made(app: Inside, token: str, **more: Any) -> str:
    answer = await app.call("POST", AT, SUMMARY | more, token)
    assert answer.status_code == 201, answer.text
    found: str = answer.json()["id"]
    return found


async def version(app: Inside, token: str, template: str, text: str) -> int:
    answer = await app.call("POST", f"{AT}/{template}/versions", {"texts": {"*": text}}, token)
    assert answer.status_code == 201, answer.text
    found: int = answer.json()["version"]
    return found


async def rendered(app: Inside, token: str, template: str, **asked: Any) -> Any:
    return await app.call("POST", f"{AT}/{template}/render", asked, token)


async def test_a_version_never_changes_and_numbers_rise(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    one = await made(app, admin)
    assert await version(app, admin, one, "Shorter: {text} for {reader}") == 2
    first = (await app.call("GET", f"{AT}/{one}/versions/1", key=admin)).json()
    assert first["texts"] == SUMMARY["texts"]
    assert first["variables"]["required"] == ["text"]
    listed = (await app.call("GET", f"{AT}/{one}/versions?limit=1", key=admin)).json()
    assert [v["version"] for v in listed["versions"]] == [2]
    assert listed["versions"][0]["variables"]["required"] == ["reader", "text"]
    rest = await app.call("GET", f"{AT}/{one}/versions?cursor={listed['next']}", key=admin)
    assert [v["version"] for v in rest.json()["versions"]] == [1]
    assert rest.json()["next"] is None
    both = await asyncio.gather(*(version(app, admin, one, f"{n} {{text}}") for n in range(4)))
    assert sorted(both) == [3, 4, 5, 6]
    assert (await app.call("POST", AT, SUMMARY, admin)).status_code == 409


async def test_a_label_is_published_and_rolled_back_to_its_first(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    one = await made(app, admin)
    for text in ("B {text}", "C {text}"):
        await version(app, admin, one, text)
    label = f"{AT}/{one}/labels/production"
    assert (await rendered(app, admin, one, variables={"text": "x"})).json()["version"] == 3
    for number in (1, 2, 3, 3):
        moved = await app.call("PUT", label, {"version": number}, admin)
        assert (moved.status_code, moved.json()["version"]) == (200, number)
    for number in (2, 1):
        back = await app.call("POST", f"{label}/rollback", None, admin)
        assert back.json()["version"] == number
        text = (await rendered(app, admin, one, variables={"text": "x"})).json()
        assert text["version"] == number
    last = await app.call("POST", f"{label}/rollback", None, admin)
    assert (last.status_code, last.json()["error"]["code"]) == (409, "no_earlier")
    assert (await app.call("PUT", label, {"version": 9}, admin)).status_code == 404
    assert (await app.call("GET", f"{AT}/{one}", key=admin)).json()["labels"] == {"production": 1}
    actions = [
        row["action"]
        for row in (await app.call("GET", "/api/admin/audit", key=admin)).json()["rows"]
    ]
    assert actions.count("label.set") == 3
    assert actions.count("label.back") == 2
    assert (await app.call("DELETE", label, key=admin)).status_code == 204
    assert (await app.call("POST", f"{label}/rollback", None, admin)).status_code == 404
    assert (await app.call("PUT", label, {"version": 2}, admin)).status_code == 200
    again = await app.call("POST", f"{label}/rollback", None, admin)
    assert again.status_code == 409, "it began anew"


async def test_a_language_falls_back_to_its_parent_then_to_any(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    one = await made(app, admin)
    for locale, found in (("ko-KR", "ko"), ("ko", "ko"), ("pt-BR", "*"), ("*", "*")):
        answer = await rendered(app, admin, one, locale=locale, variables={"text": "두레"})
        assert answer.json()["locale"] == found, answer.text
        assert answer.json()["text"] == SUMMARY["texts"][found].replace("{text}", "두레")  # type: ignore[index]
        assert answer.json()["tokens"] > 0
    only = await made(app, admin, name="only", texts={"ko": "안녕"})
    assert (await rendered(app, admin, only, locale="ko-KP")).json()["text"] == "안녕"
    missing = await rendered(app, admin, only, locale="fr")
    assert (missing.status_code, "ko" in missing.text) == (404, True)


async def test_a_bad_template_variable_is_named(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    one = await made(app, admin)
    deep: Any = "x"
    for _ in range(40):
        deep = [deep]
    for variables, name in (
        ({}, "text"),
        ({"text": "a", "other": "b"}, "other"),
        ({"text": {"a": 1}}, "text"),
        ({"text": deep}, "text"),
    ):
        refused = await rendered(app, admin, one, variables=variables)
        assert refused.status_code == 422, refused.text
        assert refused.json()["error"]["param"] == f"variables.{name}"


async def test_jinja_is_for_administrators_and_stays_in_its_child(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    _, kim = await app.add(admin, "kim@example.com", "user")
    text = "{% for one in names %}{{ loop.index }}. {{ one }}\n{% endfor %}"
    asked = {"name": "list", "mode": "jinja", "texts": {"*": text}}
    assert (await app.call("POST", AT, asked, kim)).status_code == 403
    one = await made(app, admin, **asked)
    names = {"names": ["가", "{{ 7*7 }}"]}
    answer = await rendered(app, kim, one, variables=names)
    assert answer.json()["text"] == "1. 가\n2. {{ 7*7 }}\n", "a value is not rendered again"
    assert (await rendered(app, kim, one)).json()["error"]["param"] == "variables.names"
    broken = {"name": "broken", "mode": "jinja", "texts": {"*": "{% for %}"}}
    assert (await app.call("POST", AT, broken, admin)).status_code == 422


@pytest.mark.parametrize(
    "text",
    [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{{ 'a' * 500000000 }}",
        "{% set x = namespace(v='a' * 1000) %}{% for i in range(9999) %}{{ x.v }}{% endfor %}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ names.attribute.of_nothing }}",
    ],
)
async def test_a_template_that_loops_or_grows_or_breaks_out_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match="template") as refused:
        await Sandbox().render(text, {"names": {}})
    assert refused.value.http_status == 422
    assert "uid=" not in str(refused.value)


async def test_templates_of_others_are_not_there_and_not_ones_own_are_not_changed(
    app: Inside,
) -> None:
    admin = (await app.first())["access_token"]
    _, kim = await app.add(admin, "kim@example.com", "user")
    _, lee = await app.add(admin, "lee@example.com", "user")
    one = await made(app, kim)
    assert (await app.call("GET", f"{AT}/{one}", key=lee)).status_code == 200
    change = {"description": "mine"}
    assert (await app.call("PATCH", f"{AT}/{one}", change, lee)).status_code == 403
    assert (await app.call("PATCH", f"{AT}/{one}", change, kim)).json()["description"] == "mine"
    assert (await app.call("PATCH", f"{AT}/{one}", {"org_id": "x"}, kim)).status_code == 422
    other = {"id": "other", "name": "Other"}
    assert (await app.call("POST", "/api/admin/orgs", other, admin)).status_code == 201
    from dure.db.tables import PromptTemplateModel, PromptVersionModel

    async with app.state.database.write() as work:
        now = app.state.clock.now()
        work.add(
            PromptTemplateModel(id="tpl_foreign", org_id="other", owner_id="u", name="f",
                                kind="text", description="", latest=1, created_at=now)
        )  # fmt: skip
        await work.flush()
        work.add(
            PromptVersionModel(template_id="tpl_foreign", version=1, locale="*", org_id="other",
                               text="secret", variables=[], mode="plain", parameters={},
                               created_by="u", created_at=now)
        )  # fmt: skip
    for method, path, body in (
        ("GET", "", None),
        ("GET", "/versions", None),
        ("GET", "/versions/1", None),
        ("POST", "/render", {}),
        ("PUT", "/labels/production", {"version": 1}),
        ("DELETE", "", None),
        ("GET", "/evaluations", None),
    ):
        answer = await app.call(method, f"{AT}/tpl_foreign{path}", body, admin)
        assert answer.status_code == 404, (method, path, answer.text)
    assert "foreign" not in (await app.call("GET", AT, key=admin)).text
    assert (await app.call("DELETE", f"{AT}/{one}", key=kim)).status_code == 204
    assert (await app.call("GET", f"{AT}/{one}", key=kim)).status_code == 404


async def test_lists_ask_the_database_as_often_for_many_as_for_one(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    counts, have = set(), 0
    template = ""
    for many in (1, 10, 100):
        for n in range(have, many):
            template = await made(app, admin, name=f"t{n:03}")
            await app.call("POST", "/api/prompt-datasets",
                           {"name": f"d{n:03}", "items": [{}]}, admin)  # fmt: skip
        have = many
        row = []
        for path in (f"{AT}?limit=100", "/api/prompt-datasets?limit=100",
                     f"{AT}/{template}/versions?limit=100"):  # fmt: skip
            await app.call("GET", path, key=admin)  # whoever asks is known now
            with app.statements() as statements:
                assert (await app.call("GET", path, key=admin)).status_code == 200
            row.append(len([s for s in statements if s.startswith("SELECT")]))
            assert row[-1] > 0
        counts.add(tuple(row))
    assert len(counts) == 1, counts


DATA = {
    "name": "letters",
    "items": [
        {"variables": {"text": "Dear all"}, "expected": "no such answer"},
        {"variables": {"text": "두레"}, "expected": "두레"},
        {"variables": {"wrong": "x"}},
    ],
}


async def scored(app: Inside, token: str, template: str, **asked: Any) -> Any:
    """Start an evaluation and wait for its end."""
    begun = await app.call("POST", f"{AT}/{template}/evaluations", asked, token)
    assert begun.status_code == 202, begun.text
    at = f"{AT}/{template}/evaluations/{begun.json()['id']}"
    for _ in range(300):
        found = (await app.call("GET", at, key=token)).json()
        if found["state"] != "running":
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(found)


async def test_versions_are_scored_on_a_data_set_with_cost_and_time(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    one = await made(app, admin)
    await version(app, admin, one, "Again: {text}")
    dataset = (await app.call("POST", "/api/prompt-datasets", DATA, admin)).json()
    assert dataset["count"] == 3
    found = await scored(
        app, admin, one, dataset_id=dataset["id"], versions=[1, 2], model="gpt-4o-mini",
        scorers=[
            {"kind": "exact"}, {"kind": "contains"}, {"kind": "regex", "pattern": "."},
            {"kind": "schema", "schema": {"type": "object"}},
            {"kind": "judge", "model": "gpt-4o-mini", "rubric": "Is it polite?"},
        ],
        max_cost_usd="0.5",
    )  # fmt: skip
    assert (found["state"], found["done"], found["total"]) == ("completed", 6, 6)
    for each in found["versions"]:
        assert (each["items"], each["errors"]) == (3, 1), "one item lacks its variable"
        assert each["scores"]["exact"] == 0
        assert each["scores"]["regex"] == 1
        assert each["scores"]["schema"] == 0
        assert each["cost_pico"] > 0
        assert each["mean_seconds"] > 0
    assert found["cost_pico"] == sum(each["cost_pico"] for each in found["versions"])
    at = f"{AT}/{one}/evaluations/{found['id']}/scores"
    first = (await app.call("GET", f"{at}?limit=4", key=admin)).json()
    rest = (await app.call("GET", f"{at}?cursor={first['next']}", key=admin)).json()
    scores = first["scores"] + rest["scores"]
    assert [(s["version"], s["item"]) for s in scores] == [(v, i) for v in (1, 2) for i in range(3)]
    assert sum(s["cost_pico"] for s in scores) == found["cost_pico"]
    assert "wrong" in next(s["error"] for s in scores if s["item"] == 2) or "text" in next(
        s["error"] for s in scores if s["item"] == 2
    )
    truth = await app.state.client.budgets.read(f"tag:default/{found['id']}")
    assert Decimal(truth.used).scaleb(12) == found["cost_pico"], "the core counted the same"
    gone = await app.call("DELETE", f"/api/prompt-datasets/{dataset['id']}", key=admin)
    assert (gone.status_code, gone.json()["error"]["code"]) == (409, "in_use")
    assert (await app.call("DELETE", f"{AT}/{one}", key=admin)).status_code == 204
    gone = await app.call("DELETE", f"/api/prompt-datasets/{dataset['id']}", key=admin)
    assert gone.status_code == 204


async def test_an_evaluation_spends_no_more_than_its_cap(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    one = await made(app, admin)
    items = [{"variables": {"text": f"item {n}"}} for n in range(40)]
    dataset = (
        await app.call("POST", "/api/prompt-datasets", {"name": "many", "items": items}, admin)
    ).json()
    cap = "0.0005"
    found = await scored(
        app, admin, one, dataset_id=dataset["id"], versions=[1], model="gpt-4o",
        scorers=[{"kind": "regex", "pattern": "."}], max_tokens=20, max_cost_usd=cap,
    )  # fmt: skip
    assert found["state"] == "capped", found
    assert 0 < found["cost_pico"] <= 500_000_000
    assert found["done"] == 40
    assert found["versions"][0]["errors"] > 0


async def test_evaluations_that_cannot_be_are_refused(app: Inside) -> None:
    admin = (await app.first())["access_token"]
    one = await made(app, admin)
    await app.call("POST", f"{AT}/{one}/versions", {"texts": {"ko": "{text}"}}, admin)
    dataset = (await app.call("POST", "/api/prompt-datasets", DATA, admin)).json()
    body = {
        "dataset_id": dataset["id"],
        "versions": [1],
        "model": "gpt-4o-mini",
        "scorers": [{"kind": "exact"}],
    }
    cases: list[tuple[dict[str, Any], int]] = [
        ({"versions": [9]}, 404),
        ({"dataset_id": "dst_nobody"}, 404),
        ({"model": ""}, 422),
        ({"scorers": []}, 422),
        ({"scorers": [{"kind": "eval", "code": "1"}]}, 422),
        ({"scorers": [{"kind": "schema", "schema": {"$ref": "#/x"}}]}, 422),
        ({"max_cost_usd": "1e9"}, 422),
        ({"locale": "fr", "versions": [2]}, 404),
    ]
    for asked, status in cases:
        answer = await app.call("POST", f"{AT}/{one}/evaluations", body | asked, admin)
        assert answer.status_code == status, (asked, answer.text)


async def test_a_pattern_that_takes_for_ever_ends_and_harms_nobody() -> None:
    with pytest.raises(InvalidArgumentError, match="time"):
        await Sandbox().search(r"^(a+)+$", ["a" * 40 + "b"])
    assert await Sandbox().search("b.d", ["abcd", "x"]) == [True, False]


@pytest.mark.parametrize(
    ("shape", "good", "bad"),
    [
        ({"type": "object", "required": ["a"]}, '{"a": 1}', "{}"),
        ({"properties": {"a": {"type": "integer"}}}, '{"a": 2}', '{"a": true}'),
        ({"type": "array", "items": {"type": "string"}, "maxItems": 2}, '["x"]', '["a","b","c"]'),
        ({"enum": ["x", "y"]}, '"y"', '"z"'),
        ({"type": "object", "additionalProperties": False}, "{}", '{"b": 1}'),
        ({"type": ["string", "null"], "minLength": 2}, "null", '"a"'),
        ({"type": "number", "minimum": 0, "maximum": 1}, "0.5", "2"),
    ],
)
def test_a_schema_is_looked_at(shape: dict[str, Any], good: str, bad: str) -> None:
    from dure.service.prompts.schemas import Schema
    from dure.service.prompts.scoring import check_shape, plain_score

    check_shape(shape)
    scorer = Schema(kind="schema", schema=shape)
    assert plain_score(scorer, good, None) == 1
    assert plain_score(scorer, bad, None) == 0
    assert plain_score(scorer, "not json", None) == 0


@pytest.mark.parametrize(
    ("reply", "grade"), [("7", 0.7), (" 10. ", 1.0), ("0", 0.0), ("11", None), ("seven", None)]
)
def test_a_grade_is_read_or_there_is_none(reply: str, grade: float | None) -> None:
    from dure.service.prompts.scoring import judged

    assert judged(reply) == grade
