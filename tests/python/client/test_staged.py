"""Answers in stages and their checks, prompts that are shortened only where it pays."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import dure
import pytest
from dure import errors, prompts

from .conftest import CHAT, HELLO

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Scripted

MESSAGES = HELLO["messages"]
STAGES = [{"model": "gpt-4o-mini", "max_tokens": 50}, {"model": "gpt-4o", "max_tokens": 90}]
CHEAP, DEAR = 8 * 150_000 + 2 * 600_000, 8 * 2_500_000 + 2 * 10_000_000


def saying(text: str, finish: str = "stop") -> dict[str, Any]:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "finish_reason": finish,
    }
    return {**CHAT, "choices": [choice]}


def bodies(scripted: Scripted) -> list[dict[str, Any]]:
    return [json.loads(request["body"]) for request in scripted.net.requests]


def staged(scripted: Scripted, check: Any, **options: Any) -> Any:  # noqa: ANN401
    given = {"messages": MESSAGES, "stages": STAGES, **options}
    return scripted.client().chat.completions.staged(check=check, **given)


def test_the_economical_answer_that_passes_is_the_only_one(scripted: Scripted) -> None:
    scripted.answer(saying("fine"))
    answer = staged(scripted, lambda text: "fine" in text)
    assert (answer.dure.stage, answer.dure.failed, answer.dure.cost_pico) == (0, [], CHEAP)
    assert [body["model"] for body in bodies(scripted)] == ["gpt-4o-mini"]


def test_the_next_stage_answers_and_all_are_counted(scripted: Scripted, tmp_path: Path) -> None:
    scripted.answer(saying("poor"))
    scripted.answer(saying("fine"))
    answer = staged(scripted, re.compile("^fine$"))
    assert answer.choices[0].message.content == "fine"
    assert (answer.dure.stage, answer.dure.attempts) == (1, 2)
    assert answer.dure.failed == ["it does not match '^fine$'"]
    assert answer.dure.cost_pico == CHEAP + DEAR == dure.verify_ledger(tmp_path).spent_pico
    assert answer.dure.model == "gpt-4o"
    assert [body["max_tokens"] for body in bodies(scripted)] == [50, 90]


def test_stages_and_kept_answers_are_rows_of_the_ledger(scripted: Scripted, tmp_path: Path) -> None:
    """The second stage shares the first one's id; an answer that was kept costs nothing."""
    from dure.usage import UsageBook

    scripted.answer(saying("poor"), headers=[("x-request-id", "req_a")])
    scripted.answer(saying("fine"))
    answer = staged(scripted, re.compile("^fine$"), dure=dure.Call(org="acme", max_attempts=3))
    scripted.answer(saying("kept"))
    client = scripted.client()
    ask = {**HELLO, "dure": dure.Call(org="acme", cache=True)}
    first, again = (client.chat.completions.create(**ask) for _ in range(2))
    assert (first.dure.cached, again.dure.cached) == (False, True)
    with UsageBook(tmp_path / "usage.db") as book:
        book.post(tmp_path)
        rows = book.rows()
        (day,) = book.totals("day", by=("org",))
    assert [row.call_id for row in rows[:2]] == [rows[0].call_id] * 2
    assert [row.flags for row in rows] == [(), ("stage",), (), ("cached",)]
    assert rows[3].call_id == again.dure.call_id
    assert (rows[3].cost_pico, rows[3].tokens, rows[3].held_pico) == (0, 0, 0)
    assert (day.calls, day.cost_pico) == (3, answer.dure.cost_pico + first.dure.cost_pico)
    assert rows[0].returned_model == "gpt-4o-mini-2024-07-18"
    assert (rows[0].request_id, rows[0].service_tier) == ("req_a", "default")
    assert rows[0].provider == "127.0.0.1"
    assert sum(line[4] for line in rows[0].lines) == rows[0].cost_pico == CHEAP


def test_an_organisation_forbids_what_nobody_can_bound(scripted: Scripted) -> None:
    client = scripted.client()
    client.budgets.set("org:acme", limit=10, window="lifetime", provider_side="forbidden")
    call = dure.Call(org="acme")
    for extra in (
        {"previous_response_id": "resp_1"},
        {"tools": [{"type": "web_search"}]},
        {"prompt": {"id": "pmpt_1"}},
    ):
        with pytest.raises(errors.InvalidArgumentError, match="forbids") as refused:
            client.responses.create(model="gpt-4o-mini", input="hi", dure=call, **extra)
        assert refused.value.http_status == 400
    assert client.budgets.read("org:acme").provider_side == "forbidden"
    assert client.budgets.read("org:acme").held == 0
    assert not scripted.net.requests
    scripted.answer(CHAT)
    client.chat.completions.create(**HELLO, dure=call)


