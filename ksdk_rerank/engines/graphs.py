"""ONNX graphs, for every engine that runs them: which file a model offers, and whether it is a cross-encoder's."""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from ksdk_rerank.engines.base import Settings
from ksdk_rerank.engines.batching import Batch
from ksdk_rerank.engines.files import Files
from ksdk_rerank.engines.processor import int8_kind
from ksdk_rerank.errors import ModelNotFound, UnsupportedModel

__all__ = ["checked_inputs", "checked_logits", "feed", "find_model", "opened", "quantizes_dynamically"]

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
_INPUTS = {"input_ids", "attention_mask", "token_type_ids"}


def find_model(files: Files, settings: Settings, backend: str) -> str | None:
    """The name of the ONNX file to use on this machine, or None where `files` offers none for these settings.

    `dtype="auto"` takes an int8 file only with onnxruntime, and where the processor multiplies int8 faster than
    float32: Arm, and x86 with VNNI. Without VNNI, x86 can also overflow in 16 bits between two products of int8.
    OpenVINO takes the fp32 file: it ran the int8 one no faster, and three times as long as the other in bfloat16.
    """
    kind = int8_kind()
    auto = settings.dtype == "auto" and kind != "other" and settings.device in (None, "cpu")
    names: tuple[str, ...] = ()
    if backend == "onnx" and (settings.dtype == "int8" or auto):
        names += _INT8[kind]
    if settings.dtype != "int8":
        names += _FP32
    if files.find("tokenizer.json") is None:
        return None
    return next((name for name in names if files.find(name) is not None), None)


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


def quantizes_dynamically(path: Path) -> bool:
    """Whether a graph makes int8 of its activations by the range that they have, and not by one that is known."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(b"DynamicQuantize") >= 0  # the beginning of an operator's name


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
