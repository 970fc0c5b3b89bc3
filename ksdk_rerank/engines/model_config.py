"""Reads kind, window and padding token from the model's files.

This happens before any weights are read, so a model that cannot score pairs is rejected at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from ksdk_rerank.engines.files import read_json, read_list
from ksdk_rerank.errors import ModelError, UnsupportedModel

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from ksdk_rerank.engines.files import Files

__all__ = ["ModelKind", "Module", "label_index", "label_names", "model_kind", "modules_of", "pad_id", "window"]

# Models whose positions start at pad_token_id + 1, so the positions below that are never used. These are the models in
# transformers 5.23.0 that have a `create_position_ids_from_input_ids`.
_POSITIONS_AFTER_PADDING = (
    *("camembert", "data2vec-text", "esm", "ibert", "lilt", "longformer", "luke", "mpnet", "roberta"),
    *("roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod"),
)
_MOST_LABELS = 100
_ADVICE = "use a cross-encoder with one logit, such as cross-encoder/ms-marco-MiniLM-L-6-v2"


class ModelKind(Enum):
    """How a model turns a pair into a logit."""

    CLASSIFIER = "classifier"
    """A `*ForSequenceClassification` with one logit."""
    MODULAR = "modular"
    """An encoder with a head of sentence-transformers modules, the last of which outputs the scores."""
    PROMPT = "prompt"
    """A language model that gets the pair in a prompt, and is scored by the logits of its next token."""


@dataclass(frozen=True, slots=True)
class Module:
    """One module of a sentence-transformers model.

    Attributes:
        name: its class, without the package.
        path: its folder, relative to the model's; empty for the model's own folder.
    """

    name: str
    path: str

    def file(self, name: str) -> str:
        """A file in its folder, relative to the model's."""
        return str(PurePosixPath(self.path, name))


def model_kind(files: Files, model: str, label: int | str | None = None) -> ModelKind:
    """The kind of reranker that a model's files describe.

    Args:
        files: the model's files.
        model: the model's name, for messages.
        label: which of a classifier's labels means "relevant".

    Raises:
        UnsupportedModel: the files describe a model that cannot score pairs, or do not state the kind.
        ModelError: a field has the wrong type.
    """
    config = read_json(files.find("config.json"))
    architecture = _architecture(config, model)
    modules = modules_of(files, model)
    parts = ", ".join(module.name for module in modules)
    if any(module.name == "LogitScore" for module in modules):
        return _checked_chain(ModelKind.PROMPT, files, model, label)
    if architecture.endswith(("ForCausalLM", "ForConditionalGeneration")):
        raise UnsupportedModel(
            f"{model} is a language model ({architecture}) without a LogitScore module, and nothing else in its files"
            " tells a reranker from a chat model or names the tokens that mean relevant; Qwen3-Reranker,"
            " mxbai-rerank-v2, ctxl-rerank-v2 and zerank-2 have it (1_LogitScore and chat_template.jinja) in the newest"
            " revision of their repositories, so fetch that; serve any other such reranker with vLLM, or"
            f" {_ADVICE}"
        )
    if len(modules) > 1 and not architecture.endswith("ForSequenceClassification"):
        settings = modules[-1].file("config.json")
        last = read_json(files.find(settings))
        if last.get("module_output_name") != "scores":
            raise UnsupportedModel(
                f"{model} is an embedding model (bi-encoder) of sentence-transformers ({parts}): it turns each text"
                f" into a vector, and has no module that scores pairs; {_ADVICE}"
            )
        count = _number(last, "out_features", settings, model)
        if count != 1:
            raise UnsupportedModel(f"{model} outputs {count} scores per pair ({parts}), not one; {_ADVICE}")
        return _checked_chain(ModelKind.MODULAR, files, model, label)
    _check_labels(config, architecture, model, label)
    return ModelKind.CLASSIFIER


