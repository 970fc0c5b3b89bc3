"""Rewrites a float32 ONNX graph of a transformer so that its large matrix products run in int8.

`int8_rounding.py` chooses the scales, and moves range from activations into weights. The factor for that is a
multiplication of its own, since a layer norm's output also goes into the residual connection.

After a layer norm, activations keep within a fixed range, which is measured on calibration texts. Elsewhere they can be
many times larger on new texts, so each token gets its own scale, calculated in the graph. Either way a pair's logit
does not depend on the rest of its batch.
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
from ksdk_rerank.engines.int8_calibration import SMALL, mapped, measured, move_weights, opset_of, reduced
from ksdk_rerank.engines.int8_rounding import Array, Rounding, best_rounding, rounded_rows, rounded_weights
from ksdk_rerank.engines.last_layer import restrict_last_layer
from ksdk_rerank.errors import UnsupportedModel

__all__ = ["quantize_graph"]

_SENSITIVE = 0.1
"""A product stays in float32 if int8 changes its output by more than this, relative to how much that varies."""
_INLINE = 1_900_000_000
"""Maximum bytes of weights inside the file; protobuf's own limit is 2 GiB."""
_LOWEST_OPSET = 11


def quantize_graph(source: Path, target: Path, batches: Iterable[Batch]) -> list[str]:
    """Write the graph in `source` to `target` with int8 products, int8 embeddings and a restricted last layer.

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
        move_weights(model, source.parent, Path(scratch, "weights"))
        restrict_last_layer(model)
        rewriting = _Rewriting(model, Path(scratch), source)
        kept = rewriting.run(batches)
        load_external_data_for_model(model, scratch)
        convert_model_from_external_data(model)
        large = sum(len(tensor.raw_data) for tensor in model.graph.initializer) > _INLINE
        onnx.save(model, target, save_as_external_data=large, location=f"{target.name}.data" if large else None)
    return kept


@dataclass(slots=True)
class _Product:
    """A matrix product with constant weights, and the node that adds its bias, if there is one."""

    node: onnx.NodeProto
    weights: onnx.TensorProto
    add: onnx.NodeProto | None
    bias: str | None


class _Rewriting:
    """One graph while it is rewritten in place."""

    def __init__(self, model: onnx.ModelProto, folder: Path, source: Path) -> None:
        self._model, self._graph, self._folder, self._source = model, model.graph, folder, source
        self._opset = opset_of(model)
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
        channels = {name: products[0].weights.dims[0] for name, products in self._groups.items()}
        ranges = measured(self._model, channels, batches, self._folder, self._source)
        kept = []
        for name, products in self._groups.items():
            weights = [self._array(product.weights) for product in products]
            plan = best_rounding(ranges.pop(name), weights, per_token=not self._normalized(name))
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
            return mapped(tensor, self._folder)
        array: NDArray[Any] = numpy_helper.to_array(tensor)
        return array

    def _constant(self, value: NDArray[Any] | np.generic, name: str) -> str:
        self._new.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def _quantize(self, name: str, products: Sequence[_Product], weights: Sequence[Array], plan: Rounding) -> None:
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
                *reduced("ReduceMin", even, low, -1, self._opset, self._new, keepdims=1),
                *reduced("ReduceMax", even, high, -1, self._opset, self._new, keepdims=1),
                node("Mul", low, ratio, to=f"{low}_ratio"),
                node("Max", high, f"{low}_ratio", least, to=size),
                node("Reciprocal", size, to=f"{size}_inverse"),
                node("Mul", even, f"{size}_inverse", to=f"{even}_token"),
            ]
            even = f"{even}_token"
        before.append(node("QuantizeLinear", even, scale, zero, to=rounded))
        for number, (product, floats) in enumerate(zip(products, weights, strict=True)):
            values, scales = rounded_weights(floats * plan.factor[:, None])
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
            values, scales = rounded_rows(self._array(table))
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
        values, scales = rounded_rows(self._array(weights))
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
        return tensor if min(tensor.dims) >= 16 and tensor.dims[0] * tensor.dims[1] >= SMALL else None

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
