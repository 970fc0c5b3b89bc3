"""Exports torch modules to ONNX, and converts float32 graphs to int8."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx.external_data_helper import set_external_data

from training.int8 import FLOATS

__all__ = ["quantize", "share_weights", "to_onnx"]


def to_onnx(
    module: torch.nn.Module, example: tuple[torch.Tensor, ...], inputs: list[str], output: str, path: Path
) -> None:
    """Export `module` to `path`, with dynamic axes for pairs and tokens."""
    free = {0: "pairs", 1: "tokens"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns about constants it makes; the tests compare outputs
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
    model = onnx.load(path)
    _share(model.graph)
    onnx.save(model, path)


def _share(graph: onnx.GraphProto) -> None:
    """Remove the `Identity` nodes that the exporter adds for weights used twice, by query and by document."""
    stored = {one.name for one in graph.initializer}
    twice = [node for node in graph.node if node.op_type == "Identity" and node.input[0] in stored]
    names = {node.output[0]: node.input[0] for node in twice}
    for node in twice:
        graph.node.remove(node)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]


def quantize(fp32: Path, int8: Path, examples: Iterable[dict[str, NDArray[np.int64]]]) -> None:
    """Write `fp32` as an int8 graph: one scale per channel for weights, ranges on `examples` for activations.

    Fixed ranges keep a score independent of the rest of its batch, unlike ranges measured while scoring.

    Only products with a weight matrix become int8. The word embeddings have 4 bits already. Position embeddings are
    small and stay floats, as do the layers in `FLOATS`. Weights that are already `rounded` do not change.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._examples = iter(examples)

        def get_next(self) -> dict[str, NDArray[np.int64]] | None:
            return next(self._examples, None)

    graph = onnx.load(fp32).graph
    stored = {one.name for one in graph.initializer}  # attention's products of two activations stay floats
    floats = re.compile(rf"/({'|'.join(FLOATS)})(_\d+)?/")  # the second use of a layer has a number in its name
    logging.disable(logging.WARNING)  # it recommends preprocessing that changes nothing here
    try:
        quantize_static(
            fp32,
            int8,
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=[
                node.name
                for node in graph.node
                if node.op_type == "MatMul" and (node.input[1] not in stored or floats.search(node.name))
            ],
            extra_options={
                "OpTypesToExcludeOutputQuantization": ["MatMul"],
                "WeightSymmetric": True,
            },
        )
    finally:
        logging.disable(logging.NOTSET)


def share_weights(fp32: Path, int8: Path, folder: Path) -> None:
    """Write two graphs that share one weights file: `model.onnx`, `model_qint7.onnx` and `model.onnx_data`.

    Both use the int8 weights. `model.onnx` converts them to floats and calculates in floats (OpenVINO: in bfloat16).
    `model_qint7.onnx` calculates in int8.
    """
    floats, integers = onnx.load(fp32), onnx.load(int8)
    _dequantize(floats.graph, {one.name: one for one in integers.graph.initializer})
    stored, data = {}, bytearray()
    for name, model in (("model.onnx", floats), ("model_qint7.onnx", integers)):
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
    """Replace each weight that has a quantised form by that form and a node that converts it back to floats."""
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
    """Rename values to short numbers and drop node names, which together are 1 % of the file."""
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
