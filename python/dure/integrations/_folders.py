"""What embedders of models in a local folder share: checks, prefixes, lengths, order."""

from __future__ import annotations

import hashlib
import threading
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

from dure.errors import FileRefusedError, InvalidArgumentError

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

_EDGE = 1 << 20  # bytes of a file's begin and end that its revision reads


class FolderEmbedder(ABC):
    """A `dure.Embedder` over a model's files. Thread-safe: one call at a time computes."""

    normalized = True
    max_batch_inputs: int | None = None
    max_batch_tokens: int | None = None

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        model_id: str | None,
        query_prefix: str,
        document_prefix: str,
        truncate: bool,
    ) -> None:
        """Private to the adapters."""
        self._lock = threading.Lock()
        self.model_id = model_id or Path(folder).resolve().name
        self.query_prefix = query_prefix
        self.document_prefix = document_prefix
        self.truncate = truncate
        self.revision = revision_of(Path(folder))

    @property
    @abstractmethod
    def dim(self) -> int:
        """Length of a vector."""

    @property
    @abstractmethod
    def max_input_tokens(self) -> int | None:
        """What the model reads of a text; it cuts off the rest in silence."""

    @abstractmethod
    def _lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, uncut, the special ones included."""

    @abstractmethod
    def _embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors of length one."""

    def embed_documents(self, texts: Sequence[str], /) -> Vectors:
        """Return float32 [n, dim], one row per text, in order.

        Raises:
            InvalidArgumentError: a text is empty, or longer than the model reads (`truncate=True`
                lets it be cut); `.path` says which.
        """
        return self._all([self.document_prefix + text for text in texts])

    def embed_query(self, text: str, /) -> Vectors:
        """Return float32 [dim]."""
        row: Vectors = self._all([self.query_prefix + text])[0]
        return row

    encode = embed_documents

    def _all(self, texts: list[str]) -> Vectors:
        import numpy as np

        if not texts:
            return np.empty((0, self.dim), np.float32)
        with self._lock:
            lengths = self._lengths(texts)
            self._check(texts, lengths)
            # Texts of like length side by side: a batch is as slow as its longest.
            order = sorted(range(len(texts)), key=lengths.__getitem__)
            made = np.empty((len(texts), self.dim), np.float32)
            made[order] = self._embed([texts[i] for i in order])
        return made

    def _check(self, texts: list[str], lengths: list[int]) -> None:
        most = self.max_input_tokens
        for index, (text, length) in enumerate(zip(texts, lengths, strict=True)):
            if not text:
                raise InvalidArgumentError(
                    f"text {index} is empty", argument="texts", path=f"texts[{index}]"
                )
            if most is not None and length > most and not self.truncate:
                raise InvalidArgumentError(
                    f"text {index} has {length} tokens, {self.model_id} reads {most} and would cut "
                    "off the rest: cut smaller chunks, or say truncate=True",
                    argument="texts",
                    path=f"texts[{index}]",
                )


def model_folder(folder: str | os.PathLike[str], *needed: str | tuple[str, ...]) -> Path:
    """Return the folder if it holds a model.

    Args:
        folder: Of the model.
        needed: Names of files; of a tuple, one is enough.

    Raises:
        FileRefusedError: it is no folder, or a file is missing; the message names it.
    """
    path = Path(folder)
    if not path.is_dir():
        raise FileRefusedError(
            f"{path} is no folder: give the folder of a model's files; nothing is downloaded",
            path=str(path),
            reason="no folder",
        )
    for one in needed:
        names = (one,) if isinstance(one, str) else one
        if not any((path / name).is_file() for name in names):
            missing = " or ".join(names)
            raise FileRefusedError(
                f"{path} holds no {missing}: give a folder with all of the model's files",
                path=str(path),
                reason=f"{missing} is missing",
            )
    return path


def revision_of(folder: Path) -> str:
    """Return what tells apart the files of one model and another: sizes, begins and ends."""
    digest = hashlib.sha256()
    for path in sorted(one for one in folder.rglob("*") if one.is_file()):
        if path.suffix in (".py", ".pyc", ".md", ".txt.lock"):
            continue
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder).as_posix()}\0{size}\0".encode())
        with path.open("rb") as file:
            digest.update(file.read(_EDGE))
            file.seek(max(0, size - _EDGE))
            digest.update(file.read(_EDGE))
    return digest.hexdigest()[:16]
