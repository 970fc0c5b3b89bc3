"""From settings to a loaded model: finds its files and picks the engine."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ksdk_rerank.engines.engine import Backend, ModelSettings
from ksdk_rerank.engines.files import WAYS_OUT, WEIGHTS, Folder, read_json
from ksdk_rerank.engines.foreign_errors import in_one_line, is_failure, out_of_memory
from ksdk_rerank.engines.hardware import has_bfloat16, has_gpu
from ksdk_rerank.engines.hub import Hub
from ksdk_rerank.engines.model_config import ModelKind, model_kind, pad_id, window
from ksdk_rerank.engines.scoring import Model
from ksdk_rerank.errors import InferenceFailed, MissingExtra, ModelError, ModelNotFound, RerankError, UnsupportedModel
from ksdk_rerank.models import folder_of

if TYPE_CHECKING:
    from ksdk_rerank.engines.engine import Engine
    from ksdk_rerank.engines.files import Files

__all__ = ["load", "locate", "model_of"]

_WITHOUT_TORCH = ("tokenizers", "huggingface_hub", "numpy")
_PACKAGES: dict[Backend, tuple[str, ...]] = {
    "openvino": ("openvino", *_WITHOUT_TORCH),
    "onnx": ("onnxruntime", *_WITHOUT_TORCH),
    "torch": ("sentence_transformers",),
}
_EXTRAS: dict[Backend, str] = {"openvino": "openvino", "onnx": "local", "torch": "torch"}


def locate(settings: ModelSettings) -> Files:
    """Find `settings.model`: a local folder if there is one, else a model on the hub or in its cache.

    Raises:
        ModelNotFound: it is not a local folder, not in the hub's cache and not on the hub.
        HubUnreachable: it is not on this machine, and the hub cannot be reached.
    """
    try:
        folder = folder_of(settings.model)
        if folder.is_dir():
            return Folder(folder)
        is_a_file = folder.is_file()
    except (OSError, RuntimeError) as error:  # no permission, name too long, or no home folder for that user
        raise ModelNotFound(f"the folder {settings.model} cannot be opened ({error}). {WAYS_OUT}") from error
    if is_a_file:
        raise ModelNotFound(
            f"{settings.model} is a file; pass its folder, which must also contain config.json, and choose an ONNX file"
            " with onnx_file=..."
        )
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", settings.model) or settings.model.startswith("."):
        raise ModelNotFound(f"{settings.model} is neither a folder nor a valid hub id. {WAYS_OUT}")
    return Hub(settings)


def load(settings: ModelSettings) -> Model:
    """Load the model that `settings` describe.

    The engine depends on the settings, on what is installed and on which files the model offers.

    Raises:
        MissingExtra: no engine that these settings allow is installed.
        ModelNotFound: the model is neither on this machine nor on the hub.
        HubUnreachable: the model is not on this machine, and the hub cannot be reached.
        UnsupportedModel: the model is not a cross-encoder with one logit, or has no file for an installed engine.
        InferenceFailed: there is too little memory to load it.
        ModelError: one of its files is damaged, or the engine cannot load it.
    """
    try:
        return _load(settings)
    except RerankError:
        raise
    except BaseException as error:  # last resort: code that can name the file or setting at fault raises earlier
        if not is_failure(error):
            raise
        said = f"{settings.model} cannot be loaded ({type(error).__name__}: {in_one_line(error)})"
        if out_of_memory(error):
            raise InferenceFailed(f"{said}; free memory, or use a smaller model or dtype") from error
        raise ModelError(f"{said}; fetch or export the model again, or try another backend") from error


def _load(settings: ModelSettings) -> Model:
    allowed = _allowed(settings)
    installed = [backend for backend in allowed if all(find_spec(package) for package in _PACKAGES[backend])]
    if not installed:  # recommend the engine that suits most models and machines
        raise _missing_extra("onnx" if "onnx" in allowed else allowed[-1], settings)
    files = locate(settings)
    if model_kind(files, settings.model, settings.label) is ModelKind.PROMPT:
        if "torch" not in allowed:
            raise UnsupportedModel(
                f'{settings.model} is a language model and needs the "torch" engine, but the other settings exclude it;'
                " leave backend, dtype and onnx_file at their defaults"
            )
        if "torch" not in installed:
            raise _missing_extra("torch", settings)
        installed = ["torch"]
    config = read_json(files.find("config.json"))
    # Called only for its checks: an engine's own error does not always name the damaged field.
    window(config, read_json(files.find("tokenizer_config.json")), settings.max_length, settings.model)
    if settings.backend is None:
        installed = _fastest_first(installed, files, settings)
        if not installed:  # OpenVINO alone, which would be slower for this model
            raise _missing_extra("onnx", settings)
    return model_of(_engine(installed, files, settings), files, settings)


def model_of(engine: Engine, files: Files, settings: ModelSettings) -> Model:
    """Combine an engine with an encoder, and with the window and padding token from the model's files."""
    from ksdk_rerank.engines.encoding import Encoder, PairEncoder
    from ksdk_rerank.engines.separators import check_separator

    config = read_json(files.find("config.json"))
    tokenizer_config = read_json(files.find("tokenizer_config.json"))
    max_length = window(config, tokenizer_config, settings.max_length, settings.model)
    encoder: Encoder
    if engine.prompt is None:
        check_separator(engine.tokenizer, config, tokenizer_config, settings.model)
        encoder = PairEncoder(engine.tokenizer, max_length, settings.model)
    else:
        from ksdk_rerank.engines.prompts import PromptEncoder

        encoder = PromptEncoder(engine.tokenizer, engine.prompt, max_length, settings.model)
    return Model(engine, encoder, pad_id(config, tokenizer_config, engine.tokenizer, settings.model))


