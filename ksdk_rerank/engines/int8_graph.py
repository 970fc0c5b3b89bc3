"""Rewrites a float32 ONNX graph of a transformer so that its large matrix products run in int8.

Follows SmoothQuant (Xiao et al., ICML 2023, https://arxiv.org/abs/2211.10438): each input channel of a product is
divided by a factor, and the weights are multiplied by it, so that a few large channels do not use up the 8 bits. But:
the factor is a multiplication of its own, since a layer norm's output also goes into the residual connection, and its
exponent is chosen per product, by the error of the product's output.

Activations have 8 bits. After a layer norm they keep within a fixed range, which is measured on calibration texts.
Elsewhere they can be many times larger on new texts, so each token gets its own scale, calculated in the graph. Either
way a pair's logit does not depend on the rest of its batch.

Weights have one scale per output channel. x86 without VNNI adds two products of neighbouring inputs in 16 bits
(`vpmaddubsw`), so two neighbouring weights together stay within 128: 255 * 128 < 2 ** 15. That is up to one bit more
than the 7 bits per weight that onnxruntime's `reduce_range` gives, and as safe.

Worked example, weights [3, 1] of two neighbouring inputs and one output: the scale is (3 + 1) / 127, the weights become
[95, 32], and the largest sum is 255 * (95 + 32) = 32,385. In 7 bits they would be [64, 21].
"""

from __future__ import annotations

import itertools
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.external_data_helper import convert_model_from_external_data, load_external_data_for_model

from ksdk_rerank.engines.batching import Batch
from ksdk_rerank.engines.hardware import cores
from ksdk_rerank.engines.onnx_graph import checked_inputs, feed
from ksdk_rerank.engines.telemetry import without_telemetry
from ksdk_rerank.errors import UnsupportedModel

with without_telemetry():
    import onnxruntime

__all__ = ["quantize_graph"]

Array = NDArray[np.float32]

_EXPONENTS = (0.5, 0.65, 0.8)
"""How much of the range moves into the weights. Which is best depends on the product."""
_MARGIN = 1.2
"""How much larger a fixed range is than what calibration found. On other texts layer norms exceeded it by up to 1.4,
but rarely by more than 1.2 (ms-marco-MiniLM-L-12-v2)."""
_SENSITIVE = 0.1
"""A product stays in float32 if int8 changes its output by more than this, relative to how much that varies."""
_EVERY = 8
"""Each pair's first token and every eighth after it are the samples on which exponents are chosen."""
_INLINE = 1_900_000_000
"""Maximum bytes of weights inside the file; protobuf's own limit is 2 GiB."""
_SMALL = 1024  # bytes; smaller constants, such as shapes, stay in the graph
_LOWEST_OPSET = 11


def quantize_graph(source: Path, target: Path, batches: Iterable[Batch]) -> list[str]:
    """Write the graph in `source` to `target` with int8 products and int8 embeddings.

    Products that int8 would change too much stay in float32. So does what runs once per pair, such as a pooler; only
    its weights are stored in int8. Calibration needs a copy of the float32 weights in memory and one on disk; after
    that, one product at a time is in memory.

    Args:
        source: a float32 graph, with its weights inside or in a file beside it.
        target: where to write. Weights of more than 1.9 GB go into a file beside it, with `.data` after its name.
        batches: the texts for calibration, one pair each, since padding should not count.

    Returns:
        The weights' names of the products that stay in float32 because int8 would change them too much.

    Raises:
        UnsupportedModel: the graph has no matrix product with constant weights, or its operator set is too old.
    """
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as scratch:
        model = onnx.load(source, load_external_data=False)
        _move_weights(model, source.parent, Path(scratch, "weights"))
        rewriting = _Rewriting(model, Path(scratch), source)
        kept = rewriting.run(batches)
        load_external_data_for_model(model, scratch)
        convert_model_from_external_data(model)
        large = sum(len(tensor.raw_data) for tensor in model.graph.initializer) > _INLINE
        onnx.save(model, target, save_as_external_data=large, location=f"{target.name}.data" if large else None)
    return kept


