"""`OpenVinoEngine`: runs ONNX files with OpenVINO, in bfloat16 if the processor supports it."""

from __future__ import annotations

import queue
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ksdk_rerank.concurrency.locks import Lock
from ksdk_rerank.engines.batching import TOKEN_BUDGET, Batch
from ksdk_rerank.engines.engine import Engine, ModelSettings
from ksdk_rerank.engines.files import Files, read_json
from ksdk_rerank.engines.foreign_errors import in_one_line, inference_errors, out_of_memory
from ksdk_rerank.engines.hardware import streams_and_threads
from ksdk_rerank.engines.model_config import label_index
from ksdk_rerank.engines.onnx_files import opened
from ksdk_rerank.engines.onnx_graph import checked_inputs, checked_logits, feed, takes_one
from ksdk_rerank.engines.onnx_head import head_of
from ksdk_rerank.errors import ModelError, RerankError, UnsupportedModel

__all__ = ["OpenVinoEngine"]


@contextmanager
def _telemetry_hidden() -> Iterator[None]:
    """Hide `openvino_telemetry` while OpenVINO is imported, so that it uses its own stub, which sends nothing.

    Otherwise the import starts a process, looks up an analytics host and writes to the home folder, unless the user has
    opted out (openvino/tools/ovc/__init__.py, 2025.4 to 2026.4). After this block the package can be imported again.
    """
    name = "openvino_telemetry"
    hidden = {name: sys.modules.pop(name)} if name in sys.modules else {}
    sys.modules[name] = None  # type: ignore[assignment]  # importing it is an ImportError
    try:
        yield
    finally:
        del sys.modules[name]
        sys.modules.update(hidden)


with _telemetry_hidden():
    import openvino
    from openvino.frontend import FrontEndManager
    from openvino.passes import ConstantFolding, Manager

_first_use = Lock()
"""Held while a process creates its first tensors. If two threads do that at the same moment, they deadlock: one holds
Python's lock, the other the lock of a variable in OpenVINO's bindings (2026.4.1)."""


class OpenVinoEngine(Engine):
    """Runs an ONNX graph with Hugging Face's input names and one logit per row as its first output.

    With `settings.label` the output has one logit per label. If it holds token vectors, and the model's head is beside
    the graph, `Head` makes the logits.

    The compiled graph keeps dynamic shapes. Each stream has its own inference request, which one thread uses at a time.

    Raises:
        ModelError: the engine does not support the device, the processor has no bfloat16, or a file is damaged.
        ModelNotFound: a file with the graph's weights is missing.
        UnsupportedModel: the file is not an ONNX graph of that kind.
        InferenceFailed: the first pass, on a pair of one token, failed.
    """

    backend: ClassVar[str] = "openvino"
    budget = TOKEN_BUDGET
    multiple = 16  # OpenVINO compiles for each new shape, and keeps the result

    def __init__(self, name: str, files: Files, settings: ModelSettings) -> None:
        if settings.device not in (None, "cpu"):
            raise ModelError(f'the openvino engine runs on "cpu", not on {settings.device!r}; pass backend="torch"')
        core = openvino.Core()
        # With "auto", OpenVINO chooses: bfloat16 if the processor multiplies it, else float32.
        precision = {"float32": "f32", "bfloat16": "bf16"}.get(settings.dtype)
        if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise ModelError('this processor does not support bfloat16; pass dtype="float32"')
        self.file = name
        path, _, self.tokenizer = opened(name, files)
        self._label = label_index(read_json(files.find("config.json")), settings.label, settings.model)
        self.streams, threads = streams_and_threads()
        options: dict[str, str | int] = {
            "PERFORMANCE_HINT": "THROUGHPUT",
            "NUM_STREAMS": self.streams,
            "INFERENCE_NUM_THREADS": self.streams * threads,
        }
        if precision is not None:
            options["INFERENCE_PRECISION_HINT"] = precision
        try:
            frontend = FrontEndManager().load_by_framework("onnx")  # otherwise it tries others, which print errors
            model = frontend.convert(frontend.load(str(path)))
            inputs = {port.any_name: _shape(port) for port in model.inputs}
            self._inputs = checked_inputs(inputs, path)
            if takes_one(inputs, path):
                self.budget = 1
            self._head = head_of(_shape(model.outputs[0]), path, files, settings.model)
            _fold(model)
            compiled = core.compile_model(model, "CPU", options)
        except Exception as error:  # its errors have no common base class, and span many lines
            if isinstance(error, RerankError) or out_of_memory(error):
                raise
            raise UnsupportedModel(
                f"openvino {openvino.__version__} cannot load {path} ({in_one_line(error)}); fetch or export the model"
                ' again, or pass backend="onnx"'
            ) from error
        self._requests: queue.SimpleQueue[openvino.InferRequest] = queue.SimpleQueue()
        for _ in range(self.streams):
            self._requests.put(compiled.create_infer_request())
        one = np.ones((1, 1), np.int64)
        with _first_use, inference_errors(self.backend, settings.model):
            self.forward(Batch(one, one, one))

    def forward(self, batch: Batch) -> NDArray[np.floating]:
        request = self._requests.get()
        try:
            request.infer(feed(batch, self._inputs), share_inputs=True)
            output = request.get_output_tensor(0).data
            return checked_logits(output if self._head is None else self._head(output, batch), batch, self._label)
        finally:
            self._requests.put(request)


def _shape(port: openvino.Output) -> list[int | None]:
    """The shape of an input or output, with None for a dynamic size."""
    shape = port.get_partial_shape()
    if shape.rank.is_dynamic:
        return []
    return [size.get_length() if size.is_static else None for size in shape]


def _fold(model: openvino.Model) -> None:
    """Fold constants, such as the float weights dequantized from int8.

    Weights that stay in int8 are multiplied with rounded activations, even if float32 was asked for. `compile_model`
    folds them too, but for all streams at once, and sometimes mixes up their results: in one process of four, the
    scores were wrong (2026.4.1, NUM_STREAMS of 2 and more).
    """
    manager = Manager()
    manager.register_pass(ConstantFolding())
    manager.run_passes(model)
