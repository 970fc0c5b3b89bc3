"""Engines that fail while they run, and graphs whose inputs or outputs do not fit."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from tiny_models import MakeModel, break_inside

from ksdk_rerank import Fallback
from ksdk_rerank.engines.batching import Batch
from ksdk_rerank.engines.engine import Engine
from ksdk_rerank.errors import InferenceFailed, UnsupportedModel
from ksdk_rerank.rerankers.cross_encoder import CrossEncoderReranker

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")

ENGINES = [
    pytest.param("onnx"),
    pytest.param("openvino", marks=pytest.mark.skipif(find_spec("openvino") is None, reason="needs openvino")),
]
TEXTS = ["key", "then revoke the key and create one", "invoice of the month"]


def reshape(folder: Path, *shape: int | str) -> Path:
    """Give the graph's inputs a shape, which fixes the sizes that are numbers."""
    path = folder / "onnx/model.onnx"
    model = onnx.load(path)
    for value in model.graph.input:
        for size, dimension in zip(shape, value.type.tensor_type.shape.dim, strict=True):
            dimension.Clear()
            setattr(dimension, "dim_value" if isinstance(size, int) else "dim_param", size)
    onnx.save(model, path)
    return folder


@pytest.mark.parametrize("backend", ENGINES)
def test_a_graph_for_one_pair_at_a_time_gets_one_pair_at_a_time(
    make_model: MakeModel, tiny_bert: str, backend: Any
) -> None:
    expected = CrossEncoderReranker(tiny_bert, backend=backend, dtype="float32").score("the key", TEXTS)
    folder = reshape(make_model(), 1, "sequence")
    got = CrossEncoderReranker(str(folder), backend=backend, dtype="float32").score("the key", TEXTS)
    np.testing.assert_allclose(got.raw, expected.raw, atol=1e-4)


@pytest.mark.parametrize("backend", ENGINES)
@pytest.mark.parametrize("shape", [(1, 64), (8, 64), (8, "sequence"), ("batch", 64)])
def test_any_other_fixed_shape_is_refused_when_it_is_loaded(
    make_model: MakeModel, backend: Any, shape: tuple[int | str, int | str]
) -> None:
    folder = reshape(make_model(), *shape)
    with pytest.raises(UnsupportedModel, match=r"model\.onnx has a fixed shape \(.*dynamic axes.*backend=\"torch\""):
        CrossEncoderReranker(str(folder), backend=backend).engine  # noqa: B018


@pytest.mark.parametrize("backend", ENGINES)
def test_a_graph_that_fails_while_it_runs_is_transient_and_says_what_the_engine_said(
    make_model: MakeModel, call: Callable[..., Any], capfd: pytest.CaptureFixture[str], backend: Any
) -> None:
    folder = break_inside(make_model())
    reranker = CrossEncoderReranker(str(folder), backend=backend, dtype="float32")
    with pytest.raises(InferenceFailed, match=rf"the {backend} engine failed while running {folder} \(.*eshape"):
        call(reranker.rank, "the key", TEXTS)
    ranking = call(Fallback([reranker, "input-order"]).rank, "the key", TEXTS)
    assert ranking.reranked_by == "input-order"
    assert [(failure.reranker, failure.error) for failure in ranking.failures] == [(str(folder), "InferenceFailed")]
    reranker.close()  # waits for other batches
    capfd.readouterr()  # onnxruntime logs the error


def test_so_does_torch(tiny_bert: str, call: Callable[..., Any]) -> None:
    pytest.importorskip("sentence_transformers")
    # torch's "meta" device has shapes and no numbers, so the logits cannot be had.
    reranker = CrossEncoderReranker(tiny_bert, backend="torch", device="meta")
    with pytest.raises(InferenceFailed, match=r"the torch engine failed while running .*meta"):
        call(reranker.rank, "the key", TEXTS)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA error: out of memory"), ValueError("a bad shape")])
def test_whatever_an_engine_raises_moves_a_fallback_on(
    tiny_bert: str, monkeypatch: pytest.MonkeyPatch, call: Callable[..., Any], error: Exception
) -> None:
    def fails(batch: Batch) -> np.ndarray:
        raise error

    reranker = CrossEncoderReranker(tiny_bert, backend="onnx")
    engine: Engine = reranker._runner().model().engine
    monkeypatch.setattr(engine, "forward", fails)
    ranking = call(Fallback([reranker, "lexical"]).rank, "the key", TEXTS)
    assert (ranking.reranked_by, ranking.failures[0].error) == ("lexical", "InferenceFailed")
    assert type(error).__name__ in ranking.failures[0].message
    monkeypatch.undo()
    assert call(reranker.rank, "the key", TEXTS).reranked_by == tiny_bert  # the next call is tried again


def test_an_interruption_is_not_an_engines_failure(tiny_bert: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(batch: Batch) -> np.ndarray:
        raise KeyboardInterrupt

    reranker = CrossEncoderReranker(tiny_bert, backend="onnx")
    monkeypatch.setattr(reranker._runner().model().engine, "forward", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Fallback([reranker, "lexical"]).rank("the key", TEXTS)


@pytest.mark.parametrize("backend", ENGINES)
def test_a_graph_with_more_logits_than_its_config_says_is_refused_and_not_tried_again(
    make_model: MakeModel, backend: Any
) -> None:
    folder = make_model(labels=3, config={"id2label": {"0": "LABEL_0"}})
    with pytest.raises(UnsupportedModel, match=r"shape \(1, 3\) for 1 pairs, not one logit per pair"):
        Fallback([CrossEncoderReranker(str(folder), backend=backend), "lexical"]).rank("the key", ["key"])


@pytest.mark.parametrize("backend", ENGINES)
def test_a_graph_with_unknown_inputs_is_refused(make_model: MakeModel, backend: Any) -> None:
    folder = make_model()
    graph = onnx.load(folder / "onnx/model.onnx")
    graph.graph.input.append(onnx.helper.make_tensor_value_info("pixel_values", onnx.TensorProto.FLOAT, [1]))
    onnx.save(graph, folder / "onnx/model.onnx")
    with pytest.raises(UnsupportedModel, match=r"needs the inputs pixel_values.*backend=\"torch\""):
        CrossEncoderReranker(str(folder), backend=backend).rank("the key", ["key"])
