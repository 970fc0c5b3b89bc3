"""`export`: turns any cross-encoder into ONNX files, fp32 and int8, for the `onnx` engine.

The graph takes token ids and outputs one logit per pair, also for a modular cross-encoder, whose head is in the graph,
and for a classifier of which `label` picks one label. `config.json` then says so by transformers' own fields, one label
and no architecture. No `modules.json` is written: sentence-transformers would run the modules a second time.

Follows torch's exporter (`torch.onnx.export(dynamo=True)`, torch 2.13; the older exporter will be removed). Then
`last_layer.py` drops what the head does not read, and `quantize.py` makes the int8 file from the float32 one. But:
there is no graph fusion. onnxruntime fuses a graph when it loads it.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ksdk_rerank._arguments import integer
from ksdk_rerank.engines.engine import ModelSettings
from ksdk_rerank.engines.files import read_json
from ksdk_rerank.engines.model_config import ModelKind, model_kind
from ksdk_rerank.engines.new_folder import checked_target, new_folder, sizes
from ksdk_rerank.engines.quantize import COPIED, Agreement, write_int8
from ksdk_rerank.engines.select import locate, model_of
from ksdk_rerank.errors import MissingExtra, ModelError, UnsupportedModel

if TYPE_CHECKING:
    from ksdk_rerank.engines.files import Files
    from ksdk_rerank.engines.torch import TorchEngine

__all__ = ["ExportReport", "export"]

_NEEDS = ("sentence_transformers", "onnx", "onnxscript", "onnxruntime")
_TOLERANCE = 1e-4
"""Largest allowed difference in a logit between torch and the fp32 file. Both use float32 and differ by about 1e-6."""
_LARGEST_FILE = 1_900_000_000
"""Maximum bytes of weights inside the ONNX file. A model with more keeps its weights in a file beside it. Protobuf's
own limit is 2 GiB (`onnx.checker.MAXIMUM_PROTOBUF`)."""

_FP32_FILE = "onnx/model.onnx"

_QUERY = "how do I rotate an API key"
_DOCUMENTS = (
    "To rotate an API key, create a second one, move your services over, then revoke the first.",
    "Invoices are sent on the first day of each month.",
    "key",
    "Members with the role of owner see every project. " * 40,  # more tokens than ModernBERT's local attention sees
)


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What `export` wrote.

    Attributes:
        folder: the folder with the files; `CrossEncoderReranker(folder)` loads them.
        files: size of each file in bytes, by its path within the folder.
        max_difference: largest difference in a logit between torch and the fp32 file, over a few pairs.
        int8: how close the int8 file's logits are to the fp32 file's. To learn what that means for your own documents,
            measure on your own queries.
    """

    folder: Path
    files: Mapping[str, int]
    max_difference: float
    int8: Agreement


def export(
    model: str,
    folder: str | os.PathLike[str],
    *,
    revision: str | None = None,
    cache_folder: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
    trust_remote_code: bool = False,
    token: str | None = None,
    label: int | str | None = None,
    opset: int = 20,
) -> ExportReport:
    """Write `model` to `folder` as ONNX files that run without torch, and check them against torch.

    Args:
        model: a folder or a hub id, as for `CrossEncoderReranker`.
        folder: where to write; it must be empty or missing. All files appear at once, or none do.
        revision: as for `CrossEncoderReranker`.
        cache_folder: as for `CrossEncoderReranker`.
        local_files_only: as for `CrossEncoderReranker`.
        trust_remote_code: as for `CrossEncoderReranker`.
        token: as for `CrossEncoderReranker`.
        label: as for `CrossEncoderReranker`. The graph then outputs that label's score, so the exported model has one
            logit and is loaded without a label.
        opset: version of the ONNX operator set. 20, torch's default, is the first with GELU as a single operator.

    Raises:
        FileExistsError: `folder` is not empty.
        MissingExtra: `ksdk-rerank[torch]` is not installed.
        ModelError: the model cannot be loaded or exported, or its fp32 file disagrees with torch.
    """
    target = checked_target(folder)
    if not all(find_spec(package) for package in _NEEDS):
        raise MissingExtra.of("torch", "export")

    from ksdk_rerank.engines.torch import TorchEngine

    opset = integer("opset", opset)
    settings = ModelSettings(
        model=os.fspath(model),
        backend="torch",
        device="cpu",
        revision=revision,
        cache_folder=None if cache_folder is None else os.fspath(cache_folder),
        local_files_only=local_files_only,
        trust_remote_code=trust_remote_code,
        token=token,
        label=label,
    )
    files = locate(settings)
    kind = model_kind(files, settings.model, label)
    # Eager attention: the exporter turns torch's fused attention into more operators, which run slower.
    engine = None if kind is ModelKind.PROMPT else TorchEngine(files, settings, attention="eager")
    if engine is None or engine.prompt is not None:  # also a classifier that was converted from such a model
        raise UnsupportedModel(
            f"{settings.model} is built on a language model and needs a prompt, so it cannot be exported; use it with"
            ' backend="torch"'
        )
    with new_folder(target) as written:
        (written / "onnx").mkdir()
        _write_settings(files, engine, written, relabel=kind is ModelKind.MODULAR or label is not None)
        _write_onnx(engine, written, opset)
        fp32 = _difference(engine, written, settings.model)
        exported = ModelSettings(str(written))
        _, int8 = write_int8(locate(exported), exported, _FP32_FILE, written)
        found = sizes(written)
    return ExportReport(target, found, fp32, int8)


