"""Folders that are no reranker this library runs, and what each is told: what it is, what is missing, what to use."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

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
    "a classifier with three labels": (
        only(architectures=["BertForSequenceClassification"], id2label={"0": "no", "1": "neutral", "2": "yes"}),
        f"is a classifier with 3 labels, not a cross-encoder with one logit; {ADVICE}",
    ),
    "a config.json that says nothing": (
        only(model_type="bert"),
        "names neither an architecture nor labels, so it may not be a cross-encoder; if it is one with one logit, add"
        f' "num_labels": 1 to the file; otherwise {ADVICE}',
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_says_what_the_folder_is_and_what_to_use_instead(tmp_path: Path, case: str) -> None:
    files, message = REFUSALS[case]
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps(content))
    with pytest.raises(UnsupportedModel) as raised:
        CrossEncoderReranker(tmp_path, backend="onnx").rank("key", ["key"])
    assert str(raised.value).endswith(message)
    assert str(tmp_path) in str(raised.value)
