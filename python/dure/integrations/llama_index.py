"""LlamaIndex: `dure.Chunker` as a `NodeParser`, with exact offsets and ids that do not change.

from dure.integrations.llama_index import DureNodeParser

nodes = DureNodeParser(chunker=dure.Chunker(512)).get_nodes_from_documents(documents)
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from dure.chunks import Chunker, Document
from dure.errors import MissingExtraError

try:
    from llama_index.core.bridge.pydantic import Field
    from llama_index.core.node_parser import NodeParser
    from llama_index.core.node_parser.node_utils import build_nodes_from_splits
    from llama_index.core.schema import MetadataMode, TextNode
except ImportError as missing:
    raise MissingExtraError.of("llama-index", "llama-index-core") from missing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llama_index.core.schema import BaseNode
    from llama_index.core.schema import Document as LlamaDocument

__all__ = ["DureNodeParser"]

_OURS = ("heading", "page")


class DureNodeParser(NodeParser):  # type: ignore[misc, unused-ignore]
    """Cuts LlamaIndex's documents as `dure.Chunker` does.

    Each node is a span of its document, and its offsets are counted, never searched. Headings and
    page stand in its metadata, out of what LlamaIndex embeds. Unless `id_func` is given, a node's
    id follows from its document's id and its content, so that what did not change keeps its id.
    Thread-safe.
    """

    chunker: Any = Field(
        default_factory=Chunker, description="The dure.Chunker to cut with.", exclude=True
    )

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex knows the class."""
        return "DureNodeParser"

    def _parse_nodes(
        self,
        nodes: Sequence[BaseNode],
        show_progress: bool = False,
        **kwargs: Any,  # noqa: ANN401
    ) -> list[BaseNode]:
        del show_progress, kwargs
        return [piece for node in nodes for piece in self._pieces(node)]

    def _pieces(self, node: BaseNode) -> list[BaseNode]:
        text = node.get_content(metadata_mode=MetadataMode.NONE)
        # A "mode" among the metadata, as `dure.files` puts it there, says how to read the text.
        chunks = self.chunker.chunk(Document(text, node.node_id, metadata=node.metadata))
        pieces = build_nodes_from_splits(list(chunks.text), node, id_func=self.id_func)
        if "id_func" not in self.model_fields_set:
            for piece, one in zip(pieces, chunks.ids(node.node_id), strict=True):
                piece.id_ = str(uuid.UUID(one))
        for piece, chunk in zip(pieces, chunks, strict=True):
            piece.start_char_idx, piece.end_char_idx = chunk.char_start, chunk.char_end
            own = {"heading": " > ".join(chunk.heading_path), "page": chunk.page}
            piece.metadata.update({name: value for name, value in own.items() if value})
            piece.excluded_embed_metadata_keys = [*piece.excluded_embed_metadata_keys, *_OURS]
            piece.excluded_llm_metadata_keys = [*piece.excluded_llm_metadata_keys, *_OURS]
        return list(pieces)

    def _postprocess_parsed_nodes(
        self, nodes: list[BaseNode], parent_doc_map: dict[str, LlamaDocument]
    ) -> list[BaseNode]:
        """Keep the offsets that are known: LlamaIndex looks for the text, and may find another."""
        known = [
            (node.start_char_idx, node.end_char_idx) if isinstance(node, TextNode) else (None, None)
            for node in nodes
        ]
        done: list[BaseNode] = super()._postprocess_parsed_nodes(nodes, parent_doc_map)
        for node, (start, end) in zip(done, known, strict=True):
            if isinstance(node, TextNode):
                node.start_char_idx, node.end_char_idx = start, end
        return done
