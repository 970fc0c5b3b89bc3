"""Picks the ONNX file that suits this machine, and opens it with its weights and tokenizer."""

from __future__ import annotations

from functools import partial
from pathlib import Path, PurePosixPath

from tokenizers import Tokenizer

from ksdk_rerank.engines.engine import ModelSettings
from ksdk_rerank.engines.files import Files, check_start, damaged, read_tokenizer
from ksdk_rerank.engines.hardware import int8_kind
from ksdk_rerank.engines.onnx_graph import Graph, read_graph
from ksdk_rerank.errors import ModelNotFound

__all__ = ["find_model", "missing", "offers_int8", "opened"]

_FP32 = ("onnx/model.onnx", "model.onnx")
# Preferred first. These are the names that sentence-transformers' quantization writes, as in
# https://huggingface.co/cross-encoder/ms-marco-MiniLM-L6-v2/tree/main/onnx (2026-11-23). Next come the
# file of our own `quantize`, which cannot overflow on any processor, and the name that transformers.js looks for, with
# 8-bit weights.
_INT8 = {
    "arm": ("onnx/model_qint8_arm64.onnx",),
    "vnni": ("onnx/model_qint8_avx512_vnni.onnx", "onnx/model_qint8_avx512.onnx"),
    "other": ("onnx/model_quint8_avx2.onnx",),
}
_OWN, _EIGHT_BITS = "onnx/model_qint7.onnx", "onnx/model_int8.onnx"
_USUAL = {*_FP32, *(name for names in _INT8.values() for name in names), _OWN, _EIGHT_BITS}


def find_model(files: Files, settings: ModelSettings, backend: str) -> str | None:
    """The name of the ONNX file to use on this machine, or None if no file suits these settings.

    With `dtype="auto"`, only onnxruntime takes an int8 file: it runs int8 faster than float32 on x86, with VNNI and
    without (`benchmarks/latency.py`). OpenVINO takes the fp32 file: the int8 file ran no faster there, and took three
    times as long as the fp32 file in bfloat16.
    Without VNNI, x86 adds pairs of int8 products in 16 bits, which can overflow. So of the usual names, "auto" then
    takes only those with unsigned weights, and our own.

    Names are only a hint: a file is taken only if its contents suit the settings. If none of the usual names suits, the
    only suitable file is taken, whatever its name.
    """
    if files.find("tokenizer.json") is None:
        return None
    suits = partial(_suits, files, settings, backend)
    if settings.onnx_file is not None:
        name = PurePosixPath(settings.onnx_file).as_posix()  # without "./"
        return name if suits(name) else None
    preferred = _preferred(settings, backend)
    for name in preferred:
        if suits(name):
            return name
    others = [name for name in files.graphs() if name not in preferred]
    if not files.offline:
        if settings.dtype != "auto":  # trust the usual names of other types, rather than fetch gigabytes in vain
            others = [name for name in others if name not in _USUAL]
        if len(others) > 1:
            return None  # finding the suitable one would mean fetching them all
    suitable = [name for name in others if suits(name)]
    return suitable[0] if len(suitable) == 1 else None


def _preferred(settings: ModelSettings, backend: str) -> tuple[str, ...]:
    """The usual file names that suit these settings, preferred first."""
    kind = int8_kind()
    auto = settings.dtype == "auto" and settings.device in (None, "cpu")
    names: tuple[str, ...] = ()
    if backend == "onnx" and (settings.dtype == "int8" or auto):
        names += (*_INT8[kind], _OWN)
        if kind != "other" or settings.dtype == "int8":
            names += (_EIGHT_BITS,)
    return names if settings.dtype == "int8" else names + _FP32


def _suits(files: Files, settings: ModelSettings, backend: str, name: str) -> bool:
    """Whether the model has this graph, and it runs in the precision asked for. OpenVINO never gets an int8 graph."""
    path = files.find(name)
    if path is None:
        return False
    graph = read_graph(path)
    if settings.dtype == "int8":
        return graph.int8
    if graph.int8:
        on_processor = settings.device in (None, "cpu") or settings.onnx_file is not None
        return settings.dtype == "auto" and backend == "onnx" and on_processor
    return settings.dtype != "float32" or not graph.float16


def missing(files: Files, settings: ModelSettings) -> str:
    """Why `find_model` found nothing, for an error message."""
    where = " in the cache" if files.offline and files.revision is not None else ""
    if files.find("tokenizer.json") is None:
        return f"{settings.model} has no ONNX file with a tokenizer.json{where}"
    names = files.graphs()
    offered = f"it has {', '.join(names)}" if names else "it has no ONNX file"
    only = settings.onnx_file or (names[0] if files.offline and len(names) == 1 else None)
    if only is not None:
        path = files.find(only)
        if path is None:
            return f"{settings.model} has no file {only}{where}: {offered}"
        graph = read_graph(path)
        precision = "int8" if graph.int8 else "floating point"
        if graph.float16 and settings.dtype == "float32":
            precision = "float16"
        asked = {"backend": settings.backend, "device": settings.device, "dtype": settings.dtype}
        listed = ", ".join(f"{name}={value!r}" for name, value in asked.items() if value is not None)
        return f"{path} uses {precision}, which does not suit {listed}"
    kind = "int8 ONNX file" if settings.dtype == "int8" else "ONNX file"
    if not names:
        return f"{settings.model} has no {kind} with a tokenizer.json{where}"
    return (
        f"{settings.model} has no {kind} with a usual name{where}, and not exactly one other file suits"
        f" dtype={settings.dtype!r}: {offered}. Choose one with onnx_file=..."
    )


def offers_int8(files: Files, settings: ModelSettings) -> bool:
    """Whether the file that `find_model` picks for onnxruntime runs in int8."""
    name = find_model(files, settings, "onnx")
    path = None if name is None else files.find(name)
    return path is not None and read_graph(path).int8


def opened(name: str, files: Files) -> tuple[Path, Graph, Tokenizer]:
    """Open the graph that `find_model` picked: its path, its contents and a new tokenizer.

    Raises:
        ModelNotFound: a file with its weights is missing.
        ModelError: a file is damaged, or the weights are outside the graph's folder.
    """
    path, tokenizer = files.find(name), files.find("tokenizer.json")
    assert path is not None  # find_model has seen both
    assert tokenizer is not None
    graph = read_graph(path)
    for beside, size in sorted(graph.external.items()):
        location = PurePosixPath(beside)
        if location.is_absolute() or ".." in location.parts:
            raise damaged(path, f"stores its weights in {beside}, outside its own folder", "use another model")
        weights = files.find(str(PurePosixPath(name).parent / location))
        if weights is None:
            raise ModelNotFound(f"{path} stores its weights in {beside}, which is missing; fetch the model again")
        check_start(weights)
        if weights.stat().st_size < size:
            raise damaged(weights, f"is truncated: it has {weights.stat().st_size:,} of {size:,} bytes")
    return path, graph, read_tokenizer(tokenizer)