def test_one_budget_for_all_stages(scripted: Scripted) -> None:
    scripted.answer(saying("poor"))
    with pytest.raises(errors.UpstreamError) as caught:
        staged(scripted, lambda _: False, dure=dure.Call(max_attempts=1))
    assert caught.value.code == "check_failed"
    assert len(scripted.net.requests) == 1
    scripted.answer(saying("poor"))
    with pytest.raises(errors.BudgetExceededError):
        staged(scripted, lambda _: False, dure=dure.Call(max_cost="0.0001"))
    assert len(scripted.net.requests) == 2


def test_a_cut_answer_does_not_pass_and_a_schema_is_a_check(scripted: Scripted) -> None:
    class Verdict:
        @staticmethod
        def model_validate_json(text: str) -> object:
            return json.loads(text)

    scripted.answer(saying('{"yes":', "length"))
    scripted.answer(saying('{"yes": true}'))
    answer = staged(scripted, Verdict)
    assert answer.dure.failed == ["it was cut by its token limit"]
    scripted.answer(saying("no json"))
    scripted.answer(saying("nor this"))
    with pytest.raises(errors.UpstreamError, match="it is no Verdict"):
        staged(scripted, Verdict)


def test_the_same_model_is_told_once_what_is_wrong(scripted: Scripted) -> None:
    scripted.answer(saying("In English."))
    scripted.answer(saying("마을의 어른이 적습니다."))
    again = [{"model": "gpt-4o-mini"}, {"model": "gpt-4o-mini", "tell": True}]
    answer = staged(scripted, prompts.in_language("ko"), stages=again)
    assert answer.dure.stage == 1
    first, second = (body["messages"] for body in bodies(scripted))
    assert first == MESSAGES
    assert [m["role"] for m in second] == ["user", "assistant", "user"]
    assert "language ko" in second[-1]["content"]


async def test_the_async_twin(scripted: Scripted) -> None:
    scripted.answer(saying("fine"))
    create = scripted.aclient().chat.completions.staged
    answer = await create(messages=MESSAGES, stages=STAGES, check=lambda _: None)
    assert answer.usage.prompt_tokens == 8
    with pytest.raises(errors.InvalidArgumentError):
        await create(messages=MESSAGES, stages=[], check=lambda _: None)


@pytest.mark.parametrize(
    ("language", "passes", "fails"),
    [
        ("ko", "장부는 마을의 어른이 적습니다 (OK)", "The eldest keeps the account"),
        ("ja", "長老が帳簿をつけます", "장부는 어른이 적습니다"),
        ("zh", "长老记账", "The eldest"),
        ("ru", "Старейшина ведёт книгу", "The eldest keeps it"),
        (
            "de-AT",
            "Der Älteste führt das Buch, und die anderen sehen es ein, wenn sie wollen",
            "The eldest keeps the book and the others look into it when they want",
        ),
        (
            "en",
            "The eldest keeps the book and the others look into it when they want",
            "Le plus vieux tient le livre et les autres y regardent quand ils le veulent",
        ),
    ],
)
def test_languages_are_told_apart(language: str, passes: str, fails: str) -> None:
    check = prompts.in_language(language)
    assert check(passes) is None
    assert "language" in (check(fails) or "")
    assert check("") is not None


def test_scripts_and_wrong_arguments() -> None:
    assert prompts.in_script("Hangul", share=0.2)("두레 means shared work") is not None
    assert prompts.in_script("Hangul", share=0.1)("두레 means shared work") is None
    with pytest.raises(errors.InvalidArgumentError):
        prompts.in_script("x")
    with pytest.raises(errors.InvalidArgumentError):
        prompts.in_language("xx")
    with pytest.raises(errors.InvalidArgumentError):
        prompts.in_script("latin", share=0)


# Shorter prompts


def history(turns: int) -> list[dict[str, str]]:
    out = [{"role": "system", "content": "Be brief."}]
    for turn in range(turns):
        out.append({"role": "user", "content": f"{turn}: " + "who keeps it? " * 20})
        out.append({"role": "assistant", "content": "The eldest does. " * 10})
    return [*out, {"role": "user", "content": "And who pays?"}]


def test_what_pays_for_itself_is_shortened() -> None:
    short = prompts.compress_if_cheaper(history(20), model="gpt-4o-mini", max_tokens=800)
    assert short.tokens_after <= 800 < short.tokens_before
    assert short.cost_after_pico == short.tokens_after * 150_000
    assert short.cost_before_pico == short.tokens_before * 150_000
    assert short.messages == prompts.compress(history(20), model="gpt-4o-mini", max_tokens=800)


def test_a_cached_beginning_is_not_thrown_away() -> None:
    given = history(20)
    whole = prompts.compress_if_cheaper(given, model="gpt-4o-mini", max_tokens=10**6)
    cached = whole.tokens_before - 50
    kept = prompts.compress_if_cheaper(
        given, model="gpt-4o-mini", max_tokens=whole.tokens_before - 100, cached_tokens=cached
    )
    assert kept.messages == given
    assert kept.cost_after_pico == kept.cost_before_pico == cached * 75_000 + 50 * 150_000
    with pytest.raises(errors.InvalidArgumentError):
        prompts.compress_if_cheaper(given, model="gpt-4o-mini", max_tokens=9, cached_tokens=-1)
