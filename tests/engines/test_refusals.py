"""Folders that are no reranker this library runs, and what each is told: what it is, what is missing, what to use."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ksdk_rerank import CrossEncoderReranker
from ksdk_rerank.errors import UnsupportedModel

pytest.importorskip("onnxruntime")


def modular(*names: str, architecture: str = "ModernBertModel", **last: object) -> dict[str, object]:
    """The files of a model with these modules; `last` is the config of the last one."""
    modules = [
        {"type": f"sentence_transformers.models.{name}", "path": name if i else ""} for i, name in enumerate(names)
    ]
    return {
        "config.json": {"architectures": [architecture]},
        "modules.json": modules,
        "config_sentence_transformers.json": {"model_type": "CrossEncoder"},
        f"{names[-1]}/config.json": last,
    }


def only(**config: object) -> dict[str, object]:
    """The files of a model with nothing but a `config.json`."""
    return {"config.json": config}


def prompt(architecture: str = "Qwen3ForCausalLM") -> dict[str, object]:
    """The files of a language model with a LogitScore."""
    return modular("Transformer", "LogitScore", architecture=architecture)


def classifier(*labels: str) -> dict[str, object]:
    """The files of a classifier with these labels."""
    return only(architectures=["BertForSequenceClassification"], id2label=dict(enumerate(labels)))


ADVICE = "use a cross-encoder with one logit, such as cross-encoder/ms-marco-MiniLM-L-6-v2"
REFUSALS: dict[str, tuple[Mapping[str, object], str]] = {
    "an embedding model": (
        modular("Transformer", "Pooling", "Normalize"),
        "is an embedding model (bi-encoder) of sentence-transformers (Transformer, Pooling, Normalize): it turns each"
        f" text into a vector, and has no module that scores pairs; {ADVICE}",
    ),
    "an embedding model that ends in a Dense": (
        modular("Transformer", "Pooling", "Dense", module_output_name="sentence_embedding", out_features=1),
        f"is an embedding model (bi-encoder) of sentence-transformers (Transformer, Pooling, Dense): it turns each text"
        f" into a vector, and has no module that scores pairs; {ADVICE}",
    ),
    "a modular model with three scores": (
        modular("Transformer", "Pooling", "Dense", module_output_name="scores", out_features=3),
        f"outputs 3 scores per pair (Transformer, Pooling, Dense), not one; {ADVICE}",
    ),
    "a modular model that sentence-transformers would not load as one": (
        {
            **modular("Transformer", "Pooling", "Dense", module_output_name="scores", out_features=1),
            "config_sentence_transformers.json": {"model_type": "SentenceTransformer"},
        },
        'has the modules of a cross-encoder, but its config_sentence_transformers.json does not say "model_type":'
        " \"CrossEncoder\" ('SentenceTransformer' instead), so sentence-transformers would replace its head; add the"
        f" line, or {ADVICE}",
    ),
    "a bare encoder": (
        only(architectures=["BertModel"]),
        "is an encoder without a head that scores pairs, as embedding models (bi-encoders) are: its config.json names"
        " the architecture BertModel, and no modules.json adds a head; if the model is a reranker, fetch its whole"
        f" repository; otherwise {ADVICE}",
    ),
    "an encoder for filling in words": (
        only(architectures=["BertForMaskedLM"]),
        "is an encoder without a head that scores pairs, as embedding models (bi-encoders) are: its config.json names"
        " the architecture BertForMaskedLM, and no modules.json adds a head; if the model is a reranker, fetch its"
        f" whole repository; otherwise {ADVICE}",
    ),
    "jina-reranker-v3, as its config.json is on the hub": (
        only(architectures=["JinaForRanking"], auto_map={"AutoModel": "modeling.JinaForRanking"}, model_type="qwen3"),
        "runs code of its own (JinaForRanking), which is not a classifier of pairs; listwise rerankers such as"
        " jina-reranker-v3 are like this, and read all documents at once; use its maker's API, such as"
        f' load_reranker("jina:jina-reranker-v3"), or {ADVICE}',
    ),
    "an embedding model whose config.json names no architecture": (
        {**modular("Transformer", "Pooling"), "config.json": {}},
        "is an embedding model (bi-encoder) of sentence-transformers (Transformer, Pooling): it turns each text into a"
        f" vector, and has no module that scores pairs; {ADVICE}",
    ),
    "two labels that only their number tells of": (
        only(num_labels=2),
        "is a classifier with 2 labels (LABEL_0, LABEL_1), not a cross-encoder with one logit; if one of them means"
        f" relevant, pass label=..., by name or index; otherwise {ADVICE}",
    ),
    "a classifier with two labels, such as monoBERT": (
        classifier("other", "relevant"),
        "is a classifier with 2 labels (other, relevant), not a cross-encoder with one logit; if one of them means"
        f" relevant, pass label=..., by name or index; otherwise {ADVICE}",
    ),
    "a classifier with three labels, such as for NLI": (
        classifier("contradiction", "neutral", "entailment"),
        "is a classifier with 3 labels (contradiction, neutral, entailment), not a cross-encoder with one logit; if one"
        f" of them means relevant, pass label=..., by name or index; otherwise {ADVICE}",
    ),
    "a classifier of pictures": (
        only(architectures=["ViTForSequenceClassification"], num_labels=1000),
        f"is a classifier with 1000 labels, which is not a reranker; {ADVICE}",
    ),
    "a language model without a LogitScore, such as an old revision of Qwen3-Reranker": (
        only(architectures=["Qwen3ForCausalLM"], model_type="qwen3"),
        "is a language model (Qwen3ForCausalLM) without a LogitScore module, and nothing else in its files tells a"
        " reranker from a chat model or names the tokens that mean relevant; Qwen3-Reranker, mxbai-rerank-v2,"
        " ctxl-rerank-v2 and zerank-2 have it (1_LogitScore and chat_template.jinja) in the newest revision of their"
        f" repositories, so fetch that; serve any other such reranker with vLLM, or {ADVICE}",
    ),
    "a language model with a LogitScore that sentence-transformers would not load as one": (
        {**prompt(), "config_sentence_transformers.json": {}},
        'has the modules of a cross-encoder, but its config_sentence_transformers.json does not say "model_type":'
        f' "CrossEncoder" (None instead), so sentence-transformers would replace its head; add the line, or {ADVICE}',
    ),
    "a language model on another engine": (
        prompt(),
        'is a language model and needs the "torch" engine, but the other settings exclude it; leave backend, dtype and'
        " onnx_file at their defaults",
    ),
    "a config.json that says nothing": (
        only(model_type="bert"),
        "names neither an architecture nor labels, so it may not be a cross-encoder; if it is one with one logit, add"
        f' "num_labels": 1 to the file; otherwise {ADVICE}',
    ),
}


LABELS: dict[str, tuple[Mapping[str, object], int | str, str]] = {
    "a label of another name": (
        classifier("other", "relevant"),
        "yes",
        "has no label 'yes'; pass one of other, relevant, or an index up to 1",
    ),
    "an index beyond the last": (
        only(architectures=["BertForSequenceClassification"]),
        2,
        "has no label 2; pass one of LABEL_0, LABEL_1, or an index up to 1",
    ),
    "a label of a model with one logit": (classifier("relevant"), 0, "has one logit; remove label=..."),
    "a label of a modular model": (
        modular("Transformer", "Pooling", "Dense", module_output_name="scores", out_features=1),
        0,
        "is a modular cross-encoder, which has none; remove label=...",
    ),
    "a label of a model with a prompt": (prompt(), 0, "is a prompt cross-encoder, which has none; remove label=..."),
}


def refusal(folder: Path, files: Mapping[str, object], **options: Any) -> str:
    """What is said of a folder with these files."""
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content))
    with pytest.raises(UnsupportedModel) as raised:
        CrossEncoderReranker(folder, backend="onnx", **options).rank("key", ["key"])
    assert str(folder) in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_says_what_the_folder_is_and_what_to_use_instead(tmp_path: Path, case: str) -> None:
    files, message = REFUSALS[case]
    assert refusal(tmp_path, files).endswith(message)


@pytest.mark.parametrize("case", LABELS)
def test_a_label_that_does_not_fit_is_refused_with_those_that_do(tmp_path: Path, case: str) -> None:
    files, label, message = LABELS[case]
    assert refusal(tmp_path, files, label=label).endswith(message)
