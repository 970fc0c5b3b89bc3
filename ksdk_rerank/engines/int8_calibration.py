"""Measures the inputs of a graph's matrix products on calibration texts, with the float32 weights on disk."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from ksdk_rerank.engines.batching import Batch
from ksdk_rerank.engines.hardware import cores
from ksdk_rerank.engines.int8_rounding import Array, Ranges
from ksdk_rerank.engines.onnx_graph import checked_inputs, feed
from ksdk_rerank.engines.telemetry import without_telemetry

with without_telemetry():
    import onnxruntime

__all__ = ["SMALL", "mapped", "measured", "move_weights", "opset_of", "reduced"]

SMALL = 1024
"""Bytes; smaller constants, such as shapes, stay in the graph."""
_EVERY = 8
"""Each pair's first token and every eighth after it are the samples on which exponents are chosen."""


def opset_of(model: onnx.ModelProto) -> int:
    """The version of its ONNX operator set; 0 if it names none."""
    return next((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), 0)


def move_weights(model: onnx.ModelProto, folder: Path, file: Path) -> None:
    """Move the weights of a graph from `folder` into `file`, so that they need not be in memory all the time."""
    with file.open("wb") as weights:
        for tensor in model.graph.initializer:
            outside = tensor.data_location == onnx.TensorProto.EXTERNAL
            if len(tensor.raw_data) < SMALL and not outside:
                continue
            weights.write(b"\0" * (-weights.tell() % 4096))  # aligned, so that it can be mapped into memory
            start = weights.tell()
            weights.write(mapped(tensor, folder).data if outside else tensor.raw_data)
            tensor.ClearField("raw_data")
            tensor.ClearField("external_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            for key, value in (("location", file.name), ("offset", start), ("length", weights.tell() - start)):
                tensor.external_data.add(key=key, value=str(value))


def mapped(tensor: onnx.TensorProto, folder: Path) -> NDArray[Any]:
    """The values of a tensor that is stored in a file in `folder`."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    return np.memmap(
        folder / entries["location"],
        helper.tensor_dtype_to_np_dtype(tensor.data_type),
        mode="r",
        offset=int(entries.get("offset", 0)),
        shape=tuple(tensor.dims),
    )


def measured(
    model: onnx.ModelProto, inputs: Mapping[str, int], batches: Iterable[Batch], folder: Path, source: Path
) -> dict[str, Ranges]:
    """Run a float32 graph on texts, and measure the inputs of products.

    Args:
        model: the graph; its large weights are in a file in `folder`.
        inputs: the values to measure, with the number of channels of each.
        batches: the texts, one pair each.
        folder: where the graph is written that also outputs the measurements.
        source: the file that the graph came from, for messages.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph, opset = copy.graph, opset_of(copy)
    start, end, step = ("int8_first", "int8_end", "int8_step")
    for name, value in ((start, 0), (end, np.iinfo(np.int64).max), (step, _EVERY)):
        graph.initializer.append(numpy_helper.from_array(np.array([value], np.int64), name))
    del graph.output[:]
    for number, (name, channels) in enumerate(inputs.items()):
        rows, low, high, samples = (f"int8_{what}_{number}" for what in ("rows", "low", "high", "samples"))
        shape = numpy_helper.from_array(np.array([-1, channels], np.int64), f"int8_shape_{number}")
        graph.initializer.append(shape)
        graph.node.append(helper.make_node("Reshape", [name, shape.name], [rows]))
        graph.node.extend(reduced("ReduceMin", rows, low, 0, opset, graph.initializer, keepdims=0))
        graph.node.extend(reduced("ReduceMax", rows, high, 0, opset, graph.initializer, keepdims=0))
        graph.node.append(helper.make_node("Slice", [rows, start, end, start, step], [samples]))
        for output in (low, high, samples):
            graph.output.append(helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, None))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = cores()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.disable_prepacking", "1")  # a second copy of all weights
    path = folder / "calibration.onnx"
    path.write_bytes(copy.SerializeToString())
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = checked_inputs([each.name for each in session.get_inputs()], source)
    found: dict[str, Ranges] = {}
    samples_of: dict[str, list[Array]] = defaultdict(list)
    for batch in batches:
        values = session.run(None, feed(batch, names))
        for name, low, high, samples in zip(inputs, values[::3], values[1::3], values[2::3], strict=True):
            samples_of[name].append(samples)
            before = found.get(name)
            if before is not None:
                low, high = np.minimum(low, before.low), np.maximum(high, before.high)
            found[name] = Ranges(low, high, samples)
    for name, ranges in found.items():
        ranges.samples = np.concatenate(samples_of.pop(name))
    return found


def reduced(
    operator: str, value: str, result: str, axis: int, opset: int, constants: Any, *, keepdims: int
) -> Iterator[onnx.NodeProto]:
    """A reduction over one axis, which became an input with operator set 18."""
    if opset < 18:
        yield helper.make_node(operator, [value], [result], axes=[axis], keepdims=keepdims)
        return
    name = f"{result}_axis"
    constants.append(numpy_helper.from_array(np.array([axis], np.int64), name))
    yield helper.make_node(operator, [value, name], [result], keepdims=keepdims)
