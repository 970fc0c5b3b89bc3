"""Writes the model's folder (graphs, `tokenizer.json`, `config.json`), and golden scores for the tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from training.bert import POSITIONS
from training.export import quantize, share_weights, to_onnx
from training.network import HEADS, HIDDEN, CrossEncoder
from training.states import Pair, join

__all__ = ["golden", "pack"]

INPUTS = ["input_ids", "attention_mask", "token_type_ids"]


def pack(model: CrossEncoder, tokenizer: Tokenizer, pairs: Sequence[Pair], out: Path) -> None:
    """Write everything to `out`. The float32 graph, which is not shipped, goes to `out/fp32`.

    `pairs` are examples of scored pairs, from which the int8 ranges are measured.
    """
    for folder in (out, out / "fp32"):
        (folder / "onnx").mkdir(parents=True, exist_ok=True)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
        (folder / "config.json").write_text(json.dumps(_config(model, tokenizer), indent=2) + "\n", encoding="utf-8")
    example = _encoded(tokenizer, [("a query", "a document"), ("another one", "and a longer document that goes on")])
    fp32, int8 = out / "fp32/onnx/model.onnx", out / "fp32/onnx/model_qint7.onnx"
    to_onnx(model, tuple(torch.from_numpy(part) for part in example), INPUTS, "logits", fp32)
    quantize(fp32, int8, (dict(zip(INPUTS, join(*pair), strict=True)) for pair in pairs))
    share_weights(fp32, int8, out / "onnx")


def golden(model: CrossEncoder, tokenizer: Tokenizer, questions: Path, out: Path) -> None:
    """Write the pairs in `questions` to `out` with their float32 logits, each pair scored alone."""
    content = json.loads(questions.read_text(encoding="utf-8"))
    with torch.inference_mode():
        for one in content:
            alone = _encoded(tokenizer, [(one["query"], one["document"])])
            one["logit"] = round(float(model(*map(torch.from_numpy, alone))), 5)
    out.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _encoded(tokenizer: Tokenizer, texts: list[tuple[str, str]]) -> list[NDArray[np.int64]]:
    """Return ids, mask and types of pairs, padded to the longest."""
    encoded = [tokenizer.encode(query, document) for query, document in texts]
    width = max(len(one.ids) for one in encoded)
    fields = zip(*((one.ids, one.attention_mask, one.type_ids) for one in encoded), strict=True)
    return [np.array([row + [0] * (width - len(row)) for row in rows], np.int64) for rows in fields]


def _config(model: CrossEncoder, tokenizer: Tokenizer) -> dict[str, object]:
    """Return what engines and other readers need. The graph itself is not that of transformers' BERT."""
    return {
        "architectures": ["KsdkRerankForSequenceClassification"],
        "model_type": "ksdk-rerank-cross-encoder",
        "id2label": {"0": "LABEL_0"},
        "label2id": {"LABEL_0": 0},
        "max_position_embeddings": POSITIONS,
        "pad_token_id": tokenizer.token_to_id("[PAD]"),
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": HIDDEN,
        "num_hidden_layers": len(model.encoder.attention),
        "num_attention_heads": HEADS,
    }
