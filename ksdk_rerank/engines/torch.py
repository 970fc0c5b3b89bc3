"""`TorchEngine`: runs any cross-encoder that sentence-transformers can load, on any device that torch supports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from ksdk_rerank.engines.batching import GPU_TOKEN_BUDGET, TOKEN_BUDGET, Batch
from ksdk_rerank.engines.engine import Engine, ModelSettings
from ksdk_rerank.engines.files import Files, read_json
from ksdk_rerank.engines.foreign_errors import out_of_memory
from ksdk_rerank.engines.model_config import ModelKind, label_index, label_names, model_kind, modules_of
from ksdk_rerank.engines.prompts import Prompt
from ksdk_rerank.engines.telemetry import without_telemetry
from ksdk_rerank.engines.torch_files import check_files, check_weights_of_head, readable
from ksdk_rerank.errors import ModelError, UnsupportedModel

__all__ = ["TorchEngine"]

with without_telemetry():
    import sentence_transformers
    import torch
    from sentence_transformers import CrossEncoder
    from transformers.utils import logging as transformers_logging

    from ksdk_rerank.engines.torch_prompts import PromptChain

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_CHAINS = (5, 4)
"""First version of sentence-transformers whose `CrossEncoder` runs a chain of modules; older ones only run classifiers
(sentence_transformers/cross_encoder/CrossEncoder.py in 5.3.0, cross_encoder/model.py in 5.4.0)."""

_NOT_FOR_TEMPLATES = ("padding", "truncation", "max_length", "return_tensors", "restore_suffix")
"""Settings beside those of the chat template that do not reach it (sentence_transformers/base/modules/transformer.py in
6.2.0)."""


class TorchEngine(Engine):
    """Runs a cross-encoder with torch.

    sentence-transformers loads the model and runs its modules; its tokenization, sorting and activation are not used.

    Args:
        files: the model's files.
        settings: which model to load, and how.
        attention: attention implementation, by its name in transformers; None takes the fastest.

    Raises:
        ModelError: torch finds no CUDA device, a file is damaged, or the weights cannot be loaded.
        UnsupportedModel: the tokenizer is not a fast one, no weight is a classifier's, or the installed
            sentence-transformers is too old for this kind of model.
    """

    backend: ClassVar[str] = "torch"

    def __init__(self, files: Files, settings: ModelSettings, *, attention: str | None = None) -> None:
        if settings.device is not None and settings.device.startswith("cuda") and not torch.cuda.is_available():
            raise ModelError(
                f"device={settings.device!r}, but torch {torch.__version__} finds no CUDA device; install a torch"
                ' build with CUDA and a driver for it, or pass device="cpu"'
            )
        kind = model_kind(files, settings.model, settings.label)
        check_files(files, () if kind is ModelKind.CLASSIFIER else modules_of(files, settings.model))
        config = read_json(files.find("config.json"))
        if kind is not ModelKind.CLASSIFIER:
            _require_chains(kind, settings.model)
        elif not config.get("architectures"):
            check_weights_of_head(files, settings.model)
        # sentence-transformers reads fewer fields for the number of labels, and may ignore those that it reads.
        labels = len(label_names(config, settings.model)) if kind is ModelKind.CLASSIFIER else None
        encoder = _loaded(files, settings, config, labels, attention)
        tokenizer = encoder.tokenizer
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if not isinstance(backend, Tokenizer):
            raise UnsupportedModel(
                f"{settings.model} has the slow tokenizer {type(tokenizer).__name__}; save it with a fast one"
                " (tokenizer.json), or use another model"
            )
        self.tokenizer = Tokenizer.from_str(backend.to_str())  # this engine's own copy
        self._inputs = [name for name in _INPUTS if name in tokenizer.model_input_names]
        self._device = encoder.model.device
        dtype = _dtype(settings.dtype, encoder.model)
        scorer: torch.nn.Module
        if kind is ModelKind.CLASSIFIER:
            scorer = _Classifier(encoder, label_index(config, settings.label, settings.model))
        else:
            scorer = (_Chain if kind is ModelKind.MODULAR else PromptChain)(encoder)
        self._scorer = scorer.to(dtype).eval()
        self.reads_prefixes = isinstance(scorer, PromptChain) and scorer.reads_prefixes
        self.prompt = _prompt(encoder, kind, settings.model)
        self.budget = TOKEN_BUDGET if self._device.type == "cpu" else GPU_TOKEN_BUDGET

    def forward(self, batch: Batch) -> NDArray[np.floating]:
        arrays = dict(zip(_INPUTS, (batch.ids, batch.mask, batch.types), strict=True))
        inputs = {name: torch.from_numpy(arrays[name]).to(self._device) for name in self._inputs}
        if batch.prefix is not None:
            inputs["prefix"] = batch.prefix
        with torch.inference_mode():
            logits = self._scorer(**inputs)
        result: NDArray[np.floating] = logits.float().reshape(len(batch.ids)).cpu().numpy()
        return result

    def read_prefix(self, ids: NDArray[np.int64]) -> object:
        with torch.inference_mode():
            return self._scorer.read(torch.from_numpy(ids)[None].to(self._device))

    def exportable(self) -> tuple[list[str], Any]:
        """The input names and the `torch.nn.Module` that takes them, for `export`."""
        return self._inputs, self._scorer


def _loaded(
    files: Files, settings: ModelSettings, config: Mapping[str, object], labels: int | None, attention: str | None
) -> CrossEncoder:
    # These arguments have the same names in sentence-transformers 5.0 to 6.2.
    try:
        with _no_progress_bars(), without_telemetry(), readable(files) as location:
            return CrossEncoder(
                location,
                device=settings.device,
                cache_folder=settings.cache_folder,
                trust_remote_code=settings.trust_remote_code,
                revision=files.revision,
                local_files_only=files.offline,
                token=settings.token,
                model_kwargs={"attn_implementation": attention} if attention else None,
                config_kwargs={"architectures": None} if config.get("architectures") == [] else None,
                num_labels=labels,
            )
    except Exception as error:  # from transformers, safetensors, the hub or torch
        if out_of_memory(error):
            raise
        explained = files.explained(error)
        if explained is not None:
            raise explained from error
        raise ModelError(
            f"sentence-transformers cannot load {settings.model} ({error}); check its files, and pass"
            " trust_remote_code=True only if it needs its own code, which you have read and trust"
        ) from error


class _Classifier(torch.nn.Module):  # type: ignore[misc]  # torch is not checked
    """A `*ForSequenceClassification`, from token ids to logits; with a label, to its log-odds as `checked_logits`."""

    def __init__(self, encoder: Any, label: int | None) -> None:
        super().__init__()
        self.model = encoder.model
        self.label = label

    def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any = None) -> Any:
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        logits = self.model(input_ids=input_ids, attention_mask=attention_mask, **types, return_dict=True).logits
        if self.label is None:
            return logits
        others = [index for index in range(logits.shape[1]) if index != self.label]
        return logits[:, self.label] - logits[:, others].logsumexp(1)


class _Chain(torch.nn.Module):  # type: ignore[misc]
    """sentence-transformers' own chain of modules, from token ids to scores before any activation."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.chain = encoder

    def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any = None) -> Any:
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        return self.chain({"input_ids": input_ids, "attention_mask": attention_mask, **types})["scores"]


