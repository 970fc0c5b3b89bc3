"""Picks a model's ONNX file for this machine and checks that it is a cross-encoder. Shared by the ONNX engines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from ksdk_rerank.engines.batching import Batch
from ksdk_rerank.engines.engine import Settings
from ksdk_rerank.engines.files import Files
from ksdk_rerank.engines.hardware import int8_kind
from ksdk_rerank.engines.onnx_format import GraphFile, read_graph
from ksdk_rerank.engines.reading import check_start, damaged, read_tokenizer
from ksdk_rerank.errors import ModelNotFound, UnsupportedModel

__all__ = ["checked_inputs", "checked_logits", "feed", "find_model", "missing", "offers_int8", "opened", "takes_one"]

_FP32 = ("onnx/model.onnx", "model.onnx")
# Preferred first. These are the names that sentence-transformers' quantization writes, as in
# https://huggingface.co/cross-encoder/ms-marco-MiniLM-L6-v2/tree/main/onnx (2026-11-23). Next come our own export's
# file, with 7-bit weights, and the name that transformers.js looks for, with 8-bit weights.
_INT8 = {
    "arm": ("onnx/model_qint8_arm64.onnx",),
    "vnni": ("onnx/model_qint8_avx512_vnni.onnx", "onnx/model_qint8_avx512.onnx"),
    "other": ("onnx/model_quint8_avx2.onnx",),
}
_SEVEN_BITS, _EIGHT_BITS = "onnx/model_qint7.onnx", "onnx/model_int8.onnx"
_USUAL = {*_FP32, *(name for names in _INT8.values() for name in names), _SEVEN_BITS, _EIGHT_BITS}
_INPUTS = {"input_ids", "attention_mask", "token_type_ids"}


def find_model(files: Files, settings: Settings, backend: str) -> str | None:
    """The name of the ONNX file to use on this machine, or None if no file suits these settings.

    With `dtype="auto"`, only onnxruntime takes an int8 file: it runs int8 faster than float32 on x86, with VNNI and
    without (`benchmarks/latency.py`). OpenVINO takes the fp32 file: the int8 file ran no faster there, and took three
    times as long as the fp32 file in bfloat16.
    Without VNNI, x86 adds pairs of int8 products in 16 bits, which can overflow. So of the usual names, "auto" then
    takes only those with unsigned or 7-bit weights.

    Names are only a hint: a file is taken only if its contents suit the settings. If none of the usual names suits, the
    only suitable file is taken, whatever its name.
    """
    if files.find("tokenizer.json") is None:
        return None
    if settings.onnx_file is not None:
        name = PurePosixPath(settings.onnx_file).as_posix()  # without "./"
        path = files.find(name)
        return name if path is not None and _suits(path, settings, backend) else None
    usual = _usual(settings, backend)
    for name in usual:
        path = files.find(name)
        if path is not None and _suits(path, settings, backend):
            return name
    others = [name for name in files.graphs() if name not in usual]
    if not files.offline:
        if settings.dtype != "auto":  # trust the usual names of other types, rather than fetch gigabytes in vain
            others = [name for name in others if name not in _USUAL]
        if len(others) > 1:
            return None  # finding the suitable one would mean fetching them all
    found = ((name, files.find(name)) for name in others)
    suitable = [name for name, path in found if path is not None and _suits(path, settings, backend)]
    return suitable[0] if len(suitable) == 1 else None


def _usual(settings: Settings, backend: str) -> tuple[str, ...]:
    """The usual file names that suit these settings, preferred first."""
    kind = int8_kind()
    auto = settings.dtype == "auto" and settings.device in (None, "cpu")
    names: tuple[str, ...] = ()
    if backend == "onnx" and (settings.dtype == "int8" or auto):
        names += (*_INT8[kind], _SEVEN_BITS)
        if kind != "other" or settings.dtype == "int8":
            names += (_EIGHT_BITS,)
    return names if settings.dtype == "int8" else names + _FP32


def _suits(path: Path, settings: Settings, backend: str) -> bool:
    """Whether a graph runs in the precision that the settings ask for. OpenVINO never gets an int8 graph."""
    graph = read_graph(path)
    int8 = graph.quantization in ("dynamic", "static")
    if settings.dtype == "int8":
        return int8
    if int8:
        on_processor = settings.device in (None, "cpu") or settings.onnx_file is not None
        return settings.dtype == "auto" and backend == "onnx" and on_processor
    return settings.dtype != "float32" or not graph.float16


def missing(files: Files, settings: Settings) -> str:
    """Why `find_model` found nothing, for an error message."""
    where = " in the cache" if files.offline and files.revision is not None else ""
    if files.find("tokenizer.json") is None:
        return f"{settings.model} offers no ONNX file with a tokenizer.json{where}"
    names = files.graphs()
    offered = f"it offers {', '.join(names)}" if names else "it offers none"
    if settings.onnx_file is not None and files.find(settings.onnx_file) is None:
        return f"{settings.model} has no file {settings.onnx_file}{where}: {offered}"
    if settings.onnx_file is not None and (path := files.find(settings.onnx_file)) is not None:
        graph = read_graph(path)
        does = "calculates in int8" if graph.quantization in ("dynamic", "static") else "calculates in floats"
        does = "holds float16" if graph.float16 and settings.dtype == "float32" else does
        return f"{path} {does}, and backend={settings.backend!r} with dtype={settings.dtype!r} cannot run that"
    kind = "int8 ONNX file" if settings.dtype == "int8" else "ONNX file"
    if not names:
        return f"{settings.model} offers no {kind} with a tokenizer.json{where}"
    return (
        f"{settings.model} offers no {kind} by a usual name, nor a single one that suits"
        f" dtype={settings.dtype!r}{where}: {offered}. Choose one with onnx_file=..."
    )


def offers_int8(files: Files, settings: Settings) -> bool:
    """Whether the file that `find_model` picks for onnxruntime runs in int8."""
    name = find_model(files, settings, "onnx")
    path = None if name is None else files.find(name)
    return path is not None and read_graph(path).quantization in ("dynamic", "static")


def opened(name: str, files: Files) -> tuple[Path, GraphFile, Tokenizer]:
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
            raise damaged(path, f"keeps its weights in {beside}, outside of its folder", "use another model")
        weights = files.find(str(PurePosixPath(name).parent / location))
        if weights is None:
            raise ModelNotFound(f"{path} keeps its weights in {beside}, which is missing; fetch the model again")
        check_start(weights)
        if weights.stat().st_size < size:
            raise damaged(weights, f"is cut short: it has {weights.stat().st_size:,} bytes of {size:,}")
    return path, graph, read_tokenizer(tokenizer)


def checked_inputs(names: Iterable[str], path: Path) -> list[str]:
    """Return `names`, the graph's inputs.

    Raises:
        UnsupportedModel: one of them is not a cross-encoder input by Hugging Face's names.
    """
    names = list(names)
    unknown = set(names) - _INPUTS
    if unknown:
        raise UnsupportedModel(
            f"{path} wants the inputs {', '.join(sorted(unknown))}, which no cross-encoder of the BERT family"
            ' has; pass backend="torch"'
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
        f"{path} has a fixed shape ({name}: {' x '.join(map(str, shape))}), and batches differ in size and length;"
        ' export the model with dynamic axes for both, or pass backend="torch"'
    )


def feed(batch: Batch, names: Iterable[str]) -> dict[str, NDArray[np.int64]]:
    """The arrays of `batch`, keyed by the graph's input names."""
    arrays = {"input_ids": batch.ids, "attention_mask": batch.mask, "token_type_ids": batch.types}
    return {name: arrays[name] for name in names}


def checked_logits(logits: NDArray[np.floating], batch: Batch) -> NDArray[np.floating]:
    """Return a graph's output as float32, one logit per pair.

    Raises:
        UnsupportedModel: the graph did not return exactly one logit per pair.
    """
    if logits.size != len(batch.ids):
        raise UnsupportedModel(
            f"the ONNX graph's first output has the shape {logits.shape} for {len(batch.ids)} pairs, not one logit a"
            " pair; use a cross-encoder with one logit"
        )
    return np.array(logits, np.float32).reshape(-1)  # a copy: an engine may reuse its array for the next results
