"""From settings to a loaded model: which files, and which engine."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from ksdk_rerank.engines.base import Backend, Settings
from ksdk_rerank.errors import MissingExtra, UnsupportedModel

if TYPE_CHECKING:
    from ksdk_rerank.engines.base import Engine
    from ksdk_rerank.engines.files import Files
    from ksdk_rerank.engines.scoring import Model

__all__ = ["load", "model_of"]

_NEEDS = {
    "onnx": ("onnxruntime", "tokenizers", "huggingface_hub", "numpy"),
    "torch": ("sentence_transformers",),
}
_EXTRAS = {"onnx": "local", "torch": "torch"}


def load(settings: Settings) -> Model:
    """Load what `settings` describe. The engine follows from them, what is installed and what the model offers.

    Raises:
        MissingExtra: no engine that these settings allow is installed.
        ModelNotFound: the model is neither here nor to be had.
        UnsupportedModel: it is not a cross-encoder with one logit, or offers nothing to an engine that is installed.
    """
    wanted = _wanted(settings)
    installed = [backend for backend in wanted if all(find_spec(package) for package in _NEEDS[backend])]
    if not installed:
        raise MissingExtra.of(_EXTRAS[wanted[0]], f"CrossEncoderReranker({settings.model!r})")

    from ksdk_rerank.engines.files import locate
    from ksdk_rerank.engines.head import check_head, read_json

    files = locate(settings)
    check_head(read_json(files.find("config.json")), settings.model)
    return model_of(_engine(installed, files, settings), files, settings)


def model_of(engine: Engine, files: Files, settings: Settings) -> Model:
    """An engine together with what the model's files say of its window and its padding."""
    from ksdk_rerank.engines.head import pad_id, read_json, window
    from ksdk_rerank.engines.scoring import Model

    config = read_json(files.find("config.json"))
    tokenizer_config = read_json(files.find("tokenizer_config.json"))
    return Model(
        engine,
        name=settings.model,
        max_length=window(config, tokenizer_config, settings.max_length),
        pad_id=pad_id(config, tokenizer_config, engine.tokenizer, settings.model),
    )


def _wanted(settings: Settings) -> tuple[Backend, ...]:
    """The engines that may run this, best first."""
    if settings.backend is not None:
        return (settings.backend,)
    if settings.trust_remote_code or settings.dtype in ("float16", "bfloat16"):
        return ("torch",)
    if settings.dtype == "int8":
        return ("onnx",)
    # Off the CPU torch is first: the usual onnxruntime package runs on nothing else.
    return ("onnx", "torch") if settings.device in (None, "cpu") else ("torch", "onnx")


def _engine(installed: list[Backend], files: Files, settings: Settings) -> Engine:
    for backend in installed:
        if backend == "torch":
            from ksdk_rerank.engines.torch import TorchEngine

            return TorchEngine(files, settings)
        from ksdk_rerank.engines.onnx import OnnxEngine, find_model

        name = find_model(files, settings)
        if name is not None:
            return OnnxEngine(name, files, settings)
    kind = "int8 ONNX file" if settings.dtype == "int8" else "ONNX file"
    raise UnsupportedModel(
        f"{settings.model} offers no {kind} with a tokenizer.json{' in the cache' if files.offline else ''}, and no"
        f" other engine may run it; write one with: ksdk-rerank export {settings.model} FOLDER, then pass that folder;"
        ' or pip install "ksdk-rerank[torch]" and use backend="torch"'
    )