def _allowed(settings: ModelSettings) -> tuple[Backend, ...]:
    """The engines that may run this model with these settings, preferred first.

    Raises:
        UnsupportedModel: the model is an ONNX file, which torch cannot run, and the other settings require torch.
    """
    wanted = _wanted(settings)
    if settings.onnx_file is None:
        return wanted
    others = tuple(backend for backend in wanted if backend != "torch")
    if not others:
        raise UnsupportedModel(
            f'onnx_file={settings.onnx_file!r} needs the "onnx" or "openvino" engine, but on this machine the other'
            " settings require torch; leave backend, dtype and device at their defaults"
        )
    return others


def _wanted(settings: ModelSettings) -> tuple[Backend, ...]:
    """The engines for this backend, device and dtype, preferred first."""
    if settings.backend is not None:
        return (settings.backend,)
    if settings.trust_remote_code or settings.dtype == "float16":
        return ("torch",)
    if settings.dtype == "int8":
        return ("onnx",)
    if settings.device not in (None, "cpu"):  # the standard onnxruntime package runs on the CPU only
        return ("torch",) if settings.dtype == "bfloat16" else ("torch", "onnx")
    if settings.dtype == "bfloat16":
        return ("openvino", "torch") if has_bfloat16() else ("torch",)
    if settings.dtype == "auto" and has_bfloat16():
        return ("onnx", "openvino", "torch")  # _fastest_first decides between the first two
    return ("onnx", "torch")


def _fastest_first(installed: list[Backend], files: Files, settings: ModelSettings) -> list[Backend]:
    """`installed`, fastest first for this machine and these files.

    On a GPU, torch comes first if the model has weights that it can load.
    OpenVINO in bfloat16 takes half as long as onnxruntime in float32, so it comes before onnx if the model has no int8
    file. If it has one, OpenVINO is left out, because onnxruntime in int8 is faster still (`benchmarks/latency.py`,
    2026-11-25, a processor with VNNI and bfloat16).
    """
    others: list[Backend] = [backend for backend in installed if backend != "torch"]
    on_gpu = installed[0] == "torch" or (settings.device is None and "torch" in installed and has_gpu())
    if on_gpu and others:
        if any(files.find(name) for name in WEIGHTS):
            return ["torch", *others]
        installed = others
    if "openvino" not in installed or settings.dtype != "auto":
        return installed
    from ksdk_rerank.engines.onnx_files import offers_int8

    without: list[Backend] = [backend for backend in installed if backend != "openvino"]
    return without if offers_int8(files, settings) else ["openvino", *without]


def _engine(installed: list[Backend], files: Files, settings: ModelSettings) -> Engine:
    for backend in installed:
        if backend == "torch":
            from ksdk_rerank.engines.torch import TorchEngine

            return TorchEngine(files, settings)
        from ksdk_rerank.engines.onnx_files import find_model

        name = find_model(files, settings, backend)
        if name is None:
            continue
        if backend == "openvino":
            from ksdk_rerank.engines.openvino import OpenVinoEngine

            return OpenVinoEngine(name, files, settings)
        from ksdk_rerank.engines.onnx import OnnxEngine

        return OnnxEngine(name, files, settings)
    if files.failure is not None:  # the hub may have the missing file
        raise files.failure
    raise _unsupported(files, settings)


def _missing_extra(backend: Backend, settings: ModelSettings) -> MissingExtra:
    return MissingExtra.of(_EXTRAS[backend], f"CrossEncoderReranker({settings.model!r})")


def _unsupported(files: Files, settings: ModelSettings) -> ModelError:
    """The error to raise when no installed engine can run the files that the model offers."""
    from ksdk_rerank.engines.onnx_files import find_model, missing

    said = missing(files, settings)
    if settings.onnx_file is not None:
        return ModelNotFound(said) if files.find(settings.onnx_file) is None else UnsupportedModel(said)
    defaults = replace(settings, backend=None, device=None, dtype="auto")
    if settings.dtype != "int8" and files.offline and find_model(files, defaults, "onnx") is not None:
        return UnsupportedModel(f"{said}; leave backend, device and dtype at their defaults")
    return UnsupportedModel(
        f"{said}; no other engine that these settings allow is installed. Create one with: ksdk-rerank export"
        f' {settings.model} FOLDER, then pass that folder; or pip install "ksdk-rerank[torch]" and use'
        ' backend="torch"'
    )
