"""Restricts the last layer of an ONNX graph to the first token, the only one that a cross-encoder's head reads.

Exporters calculate all tokens in every layer; the head then picks the first, `[CLS]`. Here that choice moves towards
the graph's inputs, past every operator that treats tokens independently, up to the attention of the last layer, which
is left with one query. Its keys and values still come from all tokens, so logits stay the same.

The pass walks the graph from its end. An operator is restricted if every reader of its output needs the first token
alone. Otherwise a `Gather` picks that token for those readers that do.

Worked example: a head reads the first token of `LayerNorm(x + attention(x))`. The norm and the sum have no other
reader, so they are restricted; so is attention, to its first query. But `x` is also what keys and values come from, so
it stays whole, and a `Gather` picks its first token for the sum and for the query.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

__all__ = ["restrict_last_layer"]

_TOKENS = 1
"""The axis of tokens in a hidden state."""
_SMALL = 16
"""Maximum elements of a tensor whose values shape inference gets to see."""

_Shape = Sequence[int | str | None]
"""A value's sizes: a number, the name of a size that varies, or None if it is unknown."""
_Axes = Sequence[int | None]
"""For each input of an operator: the axis along which it reads only the first row, or None if it reads all of it."""


def restrict_last_layer(model: onnx.ModelProto) -> int:
    """Edit a graph in place, and return how many operators now calculate only the first token.

    The graph stays as it was, and the result is 0, if its head reads all tokens, if its last layer is restricted
    already, or if it has subgraphs, whose readers this pass does not see.
    """
    if any(attribute.HasField("g") for node in model.graph.node for attribute in node.attribute):
        return 0
    return _Restriction(model).run()


