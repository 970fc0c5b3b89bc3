"""Lets onnxruntime map the weights inside an ONNX file into memory, where the processes of a machine share them.

onnxruntime copies the weights that a graph contains, and maps those that it keeps in another file. So onnxruntime gets
the graph without its weights, with its own file named as that other one. `python benchmarks/workers.py` shows what that
saves.

Follows https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3 (2026-11-27). But: weights in subgraphs stay.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ksdk_rerank.engines.protobuf import field, fields

__all__ = ["graph_without_weights"]

Change = Callable[[mmap.mmap, int, int], bytes]
"""From a value, as the content and the value's start and end, to the new one."""

_GRAPH = 7  # of ModelProto
_INITIALIZER = 5  # of GraphProto
_RAW_DATA, _EXTERNAL_DATA, _DATA_LOCATION = 9, 13, 14  # of TensorProto
_EXTERNAL = 1

_SMALLEST = 1024
"""Minimum bytes of a weight to be mapped. Smaller ones may be shapes and axes, which onnxruntime reads early."""


def graph_without_weights(path: Path) -> bytes:
    """The graph in `path`, accepted by `read_graph`, with each large weight replaced by its place in that file."""
    without = partial(_changed, number=_INITIALIZER, change=partial(_external, name=path.name))
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return _changed(content, 0, len(content), _GRAPH, without)


def _changed(content: mmap.mmap, start: int, end: int, number: int, change: Change) -> bytes:
    """The message between `start` and `end`, with the values of its fields `number` changed."""
    pieces = []
    for found, first, last in fields(content, start, end):
        pieces.append(field(number, change(content, first, last)) if found == number else content[start:last])
        start = last
    return b"".join(pieces)


def _external(content: mmap.mmap, start: int, end: int, name: str) -> bytes:
    """The tensor between `start` and `end`; if its data are large, it refers to them in the file `name`."""
    begin = start
    for number, first, last in fields(content, start, end):
        if number == _RAW_DATA and last - first >= _SMALLEST:
            place = {"location": name, "offset": str(first), "length": str(last - first)}
            entries = [field(1, key.encode()) + field(2, value.encode()) for key, value in place.items()]
            external = [field(_EXTERNAL_DATA, entry) for entry in entries] + [field(_DATA_LOCATION, _EXTERNAL)]
            return b"".join([content[start:begin], content[last:end], *external])
        begin = last
    return content[start:end]
