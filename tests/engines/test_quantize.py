"""`quantize` on tiny models with random weights. `tests/weights` has trained ones."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from tiny_models import LAYERS, MakeModel, norms_in_single_operators

from ksdk_rerank import CrossEncoderReranker
from ksdk_rerank.engines import int8_graph
from ksdk_rerank.engines import quantize as quantizing
from ksdk_rerank.engines.quantize import INT8_FILE, quantize
from ksdk_rerank.errors import MissingExtra, UnsupportedModel

QUERY = "how do i rotate an api key"
FP32_FILE = "onnx/model.onnx"


@pytest.fixture(autouse=True)
def no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing torch, or what needs it, is an error."""
    for package in ("torch", "transformers", "sentence_transformers"):
        monkeypatch.setitem(sys.modules, package, None)


@pytest.fixture
def bert(make_model: MakeModel) -> Path:
    return make_model("bert")


def edited(folder: Path, edit: Callable[[onnx.GraphProto], None]) -> Path:
    """The folder, after `edit` has changed its graph."""
    model = onnx.load(folder / FP32_FILE)
    edit(model.graph)
    onnx.save(model, folder / FP32_FILE)
    return folder


def operators(folder: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(folder / INT8_FILE).graph.node)


@pytest.mark.parametrize("kind", ["bert", "xlm-roberta"])
def test_scores_are_close_to_float32_and_do_not_depend_on_the_batch(
    make_model: MakeModel, tmp_path: Path, documents: list[str], kind: str
) -> None:
    model = make_model(kind=kind)
    report = quantize(str(model), tmp_path / "out")
    exact = CrossEncoderReranker(model, backend="onnx", dtype="float32").score(QUERY, documents)
    int8 = CrossEncoderReranker(report.folder)  # the default takes the int8 file on every processor
    together = int8.score(QUERY, documents)
    assert np.abs(np.subtract(together.raw, exact.raw)).max() < 0.3
    alone = [int8.score(QUERY, [document]).raw[0] for document in documents]
    np.testing.assert_allclose(together.raw, alone, atol=1e-3)
    assert together.truncated == exact.truncated
    assert 0 < report.agreement.mean_difference <= report.agreement.max_difference < 0.3
    assert (report.agreement.pairs, report.left_in_float32) == (81, ())
    assert report.agreement.kendall > 0.9
    assert report.files[INT8_FILE] < report.float32_size / 2
    assert set(report.files) == {"config.json", "tokenizer.json", "tokenizer_config.json", INT8_FILE}


def test_products_of_one_input_share_its_rounding_and_only_layer_norms_have_fixed_ranges(
    bert: Path, tmp_path: Path
) -> None:
    found = operators(quantize(str(bert), tmp_path / "out").folder)
    layers, head = 6 * LAYERS, 2  # the tiny model's pooler and classifier are products, not a `Gemm`
    first = 1  # the last layer's query comes from the first token alone, so it does not share its input with the keys
    assert found["MatMulIntegerToFloat"] == layers + head
    assert found["QuantizeLinear"] == 4 * LAYERS + first + head
    assert found["ReduceMax"] == 2 * LAYERS + first + head  # after attention and GELU, each token has its own range
    assert found["MatMul"] == 2 * LAYERS  # those of attention have no constant weights


def test_no_two_products_can_overflow_16_bits(bert: Path, tmp_path: Path) -> None:
    graph = onnx.load(quantize(str(bert), tmp_path / "out").folder / INT8_FILE).graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    weights = [stored[node.input[1]] for node in graph.node if node.op_type == "MatMulIntegerToFloat"]
    sums = [np.abs(each[0::2].astype(int)) + np.abs(each[1::2].astype(int)) for each in weights]
    assert 120 < max(each.max() for each in sums) <= 128
    assert max(np.abs(each).max() for each in weights) > 64  # more than 7 bits


