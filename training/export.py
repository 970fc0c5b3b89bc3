"""From torch to ONNX, and from float32 to int8."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import onnx
import torch

__all__ = ["quantize", "to_onnx"]


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
    """Weights to int8, one scale a channel; activations are quantised as they come.

    Weights keep to 7 bits: on x86 without VNNI two products of 8 bits overflow when they are added
    (https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html, 2026-11-23), and this one file is
    for all processors.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.disable(logging.WARNING)  # it recommends a preprocessing that changes nothing here
    try:
        quantize_dynamic(fp32, int8, per_channel=True, reduce_range=True, weight_type=QuantType.QInt8)
    finally:
        logging.disable(logging.NOTSET)
    graph = onnx.load(int8)
    _shorten(graph.graph)
    onnx.save(graph, int8)


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
