"""Which ONNX file of a folder is taken, by what it holds and not by its name alone."""

from __future__ import annotations

import itertools
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnxruntime.quantization import QuantType, quantize_dynamic
from tiny_models import MakeModel

from ksdk_rerank.engines import onnx_files
from ksdk_rerank.engines.onnx_graph import read_graph
from ksdk_rerank.errors import ModelError, ModelNotFound, UnsupportedModel
from ksdk_rerank.rerankers.cross_encoder import CrossEncoderReranker

QUERY, TEXTS = "the key", ["key", "then revoke the key", "invoice"]
ODD = [
    "model_quantized.onnx",
    "model_O3.onnx",
    "flashrank-MiniLM-L-12-v2_Q.onnx",
    "onnx/model_bnb4.onnx",
    "cpu/a b.onnx",
]


@pytest.fixture(autouse=True)
def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an ONNX engine cannot run must not be hidden by another one."""
    monkeypatch.setattr(
        "ksdk_rerank.engines.select.find_spec",
        lambda name: None if name in ("sentence_transformers", "openvino") else find_spec(name),
    )


def move(folder: Path, *names: str) -> Path:
    """Give the folder's graph other names."""
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(folder / "onnx/model.onnx", folder / name)
    (folder / "onnx/model.onnx").unlink()
    return folder


def quantize(folder: Path, name: str) -> None:
    """Add an int8 version of the folder's graph."""
    quantize_dynamic(
        folder / "onnx/model.onnx",
        folder / name,
        per_channel=True,
        reduce_range=True,
        weight_type=QuantType.QInt8,
    )


def to_float16(folder: Path, name: str) -> None:
    """Add a version with weights in float16, which are cast where they are used."""
    model = onnx.load(folder / "onnx/model.onnx")
    for tensor in model.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        if array.dtype == "float32" and array.ndim:
            half = onnx.numpy_helper.from_array(array.astype("float16"), f"{tensor.name}_16")
            cast = onnx.helper.make_node("Cast", [half.name], [tensor.name], to=onnx.TensorProto.FLOAT)
            model.graph.node.insert(0, cast)
            tensor.CopyFrom(half)
    onnx.save(model, folder / name)


def to_int8_weights(folder: Path, name: str) -> None:
    """Round the weights of the folder's graph to 8 bits, and add a version that stores them so."""
    exact = onnx.load(folder / "onnx/model.onnx")
    stored = onnx.load(folder / "onnx/model.onnx")
    multiplied = {node.input[1] for node in exact.graph.node if node.op_type == "MatMul"}
    for tensor in [tensor for tensor in exact.graph.initializer if tensor.name in multiplied]:
        weights = onnx.numpy_helper.to_array(tensor)
        scales = np.abs(weights).max(axis=0) / 127
        integers = np.round(weights / scales).astype(np.int8)
        tensor.CopyFrom(onnx.numpy_helper.from_array(integers * scales, tensor.name))
        parts = [f"{tensor.name}_{part}" for part in ("integers", "scales", "zero_points")]
        for part, values in zip(parts, (integers, scales, np.zeros(len(scales), np.int8)), strict=True):
            stored.graph.initializer.append(onnx.numpy_helper.from_array(values, part))
        stored.graph.node.insert(0, onnx.helper.make_node("DequantizeLinear", parts, [tensor.name], axis=1))
    for tensor in [tensor for tensor in stored.graph.initializer if tensor.name in multiplied]:
        stored.graph.initializer.remove(tensor)
    onnx.save(exact, folder / "onnx/model.onnx")
    onnx.save(stored, folder / name)


@pytest.mark.parametrize("name", ODD)
def test_the_only_graph_is_taken_whatever_its_name(make_model: MakeModel, tiny_bert: str, name: str) -> None:
    folder = move(make_model(), name)
    expected = CrossEncoderReranker(tiny_bert, backend="onnx").score(QUERY, TEXTS).raw
    options: list[dict[str, Any]] = [{}, {"dtype": "float32"}, {"backend": "onnx"}, {"onnx_file": name}]
    for arguments in options:
        assert CrossEncoderReranker(str(folder), **arguments).score(QUERY, TEXTS).raw == expected