def _move_weights(model: onnx.ModelProto, folder: Path, file: Path) -> None:
    """Move the weights of a graph from `folder` into `file`, so that they need not be in memory all the time."""
    with file.open("wb") as weights:
        for tensor in model.graph.initializer:
            outside = tensor.data_location == onnx.TensorProto.EXTERNAL
            if len(tensor.raw_data) < _SMALL and not outside:
                continue
            weights.write(b"\0" * (-weights.tell() % 4096))  # aligned, so that it can be mapped into memory
            start = weights.tell()
            weights.write(_mapped(tensor, folder).data if outside else tensor.raw_data)
            tensor.ClearField("raw_data")
            tensor.ClearField("external_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            for key, value in (("location", file.name), ("offset", start), ("length", weights.tell() - start)):
                tensor.external_data.add(key=key, value=str(value))


def _mapped(tensor: onnx.TensorProto, folder: Path) -> NDArray[Any]:
    """The values of a tensor that is stored in a file in `folder`."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    return np.memmap(
        folder / entries["location"],
        helper.tensor_dtype_to_np_dtype(tensor.data_type),
        mode="r",
        offset=int(entries.get("offset", 0)),
        shape=tuple(tensor.dims),
    )


@dataclass(slots=True)
class _Product:
    """A matrix product with constant weights, and the node that adds its bias, if there is one."""

    node: onnx.NodeProto
    weights: onnx.TensorProto
    add: onnx.NodeProto | None
    bias: str | None


@dataclass(slots=True)
class _Ranges:
    """The input of a product: lowest and highest value of each channel, and some tokens as samples."""

    low: Array
    high: Array
    samples: Array


@dataclass(slots=True)
class _Smoothed:
    """How to quantize an input that has been divided by `factor`: either to a fixed range or to a range per token.

    A token's range is `low` to `high` times its own scale.
    """

    factor: Array
    low: float
    high: float
    per_token: bool
    error: float = 0.0

    @property
    def scale(self) -> np.float32:
        return np.float32(max(self.high - self.low, 1e-12) / 255)

    @property
    def zero_point(self) -> np.uint8:
        return np.uint8(round(-self.low / float(self.scale)))

    def rounded(self, tokens: Array) -> Array:
        """What int8 leaves of `tokens`, which have been divided by `factor`."""
        size = np.float32(1)
        if self.per_token:
            size = np.maximum(tokens.max(1, keepdims=True), tokens.min(1, keepdims=True) / self.low).clip(min=1e-9)
        steps = np.rint(tokens / (size * self.scale)) + np.float32(self.zero_point)
        result: Array = (steps.clip(0, 255) - np.float32(self.zero_point)) * (size * self.scale)
        return result


class _Rewriting:
    """One graph while it is rewritten in place."""

    def __init__(self, model: onnx.ModelProto, folder: Path, source: Path) -> None:
        self._model, self._graph, self._folder, self._source = model, model.graph, folder, source
        self._opset = next((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), 0)
        if self._opset < _LOWEST_OPSET:
            raise UnsupportedModel(
                f"{source} has ONNX operator set {self._opset}, older than {_LOWEST_OPSET}; export the model again"
            )
        self._initializers = {tensor.name: tensor for tensor in self._graph.initializer}
        self._producers = {name: node for node in self._graph.node for name in node.output}
        self._consumers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in self._graph.node:
            for name in node.input:
                self._consumers[name].append(node)
        self._groups: dict[str, list[_Product]] = defaultdict(list)  # products with the same input share its rounding
        for product in self._products():
            self._groups[product.node.input[0]].append(product)
        if not self._groups:
            raise UnsupportedModel(f"{source} has no matrix product with constant weights, so it cannot be quantized")
        self._new: list[onnx.TensorProto] = []
        self._replaced: dict[str, list[onnx.NodeProto]] = {}  # by the first output of the old node
        self._numbers = itertools.count()

    def run(self, batches: Iterable[Batch]) -> list[str]:
        """Quantize everything; return the names of the weights that stay in float32."""
        ranges = self._calibrate(batches)
        kept = []
        for name, products in self._groups.items():
            weights = [self._array(product.weights) for product in products]
            plan = _smoothed(ranges.pop(name), weights, per_token=not self._normalized(name))
            if plan.error > _SENSITIVE:
                kept += [product.weights.name for product in products]
            else:
                self._quantize(name, products, weights, plan)
        for node in self._graph.node:
            if node.op_type == "Gather":
                self._shrink_embedding(node)
            elif node.op_type == "Gemm":
                self._shrink_once_per_pair(node)
        self._finish()
        return kept

    def _products(self) -> Iterator[_Product]:
        outputs = {output.name for output in self._graph.output}
        for node in self._graph.node:
            weights = self._initializers.get(node.input[1]) if node.op_type == "MatMul" else None
            if weights is None or len(weights.dims) != 2 or weights.data_type != onnx.TensorProto.FLOAT:
                continue
            add = bias = None
            consumers = self._consumers[node.output[0]]
            if len(consumers) == 1 and consumers[0].op_type == "Add" and node.output[0] not in outputs:
                [bias] = [name for name in consumers[0].input if name != node.output[0]] or [None]
                tensor = self._initializers.get(bias or "")
                if tensor is not None and list(tensor.dims) == [weights.dims[1]]:
                    add = consumers[0]
            yield _Product(node, weights, add, bias if add is not None else None)

    def _normalized(self, name: str) -> bool:
        """Whether a value comes from a layer norm, as one node or as the last three of an older export."""
        node = self._producers.get(name)
        if node is None or node.op_type == "LayerNormalization":
            return node is not None
        for operator in ("Add", "Mul"):  # the norm's bias and weight
            rest = [each for each in node.input if each not in self._initializers] if node.op_type == operator else []
            if len(rest) != 1 or rest[0] not in self._producers:
                return False
            node = self._producers[rest[0]]
        return bool(node.op_type == "Div")

    def _array(self, tensor: onnx.TensorProto) -> NDArray[Any]:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            return _mapped(tensor, self._folder)
        array: NDArray[Any] = numpy_helper.to_array(tensor)
        return array

    def _calibrate(self, batches: Iterable[Batch]) -> dict[str, _Ranges]:
        """Run the float32 graph; return the ranges of all inputs of products."""
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        graph = model.graph
        start, end, step = ("int8_first", "int8_end", "int8_step")
        for name, value in ((start, 0), (end, np.iinfo(np.int64).max), (step, _EVERY)):
            graph.initializer.append(numpy_helper.from_array(np.array([value], np.int64), name))
        del graph.output[:]
        for number, (name, products) in enumerate(self._groups.items()):
            rows, low, high, samples = (f"int8_{what}_{number}" for what in ("rows", "low", "high", "samples"))
            shape = numpy_helper.from_array(
                np.array([-1, products[0].weights.dims[0]], np.int64), f"int8_shape_{number}"
            )
            graph.initializer.append(shape)
            graph.node.append(helper.make_node("Reshape", [name, shape.name], [rows]))
            graph.node.extend(self._reduce("ReduceMin", rows, low, 0, graph.initializer, keepdims=0))
            graph.node.extend(self._reduce("ReduceMax", rows, high, 0, graph.initializer, keepdims=0))
            graph.node.append(helper.make_node("Slice", [rows, start, end, start, step], [samples]))
            for output in (low, high, samples):
                graph.output.append(helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, None))
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = cores()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.disable_prepacking", "1")  # a second copy of all weights
        path = self._folder / "calibration.onnx"
        path.write_bytes(model.SerializeToString())
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        names = checked_inputs([each.name for each in session.get_inputs()], self._source)
        found: dict[str, _Ranges] = {}
        samples_of: dict[str, list[Array]] = defaultdict(list)
        for batch in batches:
            values = session.run(None, feed(batch, names))
            for name, low, high, samples in zip(self._groups, values[::3], values[1::3], values[2::3], strict=True):
                samples_of[name].append(samples)
                before = found.get(name)
                if before is not None:
                    low, high = np.minimum(low, before.low), np.maximum(high, before.high)
                found[name] = _Ranges(low, high, samples)
        for name, ranges in found.items():
            ranges.samples = np.concatenate(samples_of.pop(name))
        return found

    def _reduce(
        self, operator: str, value: str, result: str, axis: int, constants: Any, *, keepdims: int
    ) -> Iterator[onnx.NodeProto]:
        """A reduction over one axis, which became an input with operator set 18."""
        if self._opset < 18:
            yield helper.make_node(operator, [value], [result], axes=[axis], keepdims=keepdims)
            return
        name = f"{result}_axis"
        constants.append(numpy_helper.from_array(np.array([axis], np.int64), name))
        yield helper.make_node(operator, [value, name], [result], keepdims=keepdims)

    def _constant(self, value: NDArray[Any] | np.generic, name: str) -> str:
        self._new.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def _quantize(self, name: str, products: Sequence[_Product], weights: Sequence[Array], plan: _Smoothed) -> None:
        """Replace the products of one input by int8 products."""
        prefix = f"int8_{next(self._numbers)}"

        def node(operator: str, *inputs: str, to: str, **attributes: object) -> onnx.NodeProto:
            return helper.make_node(operator, inputs, [to], name=f"{prefix}/{operator}/{to}", **attributes)

        even, rounded = f"{prefix}_even", f"{prefix}_rounded"
        scale = self._constant(plan.scale, f"{prefix}_scale")
        zero = self._constant(plan.zero_point, f"{prefix}_zero_point")
        before = [node("Mul", name, self._constant(1 / plan.factor, f"{prefix}_factor"), to=even)]
        size = f"{prefix}_size"
        if plan.per_token:
            low, high, least = f"{prefix}_low", f"{prefix}_high", self._constant(np.float32(1e-9), f"{prefix}_least")
            ratio = self._constant(np.float32(1 / plan.low), f"{prefix}_ratio")
            before += [
                *self._reduce("ReduceMin", even, low, -1, self._new, keepdims=1),
                *self._reduce("ReduceMax", even, high, -1, self._new, keepdims=1),
                node("Mul", low, ratio, to=f"{low}_ratio"),
                node("Max", high, f"{low}_ratio", least, to=size),
                node("Reciprocal", size, to=f"{size}_inverse"),
                node("Mul", even, f"{size}_inverse", to=f"{even}_token"),
            ]
            even = f"{even}_token"
        before.append(node("QuantizeLinear", even, scale, zero, to=rounded))
        for number, (product, floats) in enumerate(zip(products, weights, strict=True)):
            values, scales = _rounded_weights(floats * plan.factor[:, None])
            stored = self._constant(values, f"{product.weights.name}_{prefix}_{number}_int8")
            inputs = [rounded, stored, scale, self._constant(scales, f"{stored}_scale"), zero]
            output = product.node.output[0]
            if plan.per_token:
                result = f"{prefix}_{number}_result"
                after = [
                    node("MatMulIntegerToFloat", *inputs, to=result, domain="com.microsoft"),
                    node("Mul", result, size, to=output),
                ]
            else:
                if product.add is not None and product.bias is not None:
                    inputs += ["", product.bias]
                    output = product.add.output[0]
                    self._replaced[product.add.output[0]] = []
                after = [node("MatMulIntegerToFloat", *inputs, to=output, domain="com.microsoft")]
            self._replaced[product.node.output[0]] = before + after
            before = []

    def _shrink_embedding(self, node: onnx.NodeProto) -> None:
        """Store an embedding table in int8 with a scale per row; rows become floats when they are looked up."""
        table = self._large(node.input[0])
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
        if table is None or axis != 0 or {each.op_type for each in self._consumers[table.name]} != {"Gather"}:
            return
        name, [output] = f"int8_{next(self._numbers)}", node.output
        if not any(tensor.name == f"{table.name}_int8" for tensor in self._new):
            values, scales = _rounded_rows(self._array(table))
            self._constant(values, f"{table.name}_int8")
            self._constant(scales, f"{table.name}_int8_scale")
        ids = node.input[1]
        self._replaced[node.output[0]] = [
            helper.make_node("Gather", [f"{table.name}_int8", ids], [f"{name}_row"]),
            helper.make_node("Gather", [f"{table.name}_int8_scale", ids], [f"{name}_scale"]),
            helper.make_node("Cast", [f"{name}_row"], [f"{name}_float"], to=onnx.TensorProto.FLOAT),
            helper.make_node("Mul", [f"{name}_float", f"{name}_scale"], [output]),
        ]

    def _shrink_once_per_pair(self, node: onnx.NodeProto) -> None:
        """Store the weights of a layer that runs once per pair in int8; onnxruntime makes floats of them at load."""
        weights = self._large(node.input[1])
        if weights is None or len(self._consumers[weights.name]) != 1:
            return
        values, scales = _rounded_rows(self._array(weights))
        name = f"{weights.name}_int8"
        self._constant(values, name)
        self._constant(scales, f"{name}_scale")
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[1] = f"{name}_floats"
        self._replaced[node.output[0]] = [
            helper.make_node("Cast", [name], [f"{name}_cast"], to=onnx.TensorProto.FLOAT),
            helper.make_node("Mul", [f"{name}_cast", f"{name}_scale"], [f"{name}_floats"]),
            copy,
        ]

    def _large(self, name: str) -> onnx.TensorProto | None:
        """The float32 matrix of that name, if storing it in int8 is worth the nodes that it takes."""
        tensor = self._initializers.get(name)
        if tensor is None or len(tensor.dims) != 2 or tensor.data_type != onnx.TensorProto.FLOAT:
            return None
        return tensor if min(tensor.dims) >= 16 and tensor.dims[0] * tensor.dims[1] >= _SMALL else None

    def _finish(self) -> None:
        """Put the new nodes and weights into the graph, and remove those that nothing uses any more."""
        nodes = [new for node in self._graph.node for new in self._replaced.get(node.output[0], [node])]
        kept_nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        for node in kept_nodes:
            node.ClearField("metadata_props")  # stack traces of the exporter, 0.6 MB with twelve layers
        used = {name for node in kept_nodes for name in node.input} | _used_in_subgraphs(kept_nodes)
        used |= {output.name for output in self._graph.output}
        unused = [tensor for tensor in self._graph.initializer if tensor.name not in used]
        for tensor in unused:
            self._graph.initializer.remove(tensor)
        self._graph.initializer.extend(self._new)
        self._new.clear()
        del self._graph.node[:]
        self._graph.node.extend(kept_nodes)
        del self._graph.value_info[:]
        if not any(each.domain == "com.microsoft" for each in self._model.opset_import):
            self._model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def _used_in_subgraphs(nodes: Iterable[onnx.NodeProto]) -> set[str]:
    graphs = [attribute.g for node in nodes for attribute in node.attribute if attribute.HasField("g")]
    inner = [node for graph in graphs for node in graph.node]
    return {name for node in inner for name in node.input} | (_used_in_subgraphs(inner) if inner else set())


def _smoothed(ranges: _Ranges, weights: Sequence[Array], *, per_token: bool) -> _Smoothed:
    """The best plan for one input and its products, by the error of their outputs on the samples."""
    largest = np.maximum(np.abs(ranges.low), np.abs(ranges.high)).clip(min=1e-3)
    heaviest = np.max([np.abs(each).max(1) for each in weights], axis=0).clip(min=1e-4)
    exact = [ranges.samples @ each for each in weights]
    plans = []
    for exponent in _EXPONENTS:
        factor = largest**exponent / heaviest ** (1 - exponent)
        factor = (factor / np.exp(np.log(factor).mean())).astype(np.float32)
        tokens = ranges.samples / factor
        if per_token:
            ratios = -tokens.min(1) / tokens.max(1).clip(min=1e-9)
            plan = _Smoothed(factor, -float(np.quantile(ratios, 0.75).clip(0.1, 10)), 1.0, per_token)
        else:
            low, high = float((ranges.low / factor).min()), float((ranges.high / factor).max())
            plan = _Smoothed(factor, min(low, 0.0) * _MARGIN, max(high, 0.0) * _MARGIN, per_token)
        rounded = plan.rounded(tokens)
        for each, expected in zip(weights, exact, strict=True):
            values, scales = _rounded_weights(each * factor[:, None])
            error = rounded @ (values * scales) - expected
            plan.error = max(plan.error, float(np.sqrt((error**2).mean() / expected.var(0).mean().clip(min=1e-12))))
        plans.append(plan)
    return min(plans, key=lambda plan: plan.error)


def _rounded_weights(weights: Array) -> tuple[NDArray[np.int8], Array]:
    """Round weights (inputs, outputs): the steps, and the scale of each output."""
    sizes = np.abs(weights)
    if len(sizes) % 2:
        sizes = np.concatenate([sizes, np.zeros_like(sizes[:1])])
    scales = ((sizes[0::2] + sizes[1::2]).max(0) / 127).clip(min=1e-12).astype(np.float32)
    return np.rint(weights / scales).astype(np.int8), scales


def _rounded_rows(table: Array) -> tuple[NDArray[np.int8], Array]:
    """Round each row of a table: the steps, and the scale of each row, (rows, 1)."""
    values, scales = np.empty(table.shape, np.int8), np.empty((len(table), 1), np.float32)
    for start in range(0, len(table), 4096):  # a large table would not fit into memory twice
        rows = slice(start, start + 4096)
        scales[rows] = (np.abs(table[rows]).max(1, keepdims=True) / 127).clip(min=1e-12)
        values[rows] = np.rint(table[rows] / scales[rows])
    return values, scales
