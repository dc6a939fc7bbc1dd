"""Models of `sentence-transformers` in a local folder, as `dure.Embedder`.

Extra `sentence-transformers`. Nothing is downloaded, and no code of the model is run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dure.errors import MissingExtraError
from dure.integrations._folders import FolderEmbedder, model_folder

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from dure.integrations._folders import Vectors

__all__ = ["SentenceTransformerEmbedder"]

_LONGEST = 1_000_000_000  # what tokenizers say if they know no limit is above it


class SentenceTransformerEmbedder(FolderEmbedder):
    """Turns texts into vectors by a model in a folder, for example all-MiniLM-L6-v2.

    Thread-safe: one call at a time computes.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        model_id: str | None = None,
        query_prefix: str = "",
        document_prefix: str = "",
        truncate: bool = False,
        device: str | None = "cpu",
        batch_size: int = 32,
    ) -> None:
        """Load the model.

        Args:
            folder: With `config.json`, `tokenizer.json` or `vocab.txt`, and the weights.
            model_id: How collections name it; None: the folder's name.
            query_prefix: Before each question, where the model was trained so (E5: `"query: "`).
            document_prefix: Before each document (E5: `"passage: "`).
            truncate: Let the model cut off what it does not read, instead of refusing the text.
            device: PyTorch's; None: it chooses.
            batch_size: Texts computed at once.

        Raises:
            FileRefusedError: no such folder, or a file is missing.
            MissingExtraError: sentence-transformers is not installed.
        """
        path = model_folder(
            folder,
            "config.json",
            ("tokenizer.json", "vocab.txt", "sentencepiece.bpe.model", "tokenizer_config.json"),
            ("model.safetensors", "pytorch_model.bin", "model.safetensors.index.json"),
        )
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as missing:
            raise MissingExtraError.of(
                "sentence-transformers", "sentence_transformers"
            ) from missing
        self._model: Any = SentenceTransformer(
            str(path), device=device, local_files_only=True, trust_remote_code=False
        )
        self._batch_size = batch_size
        super().__init__(
            path,
            model_id=model_id,
            query_prefix=query_prefix,
            document_prefix=document_prefix,
            truncate=truncate,
        )

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self._model.get_sentence_embedding_dimension())

    @property
    def max_input_tokens(self) -> int | None:
        """What the model reads of a text."""
        most = self._model.max_seq_length
        return None if most is None or most > _LONGEST else int(most)

    def _lengths(self, texts: Sequence[str]) -> list[int]:
        found = self._model.tokenizer(
            list(texts), truncation=False, padding=False, verbose=False, return_attention_mask=False
        )
        return [len(one) for one in found["input_ids"]]

    def _embed(self, texts: Sequence[str]) -> Vectors:
        made: Vectors = self._model.encode(
            list(texts),
            batch_size=self._batch_size,
            normalize_embeddings=True,
            convert_to_numpy=True,
            show_progress_bar=False,
        )
        return made