@pytest.mark.parametrize("kind", ["arm", "vnni", "other"])
def test_so_is_the_only_int8_graph_on_every_processor(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    folder = make_model()
    quantize(folder, "model_Q.onnx")
    (folder / "onnx/model.onnx").unlink()
    monkeypatch.setattr(onnx_files, "int8_kind", lambda: kind)
    assert CrossEncoderReranker(str(folder)).score(QUERY, TEXTS).raw == (
        CrossEncoderReranker(str(folder), dtype="int8").score(QUERY, TEXTS).raw
    )


def test_several_graphs_are_listed_with_the_argument_that_chooses(make_model: MakeModel) -> None:
    folder = move(make_model(), "model_O2.onnx", "onnx/model_O3.onnx")
    with pytest.raises(UnsupportedModel, match=r"has model_O2\.onnx, onnx/model_O3\.onnx\. Choose one with onnx_file="):
        CrossEncoderReranker(str(folder)).rank(QUERY, TEXTS)
    for name in ("model_O2.onnx", "./onnx/model_O3.onnx"):
        assert CrossEncoderReranker(str(folder), onnx_file=name).engine == "onnx"


def test_a_usual_name_comes_before_others(make_model: MakeModel) -> None:
    folder = make_model()
    for name in ("onnx/model_O3.onnx", "onnx/model_O4.onnx"):
        (folder / name).write_bytes(b"never opened")
    assert CrossEncoderReranker(str(folder)).rank(QUERY, TEXTS)


@pytest.mark.parametrize("name", ["onnx/model.onnx", "model.onnx", "onnx/model_int8.onnx", "a_Q.onnx"])
def test_the_type_asked_for_is_what_is_calculated_in_whatever_the_name_says(make_model: MakeModel, name: str) -> None:
    floats, ints = make_model("floats"), make_model("ints")
    quantize(ints, "q.onnx")
    for folder in (floats, ints):
        graph = (folder / ("q.onnx" if folder is ints else "onnx/model.onnx")).read_bytes()
        for path in list(folder.rglob("*.onnx")):
            path.unlink()
        (folder / name).write_bytes(graph)
    right: list[tuple[Path, Any]] = [(floats, "float32"), (ints, "int8")]
    wrong: list[tuple[Path, Any]] = [(floats, "int8"), (ints, "float32")]
    for folder, dtype in right:
        assert CrossEncoderReranker(str(folder), dtype=dtype).rank(QUERY, TEXTS)
    for (folder, dtype), chosen in itertools.product(wrong, (None, name)):
        with pytest.raises(UnsupportedModel, match=rf"{name} uses (int8|floating point), .*dtype='{dtype}'"):
            CrossEncoderReranker(str(folder), dtype=dtype, onnx_file=chosen).rank(QUERY, TEXTS)


def test_of_several_the_only_one_of_the_type_asked_for_is_taken(make_model: MakeModel) -> None:
    folder = make_model()
    quantize(folder, "model_Q.onnx")
    to_float16(folder, "model_fp16.onnx")
    move(folder, "model_O3.onnx")
    expected = CrossEncoderReranker(str(folder), onnx_file="model_Q.onnx").score(QUERY, TEXTS).raw
    assert CrossEncoderReranker(str(folder), dtype="int8").score(QUERY, TEXTS).raw == expected
    expected = CrossEncoderReranker(str(folder), onnx_file="model_O3.onnx").score(QUERY, TEXTS).raw
    assert CrossEncoderReranker(str(folder), dtype="float32").score(QUERY, TEXTS).raw == expected


def test_weights_in_float16_are_run_but_not_called_float32(make_model: MakeModel) -> None:
    folder = make_model()
    to_float16(folder, "model_fp16.onnx")
    (folder / "onnx/model.onnx").unlink()
    assert CrossEncoderReranker(str(folder)).rank(QUERY, TEXTS)
    with pytest.raises(UnsupportedModel, match=r"model_fp16\.onnx uses float16"):
        CrossEncoderReranker(str(folder), dtype="float32", onnx_file="model_fp16.onnx").rank(QUERY, TEXTS)


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_weights_in_int8_alone_are_calculated_with_in_float32(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch, backend: Any
) -> None:
    monkeypatch.undo()
    pytest.importorskip({"onnx": "onnxruntime"}.get(backend, backend))
    folder = make_model()
    to_int8_weights(folder, "model_w8.onnx")
    expected, found = (
        CrossEncoderReranker(str(folder), backend=backend, dtype="float32", onnx_file=name).score(QUERY, TEXTS).raw
        for name in ("onnx/model.onnx", "model_w8.onnx")
    )
    assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.skipif(find_spec("openvino") is None, reason="needs openvino")
def test_openvino_scores_them_the_same_however_often_they_are_loaded(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    folder = make_model()
    to_int8_weights(folder, "model_w8.onnx")
    found = set()
    for _ in range(12):
        with CrossEncoderReranker(str(folder), backend="openvino", onnx_file="model_w8.onnx") as reranker:
            found.add(tuple(reranker.score(QUERY, TEXTS).raw))
    assert len(found) == 1


@pytest.mark.skipif(find_spec("openvino") is None, reason="needs openvino")
def test_openvino_takes_floats_and_says_so_of_int8(make_model: MakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    folder = make_model()
    quantize(folder, "model_Q.onnx")
    with pytest.raises(UnsupportedModel, match=r"model_Q\.onnx uses int8, which does not suit backend='openvino'"):
        CrossEncoderReranker(str(folder), backend="openvino", onnx_file="model_Q.onnx").rank(QUERY, TEXTS)
    assert CrossEncoderReranker(str(folder), onnx_file="model_Q.onnx").engine == "onnx"
    move(folder, "model_O3.onnx")
    assert CrossEncoderReranker(str(folder), backend="openvino").engine == "openvino"


def test_a_file_that_is_not_there_is_an_error_that_lists_what_is(make_model: MakeModel) -> None:
    with pytest.raises(ModelNotFound, match=r"has no file onnx/model_O3\.onnx: it has onnx/model\.onnx"):
        CrossEncoderReranker(str(make_model()), onnx_file="onnx/model_O3.onnx").rank(QUERY, TEXTS)


def test_without_a_tokenizer_it_is_the_tokenizer_that_is_missed(make_model: MakeModel) -> None:
    folder = make_model()
    (folder / "tokenizer.json").unlink()
    with pytest.raises(UnsupportedModel, match=r"has no ONNX file with a tokenizer\.json"):
        CrossEncoderReranker(str(folder)).rank(QUERY, TEXTS)


@pytest.mark.parametrize(
    ("location", "error", "message"),
    [
        ("../model.safetensors", ModelError, r"stores its weights in \.\./model\.safetensors, outside its own folder"),
        ("/etc/hostname", ModelError, r"stores its weights in /etc/hostname, outside its own folder"),
        ("deep/er.bin", ModelNotFound, r"stores its weights in deep/er\.bin, which is missing"),
    ],
)
def test_weights_are_looked_for_in_the_graphs_folder_alone(
    make_model: MakeModel, location: str, error: type[ModelError], message: str
) -> None:
    folder = make_model()
    path = folder / "onnx/model.onnx"
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="w.bin", size_threshold=1024)
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    path.write_bytes(model.SerializeToString())
    with pytest.raises(error, match=message):
        CrossEncoderReranker(str(folder)).rank(QUERY, TEXTS)


@pytest.mark.parametrize(
    ("operators", "expected"),
    [
        (["MatMul"], "none"),
        (["DynamicQuantizeLinear", "MatMulInteger", "DequantizeLinear"], "dynamic"),
        (["DynamicQuantizeMatMul"], "dynamic"),
        (["QuantizeLinear", "DequantizeLinear"], "static"),
        (["QLinearMatMul"], "static"),
        (["QuantizeLinear", "MatMulIntegerToFloat"], "static"),
        (["DequantizeLinear", "MatMul"], "weights"),
        (["MatMulNBits"], "weights"),
    ],
)
def test_what_becomes_int8_follows_from_the_operators_also_in_subgraphs(
    tmp_path: Path, operators: list[str], expected: str
) -> None:
    nodes = [onnx.helper.make_node(operator, ["x"], [f"y{number}"]) for number, operator in enumerate(operators)]
    inner = onnx.helper.make_graph(nodes, "inner", [], [])
    branch = onnx.helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    for name, graph in (("flat", inner), ("nested", onnx.helper.make_graph([branch], "outer", [], []))):
        onnx.save(onnx.helper.make_model(graph), tmp_path / f"{name}.onnx")
        assert read_graph(tmp_path / f"{name}.onnx").quantization == expected