def _checked_chain(kind: ModelKind, files: Files, model: str, label: int | str | None) -> ModelKind:
    """Check the class that saved the modules: `CrossEncoder` replaces the head of any other by random weights."""
    name = "config_sentence_transformers.json"
    saved = read_json(files.find(name)).get("model_type")
    if saved != "CrossEncoder":
        raise UnsupportedModel(
            f'{model} has the modules of a cross-encoder, but its {name} does not say "model_type": "CrossEncoder"'
            f" ({saved!r} instead), so sentence-transformers would replace its head; add the line, or {_ADVICE}"
        )
    if label is not None:
        raise UnsupportedModel(
            f"label={label!r} picks one of a classifier's labels, but {model} is a {kind.value} cross-encoder, which"
            " has none; remove label=..."
        )
    return kind


def _check_labels(config: Mapping[str, object], architecture: str, model: str, label: int | str | None) -> None:
    """Check that a `config.json` describes a classifier with one logit, or with several of which `label` is one."""
    labels = _labels(config, model)
    if architecture and not _classifies(architecture, config):
        if config.get("auto_map"):
            raise UnsupportedModel(
                f"{model} runs code of its own ({architecture}), which is not a classifier of pairs; listwise rerankers"
                " such as jina-reranker-v3 are like this, and read all documents at once; use its maker's API, such as"
                f' load_reranker("jina:jina-reranker-v3"), or {_ADVICE}'
            )
        raise UnsupportedModel(
            f"{model} is an encoder without a head that scores pairs, as embedding models (bi-encoders) are: its"
            f" config.json names the architecture {architecture}, and no modules.json adds a head; if the model is a"
            f" reranker, fetch its whole repository; otherwise {_ADVICE}"
        )
    if labels is None and not architecture:
        raise UnsupportedModel(
            f"the config.json of {model} names neither an architecture nor labels, so it may not be a"
            f' cross-encoder; if it is one with one logit, add "num_labels": 1 to the file; otherwise {_ADVICE}'
        )
    names = label_names(config, model)
    if label is None and len(names) != 1:
        raise UnsupportedModel(
            f"{model} is a classifier with {len(names)} labels ({', '.join(names)}), not a cross-encoder with one"
            f" logit; if one of them means relevant, pass label=..., by name or index; otherwise {_ADVICE}"
        )
    label_index(config, label, model)


def label_index(config: Mapping[str, object], label: int | str | None, model: str) -> int | None:
    """The index of one of a classifier's labels; None if `label` is None.

    Raises:
        UnsupportedModel: the classifier has one logit, or no label of that name or index.
    """
    if label is None:
        return None
    names = label_names(config, model)
    if len(names) == 1:
        raise UnsupportedModel(
            f"label={label!r} picks one of a classifier's labels, but {model} has one logit; remove label=..."
        )
    if label in names:
        return names.index(str(label))
    if isinstance(label, int) and label < len(names):
        return label
    raise UnsupportedModel(
        f"{model} has no label {label!r}; pass one of {', '.join(names)}, or an index up to {len(names) - 1}"
    )


def label_names(config: Mapping[str, object], model: str) -> list[str]:
    """Names of a classifier's labels, by index."""
    named, count = config.get("id2label"), _labels(config, model)
    names = named if isinstance(named, dict) else {}
    count = 2 if count is None else count  # transformers' default, which it leaves out of the config
    if count > _MOST_LABELS:
        raise UnsupportedModel(f"{model} is a classifier with {count} labels, which is not a reranker; {_ADVICE}")
    return [str(names.get(str(index), f"LABEL_{index}")) for index in range(count)]


def _architecture(config: Mapping[str, object], model: str) -> str:
    """The first architecture in the config, or an empty string if it names none."""
    names = config.get("architectures")
    if names is None or names == []:
        return ""
    if not isinstance(names, list) or not isinstance(names[0], str):
        raise _wrong("config.json", "architectures", names, "a list of names", model)
    return names[0]


def _classifies(architecture: str, config: Mapping[str, object]) -> bool:
    if architecture.endswith("ForSequenceClassification"):
        return True
    own = config.get("auto_map")  # custom classes that ship with the model
    return isinstance(own, dict) and "AutoModelForSequenceClassification" in own


