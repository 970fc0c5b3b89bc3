from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from onnxruntime.quantization import quantize_dynamic
from tiny_models import MakeModel

from ksdk_rerank.engines import onnx_files, select
from ksdk_rerank.engines.hardware import has_bfloat16
from ksdk_rerank.errors import MissingExtra, ModelError
from ksdk_rerank.rerankers.cross_encoder import CrossEncoderReranker

needs_openvino = pytest.mark.skipif(find_spec("openvino") is None, reason='needs pip install "ksdk-rerank[openvino]"')
needs_bfloat16 = pytest.mark.skipif(not has_bfloat16(), reason="this processor has no bfloat16")

QUERY = "how do i rotate an api key"


def exact(model: str) -> CrossEncoderReranker:
    return CrossEncoderReranker(model, backend="openvino", dtype="float32")


@needs_openvino
def test_in_float32_its_logits_are_those_of_onnxruntime(tiny_model: str, documents: list[str]) -> None:
    by_onnx = CrossEncoderReranker(tiny_model, backend="onnx").score(QUERY, documents)
    by_openvino = exact(tiny_model).score(QUERY, documents)
    np.testing.assert_allclose(by_openvino.raw, by_onnx.raw, atol=1e-4)
    assert by_openvino.truncated == by_onnx.truncated > 0


@needs_openvino
@needs_bfloat16
@pytest.mark.parametrize("dtype", ["auto", "bfloat16"])
def test_where_the_processor_has_bfloat16_that_is_used(tiny_bert: str, documents: list[str], dtype: Any) -> None:
    raw = CrossEncoderReranker(tiny_bert, backend="openvino", dtype=dtype).score(QUERY, documents).raw
    expected = exact(tiny_bert).score(QUERY, documents).raw
    assert raw != expected
    np.testing.assert_allclose(raw, expected, atol=0.1)


@needs_openvino
@pytest.mark.parametrize(
    ("bfloat16", "int8_file", "settings", "expected"),
    [
        (True, None, {}, "openvino"),
        (True, None, {"device": "cpu"}, "openvino"),
        (True, None, {"dtype": "float32"}, "onnx"),
        (True, "model_quint8_avx2", {}, "openvino"),  # not for this processor
        (True, "model_int8", {}, "onnx"),
        (True, "model_qint7", {}, "onnx"),
        (True, "model_int8", {"dtype": "bfloat16", "backend": "openvino"}, "openvino"),
        (True, "model_int8", {"backend": "openvino"}, "openvino"),
        (False, None, {}, "onnx"),
        (False, "model_int8", {}, "onnx"),
        (False, None, {"backend": "openvino"}, "openvino"),
    ],
)
def test_without_being_asked_for_it_runs_only_what_has_no_int8_file_and_only_in_bfloat16(
    monkeypatch: pytest.MonkeyPatch,
    make_model: MakeModel,
    bfloat16: bool,
    int8_file: str | None,
    settings: dict[str, str],
    expected: str,
) -> None:
    if settings.get("dtype") == "bfloat16" and not has_bfloat16():
        pytest.skip("this processor has no bfloat16")
    folder = make_model()
    if int8_file is not None:
        quantize_dynamic(folder / "onnx/model.onnx", folder / f"onnx/{int8_file}.onnx")
    monkeypatch.setattr(select, "has_bfloat16", lambda: bfloat16)
    monkeypatch.setattr(onnx_files, "int8_kind", lambda: "vnni")
    assert CrossEncoderReranker(str(folder), **settings).engine == expected  # type: ignore[arg-type]


@needs_openvino
def test_without_onnxruntime_an_int8_file_asks_for_it(monkeypatch: pytest.MonkeyPatch, make_model: MakeModel) -> None:
    folder = make_model()
    quantize_dynamic(folder / "onnx/model.onnx", folder / "onnx/model_int8.onnx")
    monkeypatch.setattr(select, "has_bfloat16", lambda: True)
    monkeypatch.setattr(onnx_files, "int8_kind", lambda: "vnni")
    missing = ("onnxruntime", "sentence_transformers")
    monkeypatch.setattr(select, "find_spec", lambda name: None if name in missing else find_spec(name))
    with pytest.raises(MissingExtra, match=r'pip install "ksdk-rerank\[local\]"'):
        CrossEncoderReranker(str(folder)).rank("key", ["invoice"])


@needs_openvino
def test_batches_come_in_few_lengths_since_each_new_one_is_prepared_for_and_kept(
    tiny_bert: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reranker = exact(tiny_bert)
    engine = reranker._runner().model().engine
    lengths, forward = set(), engine.forward

    def watched(batch: Any) -> np.ndarray:
        lengths.add(batch.ids.shape[1])
        return forward(batch)

    monkeypatch.setattr(engine, "forward", watched)
    reranker.score(QUERY, ["key " * count for count in range(1, 60)])
    assert lengths == {16, 32, 48, 64}


@needs_openvino
def test_a_score_does_not_depend_on_the_other_documents(tiny_model: str, documents: list[str]) -> None:
    reranker = exact(tiny_model)
    together = reranker.score(QUERY, documents).raw
    alone = [reranker.score(QUERY, [document]).raw[0] for document in documents]
    np.testing.assert_allclose(together, alone, atol=1e-4)


@needs_openvino
def test_sixteen_threads_get_what_one_thread_gets(tiny_bert: str, documents: list[str]) -> None:
    reranker = exact(tiny_bert)
    queries = [f"{QUERY} {number}" for number in range(48)]
    expected = [reranker.score(query, documents).raw for query in queries]
    with ThreadPoolExecutor(16) as threads:
        scores = threads.map(lambda query: reranker.score(query, documents).raw, queries)
        np.testing.assert_allclose(list(scores), expected, atol=1e-4)


@needs_openvino
@pytest.mark.parametrize("attempt", range(4))  # without the lock every other process hung
def test_the_first_batches_of_a_process_may_run_at_once(tiny_bert: str, attempt: int) -> None:
    program = "import sys; from ksdk_rerank import CrossEncoderReranker as R; "
    program += "print(len(R(sys.argv[1], backend='openvino').rank('the key', ['key', 'invoice', 'month', 'a key'])))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program, tiny_bert], env=environment, timeout=60, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "4\n", "")


@needs_openvino
def test_another_device_is_refused_with_advice(tiny_bert: str) -> None:
    with pytest.raises(ModelError, match=r"not on 'cuda'; pass backend=\"torch\""):
        CrossEncoderReranker(tiny_bert, backend="openvino", device="cuda").rank(QUERY, ["key"])


def test_where_it_is_missing_and_asked_for_the_install_line_is_named(
    tiny_bert: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(select, "find_spec", lambda name: None if name == "openvino" else find_spec(name))
    with pytest.raises(MissingExtra, match=r'pip install "ksdk-rerank\[openvino\]"'):
        CrossEncoderReranker(tiny_bert, backend="openvino").rank("key", ["invoice"])
