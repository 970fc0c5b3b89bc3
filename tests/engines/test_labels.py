"""Classifiers with several labels: the score of the one that means relevant, on every engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import MakeModel

from ksdk_rerank import CrossEncoderReranker
from ksdk_rerank.engines.batching import Batch
from ksdk_rerank.engines.onnx_graph import checked_logits
from ksdk_rerank.errors import UnsupportedModel

QUERY, TEXTS = "how do i rotate a key", ["key", "then rotate", "invoice", "the weather is nice"]
NLI = {"id2label": {"0": "other", "1": "relevant", "2": "unsure"}, "label2id": {"other": 0, "relevant": 1, "unsure": 2}}


def test_of_two_labels_the_logit_is_how_far_one_is_ahead() -> None:
    batch = Batch(*(np.ones((2, 3), np.int64) for _ in range(3)))
    logits = np.array([[1.0, 4.0], [2.5, -1.0]])
    np.testing.assert_allclose(checked_logits(logits, batch, 1), [3, -3.5])
    np.testing.assert_allclose(checked_logits(logits, batch, 0), [-3, 3.5])
    with pytest.raises(UnsupportedModel, match=r"shape \(2, 2\) for 2 pairs, not a logit per label"):
        checked_logits(logits, batch, 2)


@pytest.mark.parametrize("backend", ["torch", "onnx", "openvino"])
@pytest.mark.parametrize("labels", [2, 3])
def test_the_score_is_the_softmax_of_the_label(make_model: MakeModel, backend: Any, labels: int) -> None:
    folder = str(make_model(labels=labels, config=NLI if labels == 3 else None))
    pytest.importorskip({"torch": "sentence_transformers", "onnx": "onnxruntime"}.get(backend, backend))
    expected = softmax(folder)
    for label in (0, 1, "relevant" if labels == 3 else "LABEL_1"):
        with CrossEncoderReranker(folder, backend=backend, dtype="float32", device="cpu", label=label) as reranker:
            index = label if isinstance(label, int) else 1
            np.testing.assert_allclose(scores(reranker), expected[:, index], atol=1e-5)


@pytest.mark.parametrize("missing", ["architectures", "id2label"])
def test_torch_loads_as_many_labels_as_any_field_states(make_model: MakeModel, missing: str) -> None:
    expected = softmax(str(make_model("whole", labels=3)))
    folder = make_model(labels=3)
    config = json.loads((folder / "config.json").read_text())
    del config[missing]
    (folder / "config.json").write_text(json.dumps(config))
    with CrossEncoderReranker(folder, backend="torch", device="cpu", label=2) as reranker:
        np.testing.assert_allclose(scores(reranker), expected[:, 2], atol=1e-5)


def test_an_export_has_the_score_of_the_label_as_its_one_logit(make_model: MakeModel, tmp_path: Path) -> None:
    for package in ("sentence_transformers", "onnxscript"):
        pytest.importorskip(package)
    from ksdk_rerank.engines.export import export

    folder = str(make_model(labels=3, config=NLI, onnx_file=None))
    report = export(folder, tmp_path / "out", label="relevant")
    with CrossEncoderReranker(report.folder, backend="onnx", dtype="float32") as reranker:
        np.testing.assert_allclose(scores(reranker), softmax(folder)[:, 1], atol=1e-5)


def scores(reranker: CrossEncoderReranker) -> list[float]:
    """The scores of `TEXTS`, in their order."""
    return [float(hit.score or 0) for hit in sorted(reranker.rank(QUERY, TEXTS), key=lambda hit: hit.index)]


def softmax(folder: str) -> Any:
    """What sentence-transformers says: the softmax of all labels, for each text."""
    transformers = pytest.importorskip("sentence_transformers")
    from transformers.utils import logging

    logging.disable_progress_bar()
    model = transformers.CrossEncoder(folder, device="cpu")
    logging.enable_progress_bar()
    pairs = [(QUERY, text) for text in TEXTS]
    return model.predict(pairs, apply_softmax=True, show_progress_bar=False)
