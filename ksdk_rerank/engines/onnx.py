"""`OnnxEngine`: onnxruntime, no torch."""

from __future__ import annotations

import mmap
import platform
import re
from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from ksdk_rerank.engines.base import Engine, Settings
from ksdk_rerank.engines.batching import Batch
from ksdk_rerank.engines.files import Files
from ksdk_rerank.errors import MissingExtra, ModelError, ModelNotFound, UnsupportedModel

__all__ = ["OnnxEngine", "find_model"]

_FP32 = ("onnx/model.onnx", "model.onnx")
# In the order of preference. The first ones are what sentence-transformers' quantization writes, as in
# https://huggingface.co/cross-encoder/ms-marco-MiniLM-L6-v2/tree/main/onnx (2026-11-23); the last is our own export's.
_INT8 = {
    "arm": ("onnx/model_qint8_arm64.onnx", "onnx/model_int8.onnx"),
    "vnni": ("onnx/model_qint8_avx512_vnni.onnx", "onnx/model_qint8_avx512.onnx", "onnx/model_int8.onnx"),
    "other": ("onnx/model_quint8_avx2.onnx", "onnx/model_int8.onnx"),
}
# Where weights outside the file are named: the protobuf field "key" = "location", then "value" = a length and the name.
_EXTERNAL_DATA = re.compile(rb"\x0a\x08location\x12(.)([\w.-]+)", re.DOTALL)


def find_model(files: Files, settings: Settings) -> str | None:
    """The name of the ONNX file to use on this machine, or None where `files` offers none for these settings.

    `dtype="auto"` takes an int8 file only where the processor multiplies int8 faster than float32: Arm, and x86 with
    VNNI. Without VNNI, x86 can also overflow in 16 bits between two products of int8.
    """
    kind = _processor()
    on_cpu = settings.device in (None, "cpu")
    names: tuple[str, ...] = ()
    if settings.dtype == "int8" or (settings.dtype == "auto" and kind != "other" and on_cpu):
        names += _INT8[kind]
    if settings.dtype != "int8":
        names += _FP32
    if files.find("tokenizer.json") is None:
        return None
    return next((name for name in names if files.find(name) is not None), None)


def _processor() -> str:
    """`"arm"`, `"vnni"` or `"other"`, which is also every x86 processor whose flags cannot be read."""
    if platform.machine().lower() in ("arm64", "aarch64"):
        return "arm"
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return "other"
    return "vnni" if {"avx512_vnni", "avx_vnni"}.intersection(flags) else "other"


class OnnxEngine(Engine):
    """An ONNX graph whose inputs are named as Hugging Face does, and whose first output is one logit a row.

    Raises:
        MissingExtra: a GPU is asked for, and this onnxruntime cannot use one.
        UnsupportedModel: the file is no ONNX graph of that kind.
    """

    backend: ClassVar[str] = "onnx"

    def __init__(self, name: str, files: Files, settings: Settings) -> None:
        path, tokenizer = files.find(name), files.find("tokenizer.json")
        assert path is not None  # find_model has seen both
        assert tokenizer is not None
        self.tokenizer = Tokenizer.from_file(str(tokenizer))
        for beside in _external_data(path):
            if files.find(str(PurePosixPath(name).with_name(beside))) is None:
                raise ModelNotFound(f"{path} keeps its weights in {beside}, which is missing; fetch the model again")
        providers = _providers(settings.device)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors; warnings would be printed
        try:
            self._session = onnxruntime.InferenceSession(str(path), sess_options=options, providers=providers)
        except Exception as error:  # its errors share no class of their own
            raise UnsupportedModel(
                f"onnxruntime {onnxruntime.__version__} cannot load {path} ({error}); fetch or export the model again,"
                ' or pass backend="torch"'
            ) from error
        _require_device(self._session.get_providers(), settings.device)
        self._inputs = [node.name for node in self._session.get_inputs()]
        unknown = set(self._inputs) - {"input_ids", "attention_mask", "token_type_ids"}
        if unknown:
            raise UnsupportedModel(
                f"{path} wants the inputs {', '.join(sorted(unknown))}, which no cross-encoder of the BERT family"
                ' has; pass backend="torch"'
            )
        self._output = self._session.get_outputs()[0].name

    def forward(self, batch: Batch) -> NDArray[np.floating]:
        arrays = {"input_ids": batch.ids, "attention_mask": batch.mask, "token_type_ids": batch.types}
        (logits,) = self._session.run([self._output], {name: arrays[name] for name in self._inputs})
        if logits.size != len(batch.ids):
            raise UnsupportedModel(
                f"the ONNX graph's output {self._output!r} has the shape {logits.shape} for {len(batch.ids)} pairs,"
                " not one logit a pair; use a cross-encoder with one logit"
            )
        return np.asarray(logits, np.float32).reshape(-1)


def _external_data(path: Path) -> set[str]:
    """Names of the files beside `path` that hold its weights: a graph of over 2 GB cannot hold them itself."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return {name[: length[0]].decode("ascii") for length, name in _EXTERNAL_DATA.findall(content)}


def _providers(device: str | None) -> list[str | tuple[str, dict[str, str]]]:
    if device is None or device == "cpu":
        return ["CPUExecutionProvider"]
    _require_device(onnxruntime.get_available_providers(), device)
    return [("CUDAExecutionProvider", {"device_id": device.partition(":")[2] or "0"}), "CPUExecutionProvider"]


def _require_device(providers: list[str], device: str | None) -> None:
    """Raise unless `providers` can serve `device`: onnxruntime itself would fall back to the CPU without a word."""
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