def _write_settings(files: Files, engine: TorchEngine, folder: Path, *, relabel: bool) -> None:
    engine.tokenizer.save(str(folder / "tokenizer.json"))
    for name in COPIED:
        path = files.find(name)
        if path is not None and name != "tokenizer.json":
            shutil.copyfile(path, folder / name)
    if relabel:  # the graph has one logit, but the config says otherwise
        config = {name: value for name, value in read_json(folder / "config.json").items() if name != "architectures"}
        text = json.dumps({**config, "id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}, indent=2)
        (folder / "config.json").write_text(text, encoding="utf-8")


def _write_onnx(engine: TorchEngine, folder: Path, opset: int) -> None:
    import onnx
    import torch

    from ksdk_rerank.engines.last_layer import restrict_last_layer

    names, module = engine.exportable()
    path = folder / _FP32_FILE
    # Two pairs of unequal length, so that the exporter takes neither dimension nor the mask for a constant.
    example = torch.zeros((2, 7), dtype=torch.int64)
    inputs = {name: example.clone() for name in names}
    inputs["input_ids"] += 5
    inputs["attention_mask"][0], inputs["attention_mask"][1, :4] = 1, 1
    sizes = {0: torch.export.Dim("batch", min=1), 1: torch.export.Dim("sequence", min=1)}
    large = sum(weight.nbytes for weight in module.parameters()) > _LARGEST_FILE
    try:
        with _silence():
            torch.onnx.export(
                module,
                (),
                path,
                kwargs=inputs,
                input_names=list(names),
                output_names=["logits"],
                opset_version=opset,
                dynamic_shapes=dict.fromkeys(names, sizes),
                dynamo=True,
                external_data=large,
                verbose=False,
            )
    except Exception as error:  # the exporter's own errors, of many classes
        raise ModelError(
            f"torch {torch.__version__} cannot export this model to ONNX ({type(error).__name__}: {error}); use it"
            ' with backend="torch"'
        ) from error
    graph = onnx.load(path, load_external_data=False)
    restrict_last_layer(graph)
    onnx.save(graph, path)


def _difference(engine: TorchEngine, folder: Path, model: str) -> float:
    """Largest difference between a logit of the fp32 file and torch's, over a few pairs.

    Raises:
        ModelError: it is larger than the tolerance.
    """
    from ksdk_rerank.engines.onnx import OnnxEngine

    settings = ModelSettings(str(folder))
    files = locate(settings)
    expected, found = (
        model_of(each, files, settings).score(_QUERY, _DOCUMENTS).raw
        for each in (engine, OnnxEngine(_FP32_FILE, files, settings))
    )
    difference = max(abs(a - b) for a, b in zip(found, expected, strict=True))
    if not difference <= _TOLERANCE:  # also true for NaN
        raise ModelError(
            f"the exported {model} differs from torch by {difference:.1e}, more than {_TOLERANCE}, so nothing was"
            ' written; use the model with backend="torch"'
        )
    return difference


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Silence what the exporter prints, warns and logs."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
