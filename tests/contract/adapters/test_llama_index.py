"""`DureNodeParser` keeps the contract of LlamaIndex's node parsers, tested on the real library."""

from __future__ import annotations

import asyncio

import dure
import pytest

pytest.importorskip("llama_index.core", reason='pip install "dure[llama-index]"')

from dure.integrations.llama_index import DureNodeParser
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.node_parser import NodeParser
from llama_index.core.schema import Document, MetadataMode, NodeRelationship, TextNode

TEXT = "# 안내\n\n" + "같은 문장이 반복된다. Same again. " * 80 + "\n\n## 끝\n\n마지막 문장."


def parser() -> DureNodeParser:
    return DureNodeParser(chunker=dure.Chunker(40))


def texts_of(nodes: list[TextNode]) -> list[str]:
    return [node.text for node in nodes]


def test_nodes_are_spans_with_exact_offsets() -> None:
    nodes = parser().get_nodes_from_documents([Document(text=TEXT, id_="doc", metadata={"a": 1})])
    assert isinstance(parser(), NodeParser)
    assert texts_of(nodes) == list(dure.Chunker(40).chunk(TEXT).text)
    starts = [node.start_char_idx for node in nodes]
    assert starts == sorted(set(starts))
    for node in nodes:
        assert TEXT[node.start_char_idx : node.end_char_idx] == node.text
        assert node.ref_doc_id == "doc"
        assert node.metadata["a"] == 1


def test_neighbours_know_one_another() -> None:
    nodes = parser().get_nodes_from_documents([Document(text=TEXT), Document(text="other")])
    first, second, last, alone = nodes[0], nodes[1], nodes[-2], nodes[-1]
    assert first.relationships[NodeRelationship.NEXT].node_id == second.node_id
    assert second.relationships[NodeRelationship.PREVIOUS].node_id == first.node_id
    assert NodeRelationship.NEXT not in last.relationships
    assert NodeRelationship.PREVIOUS not in alone.relationships


def test_ids_follow_from_content() -> None:
    documents = [Document(text=TEXT, id_="doc")]
    ids = [node.node_id for node in parser().get_nodes_from_documents(documents)]
    assert len(set(ids)) == len(ids)
    assert ids == [node.node_id for node in parser().get_nodes_from_documents(documents)]
    edited = [Document(text=TEXT + " 한 문장 더.", id_="doc")]
    after = {node.node_id for node in parser().get_nodes_from_documents(edited)}
    assert len(set(ids) - after) <= 2
    own = DureNodeParser(chunker=dure.Chunker(40), id_func=lambda i, doc: f"{doc.node_id}-{i}")
    assert own.get_nodes_from_documents(documents)[0].node_id == "doc-0"


def test_headings_stand_in_metadata_but_are_not_embedded() -> None:
    nodes = parser().get_nodes_from_documents([Document(text=TEXT, metadata={"mode": "markdown"})])
    assert nodes[5].metadata["heading"] == "안내"
    assert "heading" not in nodes[5].get_content(metadata_mode=MetadataMode.EMBED)


def test_it_runs_in_a_pipeline_and_in_a_loop() -> None:
    document = Document(text=TEXT, id_="doc")
    expected = texts_of(parser().get_nodes_from_documents([document]))
    assert (
        texts_of(IngestionPipeline(transformations=[parser()]).run(documents=[document]))
        == expected
    )
    assert texts_of(asyncio.run(parser().aget_nodes_from_documents([document]))) == expected
    assert texts_of(parser()([document])) == expected


def test_it_says_its_name() -> None:
    assert parser().to_dict()["class_name"] == "DureNodeParser"
