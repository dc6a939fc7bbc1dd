"""How well a sentence fits a question: BM25 over words and Hangul bigrams.

Small texts only (the few chunks of one prompt); the index has its own BM25 in the core.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["is_code", "paragraphs", "rank", "split_sentences", "terms"]

K1, B = 1.2, 0.4
_WORDS = re.compile(r"[a-z0-9]+|[\uac00-\ud7a3]+|[\u3040-\u30ff\u4e00-\u9fff]")
_BLANK_LINES = re.compile(r"\n\s*\n")
_HEADING = re.compile(r"\A# .*$|^#{2,6} .*$", re.MULTILINE)
_ASKING = re.compile("무엇|무슨|언제|어디|어느|어떤|어떻|누가|누구|얼마|왜$")
_ENDING = re.compile(
    "(?:인가|은가|한가|는가|했나|었나|았나|나|을까|ㄹ까|까)요$|(?:습니|입니|ㅂ니)까$"
)
_PARTICLE = re.compile(
    "(?<=..)(?:에서|에게|으로|부터|까지|이라|은|는|이|가|을|를|의|에|와|과|로|도)$"
)
_WRAPPED = 48  # a shorter first line was not wrapped
_COMMENT = re.compile(
    r"\A(?:[rbuRBU]?(?:\"\"\"|\'\'\')|#+ |//+ ?|/\*+ ?|\* )|(?:\"\"\"|\'\'\'|\*/)\Z"
)
_ITEM = re.compile(r"[-*+>|]|\d{1,3}[.)]\s|[A-Za-z_]\w*\s*:\s|:\w+")
_CODE_START = re.compile(
    r"(?:def|class|import|return|raise|yield|lambda|assert|elif|struct|const|static|void|public|"
    r"let|var|function)\s+\S|from \S+ import |(?:if|for|while|with|try|else|except)\b.*:\Z|@\w|"
    r">>>|\.\.\.\s|\$ |#include|[\w.\[\]\"']+ ?[-+*/|&]?= ?\S|[\w.]+\([^ ]*\)?\Z|[})\]]"
)
_CODE_END = re.compile(r"[({\[;=]\Z|\w\(.*\)[,:]?\Z|\A\S+,\Z")
_CODE_SIGNS = frozenset("()[]{}=<>_;\\|&%$@^~*/`")
_ABBREVIATED = re.compile(
    r"(?:\A|[\s(])(?:Mr|Mrs|Ms|Mx|Dr|Prof|St|Sr|Jr|Gen|Col|Sgt|Rev|Hon|No|Fig|Eq|Sec|Vol|pp?|cf|vs|"
    r"ca|approx|e\.g|i\.e|[A-Z])\.\Z"
)
_HANGUL = ("\uac00", "\ud7a3")
_STOP_WORDS = (
    "a an and are as at be by can did do does for from has have how i in is it its of on or that "
    "the this to was what when where which who why will with you your"
)
_STOP = frozenset(_STOP_WORDS.split())


def terms(text: str) -> list[str]:
    """Return the terms of a text: lower-case words without stop words; Hangul as bigrams.

    A bigram finds a Korean noun whatever particle follows it; a word of one syllable stays whole.
    Korean words that ask, and endings and particles at a word's end, are left out as far as they
    can be told without a dictionary.
    """
    found = []
    for word in _WORDS.findall(text.lower()):
        if _HANGUL[0] <= word[0] <= _HANGUL[1]:
            found += _bigrams(word)
        elif word not in _STOP:
            found.append(_singular(word))
    return found


def rank(question: str, passages: Sequence[str]) -> list[tuple[float, float]]:
    """Score passages against a question.

    Returns:
        Per passage its BM25 score and the share (0 to 1) of the question's weight that it holds.
    """
    wanted = Counter(terms(question))
    bags = [Counter(terms(passage)) for passage in passages]
    lengths = [sum(bag.values()) for bag in bags]
    mean = (sum(lengths) / len(lengths) if lengths else 0.0) or 1.0
    weight = {}
    for term in wanted:
        holders = sum(term in bag for bag in bags)
        weight[term] = math.log(1 + (len(bags) - holders + 0.5) / (holders + 0.5))
    total = sum(weight.values()) or 1.0
    scores = []
    for bag, length in zip(bags, lengths, strict=True):
        norm = K1 * (1 - B + B * length / mean)
        score = sum(weight[t] * bag[t] * (K1 + 1) / (bag[t] + norm) for t in wanted if t in bag)
        scores.append((score, sum(weight[t] for t in wanted if t in bag) / total))
    return scores


def split_sentences(text: str) -> list[str]:
    """Return the sentences of a text, in order, each with its blanks folded to one."""
    return [sentence for paragraph in paragraphs(text) for sentence in paragraph]


def paragraphs(text: str) -> list[list[str]]:
    """Return the sentences of each paragraph; Markdown headings are left out.

    Lines that were wrapped are one; a line of code stays by itself, and quotes that open or close
    a comment are dropped.
    """
    found = []
    for part in _BLANK_LINES.split(_HEADING.sub("", text)):
        sentences = [one for run in _unwrapped(part) for one in _sentences(run)]
        found.append([sentence for sentence in sentences if sentence])
    return found


def is_code(text: str) -> bool:
    """Say whether a line or a sentence reads as program text, not as prose."""
    text = text.strip()
    if _CODE_START.match(text) or _CODE_END.search(text):
        return True
    signs = sum(sign in _CODE_SIGNS for sign in text)
    return signs * 9 > len(text) - text.count(" ")


def _unwrapped(part: str) -> list[str]:
    """Return the lines of a paragraph, those of wrapped prose joined."""
    runs: list[str] = []
    joins = False
    for line in part.splitlines():
        bare = _COMMENT.sub("", line.strip()).strip()
        prose = bool(bare) and not is_code(bare)
        if joins and prose and not _ITEM.match(bare):
            runs[-1] += " " + bare
        elif bare:
            runs.append(bare)
        joins = prose and (joins or len(bare) >= _WRAPPED)
    return runs


def _sentences(run: str) -> list[str]:
    """Return the sentences of a text; a title or an initial with its full stop ends none."""
    from dure import chunks

    found: list[str] = []
    for start, end in chunks.sentences(run).tolist():
        sentence = " ".join(run[start:end].split())
        if found and sentence.startswith("** "):  # the end of bold words
            found[-1], sentence = found[-1] + "**", sentence[3:]
        if found and _ABBREVIATED.search(found[-1]):
            found[-1] += " " + sentence
        else:
            found.append(sentence)
    return found


def _bigrams(word: str) -> list[str]:
    if _ASKING.match(word):
        return []
    stem = _PARTICLE.sub("", _ENDING.sub("", word) or word)
    return [stem[i : i + 2] for i in range(len(stem) - 1)] or [stem]


def _singular(word: str) -> str:
    if len(word) > 3 and word.endswith("s") and not word.endswith("ss"):
        return word[:-1]
    return word
