from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tiny_models import MakeModel
from tiny_modular import DOCUMENTS, QUERIES, expected_logits

from ksdk_rerank.errors import ModelError, UnsupportedModel
from ksdk_rerank.rerankers.cross_encoder import CrossEncoderReranker

pytestmark = [
    pytest.mark.skipif(find_spec("sentence_transformers") is None, reason='needs pip install "ksdk-rerank[torch]"'),
    # torch 2.13's own code calls what Python 3.14 is to drop; nothing here can change that.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch"),
]

QUERY = "how do i rotate an api key"


def test_torch_and_onnx_agree_on_one_folder(tiny_model: str, documents: list[str]) -> None:
    by_torch = CrossEncoderReranker(tiny_model, backend="torch").score(QUERY, documents)
    by_onnx = CrossEncoderReranker(tiny_model, backend="onnx").score(QUERY, documents)
    np.testing.assert_allclose(by_torch.raw, by_onnx.raw, atol=1e-4)
    assert by_torch.truncated == by_onnx.truncated > 0


@pytest.mark.parametrize("backend", ["torch", "onnx", "openvino"])
def test_sixty_pairs_score_as_in_sentence_transformers(
    make_model: MakeModel, backend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long and nearly empty texts, other scripts, and special tokens as text."""
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")  # or it warns when a later import starts a process
    pytest.importorskip({"torch": backend, "onnx": "onnxruntime"}.get(backend, backend))
    from transformers import AutoTokenizer
    from transformers.utils import logging

    folder = make_model()
    AutoTokenizer.from_pretrained(folder).save_pretrained(folder)  # tokenizer.json then knows the special tokens
    logging.disable_progress_bar()
    expected = expected_logits(folder)
    logging.enable_progress_bar()
    with CrossEncoderReranker(folder, backend=backend, dtype="float32", device="cpu") as reranker:
        raw = [logit for query in QUERIES for logit in reranker.score(query, DOCUMENTS).raw]
    np.testing.assert_allclose(raw, expected, atol=1e-4)


def test_it_is_what_runs_a_model_without_an_onnx_file(make_model: MakeModel) -> None:
    folder = make_model(onnx_file=None)
    assert CrossEncoderReranker(str(folder)).engine == "torch"


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_16_bit_type_is_used_where_it_is_asked_for(tiny_bert: str, documents: list[str], dtype: Any) -> None:
    reranker = CrossEncoderReranker(tiny_bert, backend="torch" if dtype == "bfloat16" else None, dtype=dtype)
    raw = reranker.score(QUERY, documents[:8]).raw
    exact = CrossEncoderReranker(tiny_bert, backend="torch").score(QUERY, documents[:8]).raw
    assert reranker.engine == "torch"
    assert raw != exact
    np.testing.assert_allclose(raw, exact, atol=0.1)


def test_a_model_saved_in_16_bits_runs_in_32_on_a_processor(make_model: MakeModel) -> None:
    import torch

    folder = make_model(config={"dtype": "bfloat16", "torch_dtype": "bfloat16"})
    reranker = CrossEncoderReranker(str(folder), backend="torch", device="cpu")
    assert reranker._runner().model().engine._scorer.model.dtype == torch.float32  # type: ignore[attr-defined]


@pytest.mark.parametrize("device", ["cpu", "meta"])  # torch's "meta" stands in for a GPU: it has shapes and no numbers
def test_batches_are_larger_off_the_processor(tiny_bert: str, device: str) -> None:
    reranker = CrossEncoderReranker(tiny_bert, backend="torch", device=device)
    assert reranker._runner().model().engine.budget == {"cpu": 512, "meta": 16_384}[device]


def test_a_slow_tokenizer_is_refused_by_name(tiny_bert: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from ksdk_rerank.engines import torch as engine

    class SlowTokenizer:
        """Without a `backend_tokenizer`, as the ones written in Python are."""

    monkeypatch.setattr(engine, "CrossEncoder", lambda *_, **__: SimpleNamespace(tokenizer=SlowTokenizer()))
    with pytest.raises(UnsupportedModel, match=r"slow tokenizer SlowTokenizer; save it with a fast one"):
        CrossEncoderReranker(tiny_bert, backend="torch").engine  # noqa: B018


def test_a_device_that_is_not_there_is_an_error_with_advice(tiny_bert: str) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(ModelError, match=r"finds no CUDA device.*device=\"cpu\""):
        CrossEncoderReranker(tiny_bert, device="cuda").rank(QUERY, ["invoice"])


def test_code_that_comes_with_a_model_is_not_run_unless_asked(make_model: MakeModel) -> None:
    folder: Path = make_model(config={"model_type": "own", "auto_map": {"AutoConfig": "own.Own"}})
    marker = folder / "was-run"
    (folder / "own.py").write_text(f"open({json.dumps(str(marker))}, 'w')\n")
    with pytest.raises(ModelError, match="trust_remote_code"):
        CrossEncoderReranker(str(folder), backend="torch").rank(QUERY, ["invoice"])
    assert not marker.exists()
