"""Retrieved text in a prompt: fenced as data, with provenance, readable back.

The fence carries a key that is derived from all that it encloses and is checked to occur in none
of it, so no text can close its own fence.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Found", "Source", "open_context", "place_of", "read_context"]

_BLOCK = re.compile(
    r'<source n="(?P<n>\d+)" from="(?P<place>[^"\n]*)" key="(?P<key>[0-9a-f]{12})">\n'
    r"(?P<text>.*?)\n</source (?P=key)>",
    re.DOTALL,
)
_UNSAFE = re.compile(r'[\s"<>]+')
_QUESTION = "\n\nQuestion: "


class Found(Protocol):
    """What retrieval hands over: a `Hit`, or anything with its text, id and metadata."""

    @property
    def id(self) -> str: ...  # noqa: D102
    @property
    def text(self) -> str | None: ...  # noqa: D102
    @property
    def metadata(self) -> Mapping[str, object]: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Source:
    """One quoted text: its number in the prompt, where it is from, and what it says."""

    n: int
    place: str
    text: str

    @property
    def id(self) -> str:
        """The number, as a hit's id."""
        return str(self.n)

    @property
    def metadata(self) -> dict[str, object]:
        """Where the text is from, as a hit's metadata."""
        return {"source": self.place}


def place_of(hit: Found) -> str:
    """Return where a hit is from: its file's name and heading, else its id."""
    metadata = hit.metadata or {}
    place = str(metadata.get("source") or metadata.get("path") or hit.id)
    heading = metadata.get("heading")
    return f"{place} § {heading}" if heading else place


def open_context(question: str, sources: Sequence[Source]) -> str:
    """Return the user's turn: the sources, fenced, then the question."""
    key = _key([question, *(source.text for source in sources)])
    blocks = [
        f'<source n="{source.n}" from="{_UNSAFE.sub(" ", source.place)}" key="{key}">\n'
        f"{source.text}\n</source {key}>"
        for source in sources
    ]
    return "Context: " + "\n".join(blocks) + _QUESTION + question


def read_context(text: str) -> tuple[str, list[Source]]:
    """Read back what `open_context` wrote: the question and the sources."""
    blocks = list(_BLOCK.finditer(text))
    if not blocks:
        return text.removeprefix("Context: ").removeprefix(_QUESTION), []
    rest = text[blocks[-1].end() :]
    sources = [Source(int(b["n"]), b["place"], b["text"]) for b in blocks]
    return rest.removeprefix(_QUESTION), sources


def _key(texts: Iterable[str]) -> str:
    whole = "\0".join(texts)
    digest = hashlib.sha256(whole.encode("utf-8", "surrogatepass")).digest()
    while (key := digest.hex()[:12]) in whole:
        digest = hashlib.sha256(digest).digest()
    return key
