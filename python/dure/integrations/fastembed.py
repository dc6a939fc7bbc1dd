"""ONNX models in a local folder through `fastembed`, as `dure.Embedder`.

Extra `fastembed`. Nothing is downloaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dure.errors import InvalidArgumentError, MissingExtraError
from dure.integrations._folders import FolderEmbedder, model_folder

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from dure.integrations._folders import Vectors

__all__ = ["FastEmbedEmbedder"]


class FastEmbedEmbedder(FolderEmbedder):
    """Turns texts into vectors by an ONNX model in a folder. Thread-safe: one call at a time."""

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        dim: int,
        model_id: str | None = None,
        model_file: str = "model.onnx",
        pooling: str = "mean",
        query_prefix: str = "",
        document_prefix: str = "",
        truncate: bool = False,
        threads: int | None = None,
        batch_size: int = 64,
    ) -> None:
        """Load the model.

        Args:
            folder: With the ONNX file, `config.json`, `tokenizer.json`, `tokenizer_config.json`
                and `special_tokens_map.json`.
            dim: Length of its vectors.
            model_id: How collections name it; None: the folder's name.
            model_file: The ONNX file within the folder.
            pooling: `"mean"` or `"cls"`: how a text's vector follows from those of its tokens.
            query_prefix: Before each question, where the model was trained so (E5: `"query: "`).
            document_prefix: Before each document (E5: `"passage: "`).
            truncate: Let the model cut off what it does not read, instead of refusing the text.
            threads: Of ONNX Runtime; None: it chooses.
            batch_size: Texts computed at once.

        Raises:
            FileRefusedError: no such folder, or a file is missing.
            InvalidArgumentError: another pooling.
            MissingExtraError: fastembed is not installed.
        """
        path = model_folder(
            folder,
            model_file,
            "config.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "special_tokens_map.json",
        )
        if pooling not in ("mean", "cls"):
            raise InvalidArgumentError(
                f'pooling is "mean" or "cls", not {pooling!r}', argument="pooling"
            )
        try:
            from fastembed import TextEmbedding
            from fastembed.common.model_description import ModelSource, PoolingType
        except ImportError as missing:
            raise MissingExtraError.of("fastembed", "fastembed") from missing
        super().__init__(
            path,
            model_id=model_id,
            query_prefix=query_prefix,
            document_prefix=document_prefix,
            truncate=truncate,
        )
        self._dim = dim
        self._batch_size = batch_size
        name = f"dure/{self.model_id}-{self.revision}-{pooling}-{dim}"
        known = {one["model"].lower() for one in TextEmbedding.list_supported_models()}
        if name.lower() not in known:
            TextEmbedding.add_custom_model(
                model=name,
                pooling=PoolingType.MEAN if pooling == "mean" else PoolingType.CLS,
                normalization=True,
                sources=ModelSource(hf=name),  # never asked: the files are here
                dim=dim,
                model_file=model_file,
            )
        self._model: Any = TextEmbedding(
            model_name=name, specific_model_path=str(path), threads=threads
        )
        self._tokenizer = self._uncut_tokenizer(path)

    def _uncut_tokenizer(self, path: Any) -> Any:  # noqa: ANN401
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self._dim

    @property
    def max_input_tokens(self) -> int | None:
        """What the model reads of a text."""
        truncation = self._model.model.tokenizer.truncation
        return None if truncation is None else int(truncation["max_length"])

    def _lengths(self, texts: Sequence[str]) -> list[int]:
        return [len(one.ids) for one in self._tokenizer.encode_batch(list(texts))]

    def _embed(self, texts: Sequence[str]) -> Vectors:
        import numpy as np

        made: Vectors = np.stack(
            list(self._model.embed(list(texts), batch_size=self._batch_size))
        ).astype(np.float32)
        return made