def test_a_product_that_int8_would_change_too_much_stays_in_float32(bert: Path, tmp_path: Path) -> None:
    """Its input is 1,000 plus a little, and its weights cancel the 1,000, so a step of 4 would be all that is left."""
    name = []

    def edit(graph: onnx.GraphProto) -> None:
        products = [node for node in graph.node if node.op_type == "MatMul"]
        stored = {tensor.name: tensor for tensor in graph.initializer}
        node = next(node for node in products if list(getattr(stored.get(node.input[1]), "dims", ())) == [32, 64])
        weights = numpy_helper.to_array(stored[node.input[1]])
        stored[node.input[1]].CopyFrom(numpy_helper.from_array(weights - weights.mean(0), node.input[1]))
        graph.initializer.append(numpy_helper.from_array(np.float32(1000), "offset"))
        graph.node.insert(list(graph.node).index(node), helper.make_node("Add", [node.input[0], "offset"], ["moved"]))
        node.input[0] = "moved"
        name.append(node.input[1])

    report = quantize(str(edited(bert, edit)), tmp_path / "out")
    assert list(report.left_in_float32) == name
    assert report.agreement.max_difference < 0.3


def test_a_layer_norm_in_single_operators_has_a_fixed_range_too(bert: Path, tmp_path: Path) -> None:
    report = quantize(str(edited(bert, norms_in_single_operators)), tmp_path / "out")
    assert operators(report.folder)["ReduceMax"] == 2 * LAYERS + 1 + 2
    assert report.agreement.max_difference < 0.3


def test_weights_beside_the_graph_are_read_and_written(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = quantize(str(bert), tmp_path / "inside")
    path = bert / FP32_FILE
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="model.onnx.data", size_threshold=100)
    monkeypatch.setattr(int8_graph, "_INLINE", 1000)
    beside = quantize(str(bert), tmp_path / "beside")
    assert beside.files[INT8_FILE] < inside.files[INT8_FILE] < beside.files[f"{INT8_FILE}.data"] + 50_000
    assert abs(beside.float32_size - inside.float32_size) < 20_000
    assert beside.agreement == inside.agreement
    assert CrossEncoderReranker(beside.folder).score(QUERY, ["key"]) == (
        CrossEncoderReranker(inside.folder).score(QUERY, ["key"])
    )


def test_ranges_can_come_from_texts_of_ones_own(bert: Path, tmp_path: Path) -> None:
    texts = [(f"query {number}", "rotate the key " * number) for number in range(1, 11)]
    assert quantize(str(bert), tmp_path / "out", texts=texts).agreement.pairs == 4
    with pytest.raises(ValueError, match="at least 10 pairs of query and document, got 9"):
        quantize(str(bert), tmp_path / "other", texts=texts[1:])
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith((".", "other"))] == []


def test_a_model_that_is_int8_already_is_refused(bert: Path, tmp_path: Path) -> None:
    report = quantize(str(bert), tmp_path / "out")
    with pytest.raises(UnsupportedModel, match="quantize needs a float32 file, which ksdk-rerank export writes"):
        quantize(str(report.folder), tmp_path / "again")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: setattr(model.opset_import[0], "version", 10), "operator set 10, older than 11; export"),
        (lambda model: model.graph.ClearField("initializer"), "no matrix product with constant weights"),
    ],
)
def test_a_graph_that_cannot_be_quantized_is_refused(
    bert: Path, tmp_path: Path, change: Callable[[onnx.ModelProto], None], message: str
) -> None:
    model = onnx.load(bert / FP32_FILE)
    change(model)
    onnx.save(model, bert / FP32_FILE)
    with pytest.raises(UnsupportedModel, match=message):
        quantize(str(bert), tmp_path / "out")


def test_the_missing_package_is_named_with_the_line_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantizing, "find_spec", lambda package: None)
    with pytest.raises(MissingExtra, match=r'quantize needs .*pip install "ksdk-rerank\[quantize\]"'):
        quantize("acme/model", tmp_path / "out")


def test_a_float32_file_says_once_how_to_make_it_faster(
    bert: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    report = quantize(str(bert), tmp_path / "out")
    caplog.set_level(logging.INFO, "ksdk_rerank")
    for _ in range(2):
        CrossEncoderReranker(bert, backend="onnx").score(QUERY, ["key"])
    CrossEncoderReranker(bert, backend="onnx", dtype="float32").score(QUERY, ["key"])  # as asked
    CrossEncoderReranker(report.folder).score(QUERY, ["key"])
    [said] = [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]
    assert said.endswith(f"ksdk-rerank quantize {bert} FOLDER")
