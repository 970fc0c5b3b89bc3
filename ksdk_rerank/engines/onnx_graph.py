"""An ONNX graph's contents, inputs and output. Reads them without the `onnx` package or loading the weights.

Follows https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3 (2026-11-26). But: it interprets only the fields needed
here.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ksdk_rerank.engines.batching import Batch
from ksdk_rerank.engines.files import check_start, damaged
from ksdk_rerank.engines.protobuf import fields, varint
from ksdk_rerank.errors import UnsupportedModel

__all__ = ["Graph", "checked_inputs", "checked_logits", "feed", "read_graph", "takes_one"]

_INPUTS = {"input_ids", "attention_mask", "token_type_ids"}

_FLOAT16 = 10
_DYNAMIC = {"DynamicQuantizeLinear", "DynamicQuantizeMatMul"}
"""Operators that measure the range of a whole batch. onnxruntime fuses the first into the second (1.32,
docs/ContribOperators.md)."""


@dataclass(slots=True)
class Graph:
    """The operators and weights of an ONNX graph.

    Attributes:
        operators: the operator types of its nodes, subgraphs included.
        external: files beside it that hold its weights, and the least size in bytes that each must have.
        float16: whether any of its weights are float16.
    """

    operators: set[str] = field(default_factory=set)
    external: dict[str, int] = field(default_factory=dict)
    float16: bool = False

    @property
    def quantization(self) -> Literal["dynamic", "static", "weights", "none"]:
        """What the graph quantizes.

        `"dynamic"`: activations, with ranges measured at run time over the batch. `"static"`: activations, with ranges
        that are fixed or measured per token. `"weights"`: weights only. `"none"`: nothing.
        """
        if self.operators & _DYNAMIC:
            return "dynamic"
        if any(operator == "QuantizeLinear" or operator.startswith("QLinear") for operator in self.operators):
            return "static"
        return "weights" if self.operators & {"DequantizeLinear", "MatMulNBits"} else "none"

    @property
    def int8(self) -> bool:
        """Whether the graph calculates in int8."""
        return self.quantization in ("dynamic", "static")


def read_graph(path: Path) -> Graph:
    """Read the graph in an ONNX file.

    Raises:
        ModelError: the file cannot be read, is truncated or holds no ONNX graph.
    """
    check_start(path)
    found = Graph()
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            for number, start, end in fields(content, 0, len(content)):
                if number == 7:  # ModelProto.graph
                    _read_graph(content, start, end, found)
    except (IndexError, ValueError, RecursionError, OSError) as error:
        raise damaged(path, "is not an ONNX graph, or is incomplete", "fetch or export the model again") from error
    if not found.operators:
        raise damaged(path, "is not an ONNX graph, or is empty", "fetch or export the model again")
    return found


def _read_graph(content: mmap.mmap, start: int, end: int, found: Graph) -> None:
    for number, begin, stop in fields(content, start, end):
        if number == 1:  # GraphProto.node
            _read_node(content, begin, stop, found)
        elif number == 5:  # GraphProto.initializer
            _read_tensor(content, begin, stop, found)


def _read_node(content: mmap.mmap, start: int, end: int, found: Graph) -> None:
    for number, begin, stop in fields(content, start, end):
        if number == 4:  # NodeProto.op_type
            found.operators.add(content[begin:stop].decode())
        elif number == 5:  # NodeProto.attribute
            for part, first, last in fields(content, begin, stop):
                if part == 5:  # AttributeProto.t
                    _read_tensor(content, first, last, found)
                elif part == 6:  # AttributeProto.g
                    _read_graph(content, first, last, found)


def _read_tensor(content: mmap.mmap, start: int, end: int, found: Graph) -> None:
    external = {}
    for number, begin, stop in fields(content, start, end):
        if number == 2:  # TensorProto.data_type
            found.float16 |= varint(content, begin)[0] == _FLOAT16
        elif number == 13:  # TensorProto.external_data, a StringStringEntryProto
            entry = {part: content[first:last].decode() for part, first, last in fields(content, begin, stop)}
            external[entry.get(1)] = entry.get(2, "")
    if "location" in external:
        size = int(external.get("offset", 0)) + int(external.get("length", 0))
        found.external[external["location"]] = max(size, found.external.get(external["location"], 0))


def checked_inputs(names: Iterable[str], path: Path) -> list[str]:
    """Return `names`, the graph's inputs.

    Raises:
        UnsupportedModel: one of them is not a cross-encoder input by Hugging Face's names.
    """
    names = list(names)
    unknown = set(names) - _INPUTS
    if unknown:
        raise UnsupportedModel(
            f"{path} needs the inputs {', '.join(sorted(unknown))}, which BERT-style cross-encoders do not have; pass"
            ' backend="torch"'
        )
    return names


def takes_one(shapes: Mapping[str, Sequence[object]], path: Path) -> bool:
    """Whether a graph takes exactly one pair per batch, judged by its input shapes. A positive integer is a fixed size.

    Raises:
        UnsupportedModel: the graph takes another fixed number of pairs, or a fixed number of tokens.
    """
    fixed = {name: [isinstance(size, int) and size > 0 for size in shape] for name, shape in shapes.items()}
    if not any(map(any, fixed.values())):
        return False
    if all(shapes[name][0] == 1 for name, sizes in fixed.items() if sizes[:1] == [True]) and not any(
        any(sizes[1:]) for sizes in fixed.values()
    ):
        return True
    name, shape = next((name, shape) for name, shape in shapes.items() if any(fixed[name]))
    raise UnsupportedModel(
        f"{path} has a fixed shape ({name}: {' x '.join(map(str, shape))}), but batches vary in size and length;"
        ' export the model with dynamic axes for both, or pass backend="torch"'
    )


def feed(batch: Batch, names: Iterable[str]) -> dict[str, NDArray[np.int64]]:
    """The arrays of `batch`, keyed by the graph's input names."""
    arrays = {"input_ids": batch.ids, "attention_mask": batch.mask, "token_type_ids": batch.types}
    return {name: arrays[name] for name in names}


def checked_logits(logits: NDArray[np.floating], batch: Batch, label: int | None = None) -> NDArray[np.floating]:
    """Return a graph's output as float32, one logit per pair.

    If a classifier's `label` is given, the result is that label's log-odds: its logit minus the log of the sum of the
    other logits' exponentials. Its sigmoid is the softmax of that label.

    Raises:
        UnsupportedModel: the graph did not return exactly one logit per pair, or per pair and label.
    """
    expected = "one logit per pair" if label is None else f"a logit per label, of which label {label} is one,"
    if label is None and logits.size == len(batch.ids):
        return np.array(logits, np.float32).reshape(-1)  # a copy: an engine may reuse its array for the next results
    if label is not None and logits.ndim == 2 and logits.shape[1] > max(1, label):
        others = np.delete(logits, label, axis=1).astype(np.float32)
        highest = others.max(axis=1)
        total = np.exp(others - highest[:, None]).sum(axis=1)  # of the others, without overflow
        log_odds: NDArray[np.floating] = logits[:, label] - highest - np.log(total)
        return log_odds
    raise UnsupportedModel(
        f"the ONNX graph's first output has the shape {logits.shape} for {len(batch.ids)} pairs, not {expected}; use a"
        " cross-encoder with one logit"
    )