def _prompt(encoder: Any, kind: ModelKind, model: str) -> Prompt | None:
    """The prompt as `CrossEncoder.predict` writes it; None if the model reads pairs.

    A classifier has one only if its chat template names the two texts: others inherit a template for conversations.
    """
    if kind is ModelKind.MODULAR:
        return None
    if kind is ModelKind.CLASSIFIER:
        template = str(getattr(encoder.tokenizer, "chat_template", None))
        if not ("query" in template and "document" in template):
            return None
        _require_chains(ModelKind.PROMPT, model)
    first = encoder[0]
    settings = first.processing_kwargs.get("chat_template", {})
    options = {name: value for name, value in settings.items() if name not in _NOT_FOR_TEMPLATES}
    default = encoder.prompts.get(encoder.default_prompt_name)

    def render(query: str, document: str, instruction: str | None) -> str:
        messages = [first.input_formatter.pair_to_messages((query, document))]
        system = default if instruction is None else instruction
        if system:
            messages = first.input_formatter.prepend_prompt_to_messages(messages, system)
        return str(first.processor.apply_chat_template(messages[0], tokenize=False, **options))

    return Prompt(render, "left" if kind is ModelKind.PROMPT else "right")


def _require_chains(kind: ModelKind, model: str) -> None:
    installed = sentence_transformers.__version__
    if tuple(int(part) for part in installed.split(".")[:2]) < _CHAINS:
        needed = ".".join(map(str, _CHAINS))
        raise UnsupportedModel(
            f"{model} is a {kind.value} cross-encoder, which needs sentence-transformers {needed} or newer, but"
            f' {installed} is installed; run: pip install "sentence-transformers>={needed}"'
        )


def _dtype(name: str, model: Any) -> torch.dtype:
    """The torch dtype to run in.

    On a CUDA device, `"auto"` is bfloat16 if the model was saved in bfloat16, else float16, which has 3 more bits to
    tell close scores apart. Elsewhere it is float32: on a CPU, 16-bit types are slow and can overflow.
    """
    if name != "auto":
        dtype: torch.dtype = getattr(torch, name)
        return dtype
    if model.device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if model.dtype == torch.bfloat16 else torch.float16


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    if not transformers_logging.is_progress_bar_enabled():
        yield
        return
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.enable_progress_bar()
