"""`OnnxEngine`: runs ONNX files with onnxruntime, without torch."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ksdk_rerank.engines.batching import GPU_TOKEN_BUDGET, TOKEN_BUDGET, Batch
from ksdk_rerank.engines.engine import Engine, ModelSettings
from ksdk_rerank.engines.files import Files, read_json
from ksdk_rerank.engines.foreign_errors import out_of_memory
from ksdk_rerank.engines.hardware import streams_and_threads
from ksdk_rerank.engines.model_config import label_index
from ksdk_rerank.engines.onnx_files import opened
from ksdk_rerank.engines.onnx_graph import Graph, checked_inputs, checked_logits, feed, takes_one
from ksdk_rerank.engines.onnx_head import head_of
from ksdk_rerank.engines.onnx_mapping import graph_without_weights
from ksdk_rerank.engines.telemetry import without_telemetry
from ksdk_rerank.errors import MissingExtra, ModelError, UnsupportedModel

__all__ = ["OnnxEngine"]

with without_telemetry():
    import onnxruntime
onnxruntime.disable_telemetry_events()  # for Windows, and in case it was imported before


Provider = str | tuple[str, dict[str, str]]

_log = logging.getLogger("ksdk_rerank")

_WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"
"""Where a graph that is passed as bytes finds its weights. Before 1.21, some of onnxruntime's optimizers ignored it."""


class OnnxEngine(Engine):
    """Runs an ONNX graph with Hugging Face's input names and one logit per row as its first output.

    With `settings.label` the output has one logit per label. If it holds token vectors, and the model's head is beside
    the graph, `Head` makes the logits.

    On a CPU, several threads each run a batch of their own. Threads that share a batch wait for each other at every
    operator, which costs most on a busy machine.

    Raises:
        MissingExtra: the settings ask for a GPU, and this onnxruntime cannot use one.
        ModelError: the device is neither a CPU nor CUDA, or a file is damaged.
        ModelNotFound: a file with the graph's weights is missing.
        UnsupportedModel: the file is not an ONNX graph of that kind.
    """

    backend: ClassVar[str] = "onnx"

    def __init__(self, name: str, files: Files, settings: ModelSettings) -> None:
        self.file = name
        path, graph, self.tokenizer = opened(name, files)
        kind = graph.quantization
        # Dynamic quantization has one scale for all activations of a batch, so a pair's logit would depend on the rest
        # of its batch: by 0.1 with MiniLM. So every pair gets its own.
        self.budget = 1 if kind == "dynamic" else TOKEN_BUDGET
        providers = _providers(settings.device)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors; warnings would be printed
        options.inter_op_num_threads = 1
        # A waiting thread must not spin on a core that other threads or programs need.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if len(providers) == 1:
            self.streams, options.intra_op_num_threads = streams_and_threads()
            # On a CPU, the fused operator is slower than the two that it replaces (onnxruntime 1.32, AVX2 and MiniLM).
            options.add_session_config_entry("optimization.disable_specified_optimizers", "SkipLayerNormFusion")
            if kind == "none" and settings.dtype == "auto" and settings.onnx_file is None:
                _log.info(
                    "%s has no int8 ONNX file for this CPU and runs in float32. To write one, which would take about"
                    " half as long per call: ksdk-rerank quantize %s FOLDER",
                    settings.model,
                    settings.model,
                )
        elif kind != "dynamic":
            self.budget = GPU_TOKEN_BUDGET
        if kind == "weights":
            # Otherwise it may round the activations, too, and multiply in int8, even if float32 was asked for.
            options.add_session_config_entry("session.disable_quant_qdq", "1")
        self._session = _session(path, graph, options, providers)
        _require_device(self._session.get_providers(), settings.device)
        inputs = {node.name: node.shape for node in self._session.get_inputs()}
        self._inputs = checked_inputs(inputs, path)
        if takes_one(inputs, path):
            self.budget = 1
        output = self._session.get_outputs()[0]
        self._output = output.name
        self._head = head_of(output.shape, path, files, settings.model)
        self._label = label_index(read_json(files.find("config.json")), settings.label, settings.model)

    def forward(self, batch: Batch) -> NDArray[np.floating]:
        (logits,) = self._session.run([self._output], feed(batch, self._inputs))
        return checked_logits(logits if self._head is None else self._head(logits, batch), batch, self._label)


def _session(
    path: Path, graph: Graph, options: onnxruntime.SessionOptions, providers: Sequence[Provider]
) -> onnxruntime.InferenceSession:
    """Load a graph, with its weights mapped into memory rather than copied."""
    source: str | bytes = str(path)
    if not graph.external:
        file = path.resolve()  # a hub's cache has links to its files
        source = graph_without_weights(file)
        options.add_session_config_entry(_WEIGHTS_FOLDER, str(file.parent))
    try:
        return onnxruntime.InferenceSession(source, sess_options=options, providers=providers)
    except Exception as error:  # its errors have no common base class
        if out_of_memory(error):
            raise
        raise UnsupportedModel(
            f"onnxruntime {onnxruntime.__version__} cannot load {path} ({error}); fetch or export the model again, or"
            ' pass backend="torch"'
        ) from error


def _providers(device: str | None) -> list[Provider]:
    if device is None or device == "cpu":
        return ["CPUExecutionProvider"]
    _require_device(onnxruntime.get_available_providers(), device)
    return [("CUDAExecutionProvider", {"device_id": device.partition(":")[2] or "0"}), "CPUExecutionProvider"]


def _require_device(providers: list[str], device: str | None) -> None:
    """Raise unless `providers` can serve `device`: onnxruntime itself would silently fall back to the CPU."""
    if device is None or device == "cpu":
        return
    if not device.startswith("cuda"):
        raise ModelError(f'the onnx engine runs on "cpu" or "cuda", not on {device!r}; pass backend="torch"')
    if "CUDAExecutionProvider" not in providers:
        raise MissingExtra(
            f"device={device!r} needs an onnxruntime that can use the GPU: pip uninstall onnxruntime, then"
            ' pip install onnxruntime-gpu; or pip install "ksdk-rerank[torch]" and pass backend="torch"',
            extra="torch",
        )
