"""`quantize`: turns a model's float32 ONNX file into one that calculates in int8, without torch.

`export` does the same as its last step. `int8_graph.py` rewrites the graph.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ksdk_rerank._arguments import ordered
from ksdk_rerank.engines.engine import ModelSettings
from ksdk_rerank.engines.new_folder import checked_target, new_folder, sizes
from ksdk_rerank.engines.select import locate, model_of
from ksdk_rerank.errors import MissingExtra, UnsupportedModel

if TYPE_CHECKING:
    from ksdk_rerank.engines.batching import Batch
    from ksdk_rerank.engines.files import Files

__all__ = ["INT8_FILE", "Agreement", "QuantizeReport", "quantize", "write_int8"]

INT8_FILE = "onnx/model_qint7.onnx"
"""The name that `CrossEncoderReranker` looks for on every processor."""
COPIED = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")

_NEEDS = ("onnx", "onnxruntime", "tokenizers", "huggingface_hub", "numpy")
_OWN_TEXTS = Path(__file__).parent / "calibration.jsonl"
_HELD_OUT = 5
"""Every fifth text is left out of calibration, to measure on."""
_LEAST = 2 * _HELD_OUT  # so that at least two documents are left to sort
_JOINED = 10
"""Documents that are joined into a long one; there is one long document for every `_EVERY_LONG` texts."""
_EVERY_LONG = 5


@dataclass(frozen=True, slots=True)
class Agreement:
    """How close an int8 file's logits are to float32's, on texts that were not used for calibration.

    Attributes:
        pairs: how many pairs were compared.
        max_difference: largest difference of a logit.
        mean_difference: mean difference of a logit, without its sign.
        kendall: Kendall's tau between the two orders of the documents, as a mean over queries: 1 is the same order, -1
            the reverse.
    """

    pairs: int
    max_difference: float
    mean_difference: float
    kendall: float


@dataclass(frozen=True, slots=True)
class QuantizeReport:
    """What `quantize` wrote.

    Attributes:
        folder: the folder with the files; `CrossEncoderReranker(folder)` loads them.
        files: size of each file in bytes, by its path within the folder.
        float32_size: size in bytes of the float32 graph and its weights.
        agreement: how close its logits are to float32's.
        left_in_float32: names of the weights whose products int8 would have changed too much.
        seconds: how long it took.
    """

    folder: Path
    files: Mapping[str, int]
    float32_size: int
    agreement: Agreement
    left_in_float32: tuple[str, ...]
    seconds: float


def quantize(
    model: str,
    folder: str | os.PathLike[str],
    *,
    texts: Sequence[tuple[str, str]] | None = None,
    revision: str | None = None,
    cache_folder: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
    token: str | None = None,
) -> QuantizeReport:
    """Write an int8 copy of `model` to `folder`, and compare its logits with float32's.

    Args:
        model: a folder or a hub id, as for `CrossEncoderReranker`. It must have a float32 ONNX file.
        folder: where to write; it must be empty or missing. All files appear at once, or none do.
        texts: pairs of a query and a matching document, at least 10, from which the ranges of activations are measured.
            Every fifth is only used for the report. By default, pairs that come with this package: English, code, and
            ten other languages.
        revision: as for `CrossEncoderReranker`.
        cache_folder: as for `CrossEncoderReranker`.
        local_files_only: as for `CrossEncoderReranker`.
        token: as for `CrossEncoderReranker`.

    Raises:
        FileExistsError: `folder` is not empty.
        MissingExtra: `ksdk-rerank[quantize]` is not installed.
        ModelError: the model cannot be loaded, has no float32 ONNX file, or cannot be quantized.
        ValueError: there are too few texts.
    """
    target = checked_target(folder)
    if not all(find_spec(package) for package in _NEEDS):
        raise MissingExtra.of("quantize", "quantize")

    from ksdk_rerank.engines.onnx_files import find_model, missing

    started = time.monotonic()
    settings = ModelSettings(
        model=os.fspath(model),
        backend="onnx",
        device="cpu",
        dtype="float32",
        revision=revision,
        cache_folder=None if cache_folder is None else os.fspath(cache_folder),
        local_files_only=local_files_only,
        token=token,
    )
    files = locate(settings)
    name = find_model(files, settings, "onnx")
    if name is None:
        if files.failure is not None:
            raise files.failure
        raise UnsupportedModel(
            f"{missing(files, settings)}; quantize needs a float32 file, which ksdk-rerank export writes"
        )
    with new_folder(target) as written:
        _copy_settings(files, settings, written)
        kept, agreement = write_int8(files, settings, name, written, texts)
        found = sizes(written)
    return QuantizeReport(target, found, _size(files, name), agreement, tuple(kept), time.monotonic() - started)


def write_int8(
    files: Files, settings: ModelSettings, name: str, folder: Path, texts: Sequence[tuple[str, str]] | None = None
) -> tuple[list[str], Agreement]:
    """Write the int8 copy of the graph `name` to `INT8_FILE` in `folder`, which has the model's other files already.

    Returns the names of the weights left in float32, and how close the logits are.
    """
    from ksdk_rerank.engines.files import Folder
    from ksdk_rerank.engines.int8_graph import quantize_graph

    texts = _own_texts() if texts is None else ordered("texts", texts)
    if len(texts) < _LEAST:
        raise ValueError(f"texts: quantize needs at least {_LEAST} pairs of query and document, got {len(texts)}")
    held_out = texts[::_HELD_OUT]
    used = [text for number, text in enumerate(texts) if number % _HELD_OUT]
    source, target = files.find(name), folder / INT8_FILE
    assert source is not None  # find_model has seen it, or export has written it
    target.parent.mkdir(exist_ok=True)
    kept = quantize_graph(source, target, _batches(files, settings, name, used))
    exact = _logits(files, replace(settings, dtype="float32"), name, held_out)
    int8 = _logits(Folder(folder), ModelSettings(str(folder), backend="onnx", dtype="int8"), INT8_FILE, held_out)
    return kept, _agreement(exact, int8)


def _own_texts() -> list[tuple[str, str]]:
    pairs = map(json.loads, _OWN_TEXTS.read_text(encoding="utf-8").splitlines())
    return [(pair["query"], pair["document"]) for pair in pairs]


def _batches(files: Files, settings: ModelSettings, name: str, texts: Sequence[tuple[str, str]]) -> Iterator[Batch]:
    """One pair each, for calibration: each query with its document, with another one, and some with a long one."""
    from ksdk_rerank.engines.batching import pad
    from ksdk_rerank.engines.encoding import PairEncoder
    from ksdk_rerank.engines.files import read_json
    from ksdk_rerank.engines.model_config import pad_id, window
    from ksdk_rerank.engines.onnx_files import opened
    from ksdk_rerank.engines.separators import check_separator

    _, _, tokenizer = opened(name, files)
    config, tokenizer_config = read_json(files.find("config.json")), read_json(files.find("tokenizer_config.json"))
    check_separator(tokenizer, config, tokenizer_config, settings.model)
    encoder = PairEncoder(
        tokenizer, window(config, tokenizer_config, settings.max_length, settings.model), settings.model
    )
    padding = pad_id(config, tokenizer_config, tokenizer, settings.model)
    count = len(texts)
    for number, (query, document) in enumerate(texts):
        documents = [document, texts[(7 * number + 11) % count][1]]
        if number % _EVERY_LONG == 0:
            documents.append(" ".join(texts[(number + 3 * step) % count][1] for step in range(_JOINED)))
        for pair in encoder.encode(query, documents).pairs:
            yield pad([pair], padding, pair.shape[1])


def _logits(
    files: Files, settings: ModelSettings, name: str, texts: Sequence[tuple[str, str]]
) -> list[Sequence[float]]:
    """The logits of all documents, for each query."""
    from ksdk_rerank.engines.onnx import OnnxEngine

    model = model_of(OnnxEngine(name, files, settings), files, settings)
    documents = [document for _, document in texts]
    return [model.score(query, documents).raw for query, _ in texts]


def _agreement(exact: list[Sequence[float]], int8: list[Sequence[float]]) -> Agreement:
    import numpy as np

    before, after = np.array(exact), np.array(int8)
    moved = np.abs(after - before)
    count = before.shape[1]
    signs = [np.sign(each[:, :, None] - each[:, None, :]) for each in (before, after)]
    kendall = (signs[0] * signs[1]).sum() / (len(before) * count * (count - 1))
    return Agreement(moved.size, float(moved.max()), float(moved.mean()), float(kendall))


def _copy_settings(files: Files, settings: ModelSettings, folder: Path) -> None:
    """Copy the configuration, the tokenizer and, if the graph lacks it, the head of a modular model."""
    from ksdk_rerank.engines.model_config import modules_of

    modules = modules_of(files, settings.model)
    head = [module.file(name) for module in modules[1:] for name in ("config.json", "model.safetensors")]
    for name in (*COPIED, *(("modules.json", *head) if modules else ())):
        path = files.find(name)
        if path is not None:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / name)


def _size(files: Files, name: str) -> int:
    from ksdk_rerank.engines.onnx_files import opened

    path, graph, _ = opened(name, files)
    return path.stat().st_size + sum((path.parent / beside).stat().st_size for beside in graph.external)
