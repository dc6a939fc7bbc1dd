"""The answerer quotes, cites, and says what it is not."""

from __future__ import annotations

import pytest
from dure.local import ExtractiveAnswerer, pieces
from dure.prompts import Source
from dure.prompts.relevance import rank, terms
from dure.testing import documents

QUESTIONS = {
    "두레와 품앗이는 어떻게 다른가요?": ("dure.md", "일대일로"),
    "신해통공은 언제 누가 시행했나요?": ("jangsi.md", "1791"),
    "김치냉장고는 언제부터 널리 팔렸나요?": ("kimchi.md", "1995"),
    "칠정산이 중요한 까닭은 무엇인가요?": ("cheonmun.md", "한양"),
    "현대 한글 음절은 모두 몇 개인가요?": ("hangeul.md", "11,172"),
    "아랫목과 윗목은 무엇인가요?": ("ondol.md", "아랫목"),
    "전주사고의 실록을 내장산으로 옮긴 사람은 누구인가요?": ("sillok.md", "안의와 손홍록"),
    "해녀의 숨비소리는 무엇인가요?": ("haenyeo.md", "휘파람"),
}


def korean_hits() -> list[Source]:
    return [
        Source(n, path.name, path.read_text(encoding="utf-8"))
        for n, path in enumerate(documents(), 1)
    ]


@pytest.mark.parametrize("question", QUESTIONS)
def test_korean_questions_find_their_sentence(question: str) -> None:
    name, word = QUESTIONS[question]
    found = korean_hits()
    answer = ExtractiveAnswerer().answer(question, found)
    number = next(hit.n for hit in found if hit.place == name)
    first = answer.splitlines()[1]
    assert first.endswith(f"[{number}]")
    assert word in answer
    assert "언어 모델" in answer


def test_quotes_are_verbatim() -> None:
    found = korean_hits()
    whole = " ".join(" ".join(hit.text.split()) for hit in found)
    for question in QUESTIONS:
        for line in ExtractiveAnswerer().answer(question, found).splitlines()[1:]:
            assert line.removeprefix("- ").rpartition(" [")[0] in whole


def test_english_and_no_language_model() -> None:
    hits = [Source(1, "a", "Salt is mined. Iron is smelted in tall furnaces.")]
    answer = ExtractiveAnswerer().answer("Where is iron smelted?", hits)
    assert "no language model" in answer
    assert "- Iron is smelted in tall furnaces. [1]" in answer
    assert "Salt" not in answer


def test_titles_and_initials_end_no_sentence() -> None:
    text = "Ms. Kim measured the iron furnace in 1903, as J. R. Watt had asked. It glowed."
    answer = ExtractiveAnswerer().answer("Who measured the furnace?", [Source(1, "a", text)])
    assert "- Ms. Kim measured the iron furnace in 1903, as J. R. Watt had asked. [1]" in answer


def test_prose_is_quoted_before_code_and_wrapped_lines_are_one() -> None:
    text = '''def merge(*inputs):
    """Merge several sorted inputs into one sorted output, without reading all of the
    inputs at once.
    """
    merged = sorted(inputs)
    return merge(inputs, merged)'''
    answer = ExtractiveAnswerer().answer(
        "What does merge do with sorted inputs?", [Source(1, "a.py", text)]
    )
    assert answer.splitlines()[1:] == [
        "- Merge several sorted inputs into one sorted output, without reading all of the inputs "
        "at once. [1]"
    ]


def test_code_that_asks_the_question_is_not_its_answer() -> None:
    hits = [
        Source(1, "a.md", 'answer = ask("What happens to the money of a cancelled call?")'),
        Source(2, "b.md", "The money of a cancelled call is settled by what was received."),
    ]
    answer = ExtractiveAnswerer().answer("What happens to the money of a cancelled call?", hits)
    assert answer.splitlines()[1:] == [
        "- The money of a cancelled call is settled by what was received. [2]"
    ]


def test_it_says_when_there_is_nothing() -> None:
    hits = [Source(1, "a", "Salt is mined.")]
    assert "answers this" in ExtractiveAnswerer().answer("Who wrote the zebra opera?", hits)
    assert "this request has none" in ExtractiveAnswerer().answer("Who?", [])


def test_long_sentences_are_cut_at_a_word() -> None:
    hits = [Source(1, "a", "The furnace " + "glows and " * 80 + "cools.")]
    answer = ExtractiveAnswerer(max_chars=80).answer("Does the furnace glow?", hits)
    assert " … [1]" in answer
    assert max(map(len, answer.splitlines())) < 100


def test_pieces_join_to_the_text() -> None:
    for text in ("", " ", "one", " one  two\nthree \n", "두레는 마을의\n\n- 일이다. "):
        assert "".join(pieces(text)) == text


def test_terms_fold_words_and_cut_hangul() -> None:
    assert terms("The Books of heapq.merge") == ["book", "heapq", "merge"]
    assert terms("공동체는") == ["공동", "동체"]
    assert terms("두레는 무엇인가요") == ["두레"]
    assert terms("불 class") == ["불", "class"]


def test_rare_terms_weigh_more() -> None:
    passages = ["common zebra", "common horse", "common cow"]
    scores = rank("common zebra", passages)
    assert scores[0][0] > scores[1][0]
    assert scores[0][1] > 0.99
