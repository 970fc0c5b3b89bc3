"""ONNX graphs, for every engine that runs them: which file a model offers, and whether it is a cross-encoder's."""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from ksdk_rerank.engines.base import Settings
from ksdk_rerank.engines.batching import Batch
from ksdk_rerank.engines.files import Files
from ksdk_rerank.engines.machine import int8_kind
from ksdk_rerank.errors import ModelNotFound, UnsupportedModel

__all__ = ["checked_inputs", "checked_logits", "feed", "find_model", "offers_int8", "opened", "quantization"]

_FP32 = ("onnx/model.onnx", "model.onnx")
# In the order of preference. The first ones are what sentence-transformers' quantization writes, as in
# https://huggingface.co/cross-encoder/ms-marco-MiniLM-L6-v2/tree/main/onnx (2026-11-23); then our own export's, whose
# weights have 7 bits; then what transformers.js looks for, whose weights have 8.
_INT8 = {
    "arm": ("onnx/model_qint8_arm64.onnx",),
    "vnni": ("onnx/model_qint8_avx512_vnni.onnx", "onnx/model_qint8_avx512.onnx"),
    "other": ("onnx/model_quint8_avx2.onnx",),
}
_SEVEN_BITS, _EIGHT_BITS = "onnx/model_qint7.onnx", "onnx/model_int8.onnx"
# Where weights outside the file are named: the protobuf field "key" = "location", then "value" = a length and the name.
_EXTERNAL_DATA = re.compile(rb"\x0a\x08location\x12(.)([\w.-]+)", re.DOTALL)
_UANTIZE = re.compile(b"uantize")  # one reading of the file, which may have gigabytes
_INPUTS = {"input_ids", "attention_mask", "token_type_ids"}


def find_model(files: Files, settings: Settings, backend: str) -> str | None:
    """The name of the ONNX file to use on this machine, or None where `files` offers none for these settings.

    `dtype="auto"` takes an int8 file with onnxruntime alone, which runs it faster than float32 on x86 with VNNI and
    without (`benchmarks/latency.py`). Without VNNI, x86 adds two products of int8 in 16 bits, which they can overflow,
    so there it takes none but those with unsigned weights, or with weights of 7 bits.
    OpenVINO takes the fp32 file: it ran the int8 one no faster, and three times as long as the other in bfloat16.
    """
    kind = int8_kind()
    auto = settings.dtype == "auto" and settings.device in (None, "cpu")
    names: tuple[str, ...] = ()
    if backend == "onnx" and (settings.dtype == "int8" or auto):
        names += (*_INT8[kind], _SEVEN_BITS)
        if kind != "other" or settings.dtype == "int8":
            names += (_EIGHT_BITS,)
    if settings.dtype != "int8":
        names += _FP32
    if files.find("tokenizer.json") is None:
        return None
    return next((name for name in names if files.find(name) is not None), None)


def offers_int8(files: Files, settings: Settings) -> bool:
    """Whether what `find_model` takes for onnxruntime calculates in int8."""
    return find_model(files, settings, "onnx") not in (None, *_FP32)


def opened(name: str, files: Files) -> tuple[Path, Tokenizer]:
    """The path of the graph that `find_model` found, its weights beside it, and a tokenizer of its own."""
    path, tokenizer = files.find(name), files.find("tokenizer.json")
    assert path is not None  # find_model has seen both
    assert tokenizer is not None
    for beside in _external_data(path):
        if files.find(str(PurePosixPath(name).with_name(beside))) is None:
            raise ModelNotFound(f"{path} keeps its weights in {beside}, which is missing; fetch the model again")
    return path, Tokenizer.from_file(str(tokenizer))


def _external_data(path: Path) -> set[str]:
    """Names of the files beside `path` that hold its weights: a graph of over 2 GB cannot hold them itself."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return {name[: length[0]].decode("ascii") for length, name in _EXTERNAL_DATA.findall(content)}


def quantization(path: Path) -> Literal["dynamic", "static", "weights", "none"]:
    """What a graph makes int8 of: activations by the range that they have or by one that is known, or weights alone."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        # Operators by what comes before: DynamicQuantizeLinear, QuantizeLinear, DequantizeLinear.
        before = {content[found.start() - 8 : found.start()] for found in _UANTIZE.finditer(content)}
    if b"DynamicQ" in before:
        return "dynamic"
    if any(letters.endswith(b"Q") for letters in before):
        return "static"
    return "weights" if any(letters.endswith(b"Deq") for letters in before) else "none"


def checked_inputs(names: Iterable[str], path: Path) -> list[str]:
    """`names`, if all are inputs of a cross-encoder as Hugging Face names them."""
    names = list(names)
    unknown = set(names) - _INPUTS
    if unknown:
        raise UnsupportedModel(
            f"{path} wants the inputs {', '.join(sorted(unknown))}, which no cross-encoder of the BERT family"
            ' has; pass backend="torch"'
        )
    return names


def feed(batch: Batch, names: Iterable[str]) -> dict[str, NDArray[np.int64]]:
    """The arrays of `batch` by the names of a graph's inputs."""
    arrays = {"input_ids": batch.ids, "attention_mask": batch.mask, "token_type_ids": batch.types}
    return {name: arrays[name] for name in names}


def checked_logits(logits: NDArray[np.floating], batch: Batch) -> NDArray[np.floating]:
    """What a graph gave, as one number a pair."""
    if logits.size != len(batch.ids):
        raise UnsupportedModel(
            f"the ONNX graph's first output has the shape {logits.shape} for {len(batch.ids)} pairs, not one logit a"
            " pair; use a cross-encoder with one logit"
        )
    return np.array(logits, np.float32).reshape(-1)  # a copy: an engine may write its next results into its array
