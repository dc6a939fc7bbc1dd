"""Plain templates: what is replaced, what is not, and what is refused."""

from __future__ import annotations

import pytest
from dure import prompts
from dure.errors import InvalidArgumentError
from hypothesis import given
from hypothesis import strategies as st


def test_variables_are_named_once_in_their_order() -> None:
    assert prompts.variables_of("{b} and {a}, {b}; { c } {} {1}") == ["b", "a"]


def test_braces_that_name_nothing_stay() -> None:
    text = 'Answer as {"topic": {topic}, "n": {}}'
    assert prompts.render(text, {"topic": "두레"}) == 'Answer as {"topic": 두레, "n": {}}'


@given(st.text(), st.text())
def test_a_value_is_never_looked_through_again(first: str, second: str) -> None:
    rendered = prompts.render("<{a}|{b}>", {"a": first + "{b}", "b": second})
    assert rendered == f"<{first}{{b}}|{second}>"


@pytest.mark.parametrize(
    ("variables", "name"),
    [({}, "a"), ({"a": "x", "z": "y"}, "z"), ({"a": None}, "a"), ({"a": ["x"]}, "a")],
)
def test_what_cannot_be_put_in_is_named(variables: dict[str, object], name: str) -> None:
    with pytest.raises(InvalidArgumentError) as wrong:
        prompts.render("Say {a}", variables)
    assert wrong.value.argument == f"variables.{name}"


def test_numbers_and_booleans_are_text() -> None:
    assert prompts.render("{n} {x} {b}", {"n": 7, "x": 1.5, "b": True}) == "7 1.5 true"