def _labels(config: Mapping[str, object], model: str) -> int | None:
    """How many labels the config states, or None."""
    for field in ("id2label", "num_labels", "label2id"):
        value = config.get(field)
        if value is None:
            continue
        if field == "num_labels":
            return _number(config, field, "config.json", model)
        if not isinstance(value, dict):
            raise _wrong("config.json", field, value, "an object", model)
        return len(value)
    return None


def modules_of(files: Files, model: str) -> list[Module]:
    """The modules in a model's `modules.json`, which sentence-transformers writes; empty if there is none."""
    modules = []
    for entry in read_list(files.find("modules.json")):
        name, path = (entry.get("type"), entry.get("path", "")) if isinstance(entry, dict) else (None, None)
        if not isinstance(name, str):
            raise _wrong("modules.json", "type", entry, "a name", model)
        if not isinstance(path, str) or PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise _wrong("modules.json", "path", path, "a folder inside the model", model)
        modules.append(Module(name.rpartition(".")[2], path))
    return modules


def window(
    config: Mapping[str, object], tokenizer_config: Mapping[str, object], max_length: int, model: str = "the model"
) -> int:
    """Maximum tokens per pair: `max_length`, or fewer if the model reads fewer.

    Raises:
        ModelError: a field has the wrong type, or no tokens are left.
    """
    limits = [max_length]
    positions = _number(config, "max_position_embeddings", "config.json", model)
    padding = _number(config, "pad_token_id", "config.json", model)
    if positions is not None and positions > 0:
        unused = (1 if padding is None else padding) + 1
        limits.append(positions - unused if config.get("model_type") in _POSITIONS_AFTER_PADDING else positions)
    length = _number(tokenizer_config, "model_max_length", "tokenizer_config.json", model)
    if length is not None and length > 0:  # 1e30 means "unknown"
        limits.append(length)
    if min(limits) < 1:
        raise ModelError(f"the config.json of {model} leaves room for {min(limits)} tokens; fetch the model again")
    return min(limits)


def pad_id(
    config: Mapping[str, object], tokenizer_config: Mapping[str, object], tokenizer: Tokenizer, model: str
) -> int:
    """The padding token's id. A wrong one changes scores: RoBERTa derives positions from it, other models pool by it.

    Raises:
        UnsupportedModel: the config files name no padding token.
        ModelError: a field has the wrong type, or the id is outside the vocabulary.
    """
    configured = _number(config, "pad_token_id", "config.json", model)
    if configured is not None and configured >= 0:  # -1 means none
        vocabulary = max(tokenizer.get_vocab_size(), _number(config, "vocab_size", "config.json", model) or 0)
        if configured >= vocabulary:
            wanted = f"one of the {vocabulary} tokens"
            raise _wrong("config.json", "pad_token_id", configured, wanted, model)
        return configured
    token = tokenizer_config.get("pad_token")
    name = token.get("content") if isinstance(token, dict) else token
    if name is not None and not isinstance(name, str):
        raise _wrong("tokenizer_config.json", "pad_token", name, "a token", model)
    found = None if name is None else tokenizer.token_to_id(name)
    if found is None:
        raise UnsupportedModel(
            f"{model} names no padding token, neither in config.json nor in tokenizer_config.json, so its documents"
            " cannot be scored in batches; add pad_token_id to its config.json"
        )
    return found


def _number(fields: Mapping[str, object], field: str, file: str, model: str) -> int | None:
    """The field as an integer, or None if it is missing or infinite."""
    value = fields.get(field)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _wrong(file, field, value, "a number", model)
    return int(value) if math.isfinite(value) else None


def _wrong(file: str, field: str, value: object, wanted: str, model: str) -> ModelError:
    said = f"{field} is {repr(value)[:80]}, not {wanted}"
    return ModelError(f"the {file} of {model} is damaged: {said}; correct it, or fetch the model again")