class _Restriction:
    def __init__(self, model: onnx.ModelProto) -> None:
        self._graph = model.graph
        self._shapes = _shapes(model)
        self._constants = _constants(model.graph)
        self._numbers: dict[str, onnx.TensorProto] = {}
        self._readers: dict[str, list[tuple[onnx.NodeProto, int, int | None]]] = defaultdict(list)
        for output in model.graph.output:
            self._readers[output.name].append((onnx.NodeProto(), 0, None))

    def run(self) -> int:
        nodes: list[onnx.NodeProto] = []  # copies, the last first
        restricted = 0
        for original in reversed(self._graph.node):
            node = onnx.NodeProto()
            node.CopyFrom(original)
            axes = self._restricted(node)
            if axes is None:
                for name in node.output:
                    nodes += self._gathers(name)
                nodes.append(node)
                axes = [None] * len(node.input)
                if self._picks_first_token(node):
                    axes[0] = _TOKENS
            else:
                restricted += 1
                nodes.append(node)
                if node.op_type == "Reshape":
                    nodes += self._shape_of_one_token(node)
            for place, (name, axis) in enumerate(zip(node.input, axes, strict=True)):
                has_one = axis is not None and self._shapes[name][axis] == 1
                self._readers[name].append((node, place, None if has_one else axis))
        for value in (*self._graph.initializer, *self._graph.input):
            nodes += self._gathers(value.name)
        if restricted:
            del self._graph.node[:], self._graph.value_info[:]
            self._graph.node.extend(reversed(nodes))
            self._graph.initializer.extend(self._numbers.values())
        return restricted

    def _picks_first_token(self, node: onnx.NodeProto) -> bool:
        if node.op_type != "Gather" or _attribute(node, "axis") != _TOKENS or node.input[0] not in self._shapes:
            return False
        index = self._constants.get(node.input[1])
        return index is not None and not index.dims and not numpy_helper.to_array(index)

    def _restricted(self, node: onnx.NodeProto) -> _Axes | None:
        """What a node reads if it calculates only the row that is read of its output; None if it must calculate all."""
        rule = _RULES.get(node.op_type)
        wanted = {axis for name in node.output for _, _, axis in self._readers[name]}
        shapes = [self._shapes.get(name) for name in (node.output[0], *node.input)]
        if rule is None or len(wanted) != 1 or None in wanted or None in shapes:
            return None
        return rule(node, wanted.pop(), *shapes)

    def _gathers(self, name: str) -> Iterator[onnx.NodeProto]:
        """Nodes that pick the first row of a whole value for those of its readers that need no more."""
        for axis in sorted({axis for _, _, axis in self._readers[name] if axis is not None}):
            first = f"{name}_first_of_axis_{axis}"
            for node, place, along in self._readers[name]:
                if along == axis:
                    node.input[place] = first
            yield helper.make_node("Gather", [name, self._number(0)], [first], axis=axis)

    def _shape_of_one_token(self, reshape: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        """Nodes that put a 1 for the number of tokens into the shape of a restricted `Reshape`, the last node first."""
        shape, name = reshape.input[1], reshape.output[0]
        pairs, heads, reshape.input[1] = f"{name}_pairs", f"{name}_heads", f"{name}_shape"
        yield helper.make_node("Concat", [pairs, self._number(1), heads], [reshape.input[1]], axis=0)
        yield helper.make_node("Slice", [shape, self._number(2), self._number(_SMALL)], [heads])
        yield helper.make_node("Slice", [shape, self._number(0), self._number(1)], [pairs])

    def _number(self, value: int) -> str:
        name = f"last_layer_{value}"
        self._numbers[name] = numpy_helper.from_array(np.array([value], np.int64), name)
        return name


def _constants(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    nodes = {node.output[0]: _attribute(node, "value") for node in graph.node if node.op_type == "Constant"}
    inside = {name: value for name, value in nodes.items() if value is not None}
    return inside | {tensor.name: tensor for tensor in graph.initializer}


def _shapes(model: onnx.ModelProto) -> dict[str, _Shape]:
    graph, constants, inputs = model.graph, [], list(model.graph.input)
    for tensor in graph.initializer:
        if math.prod(tensor.dims) <= _SMALL:
            constants.append(tensor)
        else:  # not its values: inference copies the graph a few times
            inputs.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    light = helper.make_model(
        helper.make_graph(graph.node, "shapes", inputs, graph.output, constants, value_info=graph.value_info),
        opset_imports=model.opset_import,
        ir_version=model.ir_version,
    )
    found = onnx.shape_inference.infer_shapes(light, data_prop=True).graph
    return {
        value.name: [size.dim_value or size.dim_param or None for size in value.type.tensor_type.shape.dim]
        for value in (*found.value_info, *found.input, *found.output)
        if value.type.tensor_type.HasField("shape")
    } | {tensor.name: list(tensor.dims) for tensor in constants}


def _attribute(node: onnx.NodeProto, name: str) -> Any:
    return next((helper.get_attribute_value(each) for each in node.attribute if each.name == name), None)


def _elementwise(_: onnx.NodeProto, axis: int, output: _Shape, *inputs: _Shape) -> _Axes:
    places = [axis - len(output) + len(each) for each in inputs]  # broadcasting aligns shapes at their ends
    return [place if place >= 0 else None for place in places]


def _product(_: onnx.NodeProto, axis: int, output: _Shape, left: _Shape, right: _Shape) -> _Axes | None:
    return [len(left) - 2, None] if axis == len(output) - 2 and len(right) > 1 else None


def _along_last_axis(node: onnx.NodeProto, axis: int, output: _Shape, *inputs: _Shape) -> _Axes | None:
    last = _attribute(node, "axis") in (-1, len(output) - 1) and axis < len(output) - 1
    return [axis] + [None] * (len(inputs) - 1) if last else None


def _joined(node: onnx.NodeProto, axis: int, output: _Shape, *inputs: _Shape) -> _Axes | None:
    last = _attribute(node, "axis") in (-1, len(output) - 1) and axis < len(output) - 1
    return [axis] * len(inputs) if last else None


def _mean(node: onnx.NodeProto, axis: int, output: _Shape, value: _Shape, *axes: _Shape) -> _Axes | None:
    """The mean within a layer norm that an older export has in single operators. Its axes are an attribute there."""
    last = _attribute(node, "axes") in ([-1], [len(value) - 1]) and axis < len(value) - 1
    return [axis] if last and len(output) == len(value) else None


def _transposed(node: onnx.NodeProto, axis: int, output: _Shape, _: _Shape) -> _Axes:
    permutation = _attribute(node, "perm") or range(len(output))[::-1]
    return [permutation[axis]]


def _reshaped(_: onnx.NodeProto, axis: int, output: _Shape, value: _Shape, shape: _Shape) -> _Axes | None:
    only_heads_change = None not in output[:2] and list(output[:2]) == list(value[:2])
    return [axis, None] if only_heads_change and axis == _TOKENS else None


_RULES: dict[str, Callable[..., _Axes | None]] = {
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Pow", "Sqrt", "Neg", "Cast"), _elementwise),
    **dict.fromkeys(("Erf", "Gelu", "Relu", "Sigmoid", "Tanh"), _elementwise),
    **dict.fromkeys(("LayerNormalization", "Softmax", "Split"), _along_last_axis),
    "Concat": _joined,
    "MatMul": _product,
    "ReduceMean": _mean,
    "Transpose": _transposed,
    "Reshape": _reshaped,
}
"""For each operator that can be restricted: what it has to read to calculate the first row of its output along an axis,
by the shapes of its output and its inputs. None if it has to calculate everything."""
