"""From torch to ONNX, and from float32 to int8."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import onnx
import torch
from onnx.external_data_helper import set_external_data

__all__ = ["quantize", "share_weights", "to_onnx"]


def to_onnx(
    module: torch.nn.Module, example: tuple[torch.Tensor, ...], inputs: list[str], output: str, path: Path
) -> None:
    """Write the graph; rows and tokens are free."""
    free = {0: "pairs", 1: "tokens"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's, about what it turns into constants; the tests compare outputs
        torch.onnx.export(
            module.eval(),
            example,
            str(path),
            input_names=inputs,
            output_names=[output],
            dynamic_axes=dict.fromkeys(inputs, free) | {output: {0: "pairs"}},
            opset_version=17,
            dynamo=False,
        )


def quantize(fp32: Path, int8: Path) -> None:
    """Weights of matrix products to int8, one scale a channel; activations are quantised as they come.

    The large embeddings have 4 bits already; those of positions are small and stay floats, as does the last layer of
    `Splade`, whose weights err most for their size.

    Weights keep to 7 bits: on x86 without VNNI two products of 8 bits overflow when they are added
    (https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html, 2026-11-23), and this one file is
    for all processors.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.disable(logging.WARNING)  # it recommends a preprocessing that changes nothing here
    try:
        quantize_dynamic(
            fp32,
            int8,
            ["MatMul"],
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=[node.name for node in onnx.load(fp32).graph.node if "/transform/" in node.name],
        )
    finally:
        logging.disable(logging.NOTSET)


def share_weights(fp32: Path, int8: Path, folder: Path) -> None:
    """Write `model.onnx`, `model_int8.onnx` and `model.onnx_data`: two graphs, whose weights are stored once.

    Both have the int8 weights. The first makes floats of them and calculates in those, which OpenVINO does in bfloat16;
    the second calculates in int8.
    """
    floats, integers = onnx.load(fp32), onnx.load(int8)
    _dequantize(floats.graph, {one.name: one for one in integers.graph.initializer})
    stored, data = {}, bytearray()
    for name, model in (("model.onnx", floats), ("model_int8.onnx", integers)):
        _shorten(model.graph)
        for tensor in model.graph.initializer:
            content = tensor.raw_data
            if len(content) < 1024:
                continue
            if content not in stored:
                stored[content] = len(data)
                data += content
            set_external_data(tensor, "model.onnx_data", offset=stored[content], length=len(content))
            tensor.ClearField("raw_data")
        (folder / name).write_bytes(model.SerializeToString())
    (folder / "model.onnx_data").write_bytes(data)


def _dequantize(graph: onnx.GraphProto, quantized: dict[str, onnx.TensorProto]) -> None:
    """In place of each weight that has a quantised form, that form and what makes floats of it."""
    nodes, kept = [], []
    for weight in graph.initializer:
        parts = [quantized.get(f"{weight.name}_{part}") for part in ("quantized", "scale", "zero_point")]
        if None in parts:
            kept.append(weight)
            continue
        kept += parts
        axis = {"axis": len(weight.dims) - 1} if parts[1].dims else {}
        nodes.append(onnx.helper.make_node("DequantizeLinear", [one.name for one in parts], [weight.name], **axis))
    nodes += graph.node
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend(nodes)


def _shorten(graph: onnx.GraphProto) -> None:
    """Number all values, and forget the nodes' names: together they are 1 % of the file."""
    kept = {one.name for one in [*graph.input, *graph.output]}
    names: dict[str, str] = {"": ""}

    def short(name: str) -> str:
        return name if name in kept else names.setdefault(name, f"v{len(names)}")

    for node in graph.node:
        assert not any(attribute.HasField("g") for attribute in node.attribute)
        node.name = node.doc_string = ""
        node.input[:] = map(short, node.input)
        node.output[:] = map(short, node.output)
    for constant in graph.initializer:
        constant.name = short(constant.name)
    del graph.value_info[:]
