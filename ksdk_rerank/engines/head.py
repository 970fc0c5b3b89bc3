"""What a model's own files say of it: one logit or not, how many tokens it reads, which token pads.

Read before any weights are, so that a model that is no cross-encoder is refused at once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ksdk_rerank.errors import UnsupportedModel

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["check_head", "pad_id", "read_json", "window"]

# Their first position is pad_token_id + 1, and positions up to there are never used: the models of transformers 5.23.0
# that have a `create_position_ids_from_input_ids`.
_POSITIONS_AFTER_PADDING = frozenset(
    {"camembert", "data2vec-text", "esm", "ibert", "lilt", "longformer", "luke", "mpnet", "roberta"}
    | {"roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod"}
)


def read_json(path: Path | None) -> Mapping[str, object]:
    """The object in a JSON file; empty where there is no file."""
    if path is None:
        return {}
    content = json.loads(path.read_text(encoding="utf-8"))
    return content if isinstance(content, dict) else {}


def check_head(config: Mapping[str, object], model: str) -> None:
    """Raise `UnsupportedModel` unless `config` is that of a cross-encoder with one logit."""
    architectures = config.get("architectures")
    architecture = str(architectures[0]) if isinstance(architectures, list) and architectures else "unknown"
    advice = "use a cross-encoder with one logit, such as cross-encoder/ms-marco-MiniLM-L-6-v2"
    if architecture.endswith(("ForCausalLM", "ForConditionalGeneration")):
        raise UnsupportedModel(f"{model} is a language model ({architecture}), not a cross-encoder; {advice}")
    if not architecture.endswith("ForSequenceClassification"):
        raise UnsupportedModel(
            f"{model} is not a cross-encoder: its architecture is {architecture}, an encoder without a classification"
            f" head, as in embedding models (bi-encoders), which cannot score pairs; {advice}"
        )
    labels = _labels(config)
    if labels != 1:
        raise UnsupportedModel(
            f"{model} is a classifier with {labels} labels, not a cross-encoder with one logit; {advice}"
        )


def _labels(config: Mapping[str, object]) -> int:
    names = config.get("id2label")
    if isinstance(names, dict):
        return len(names)
    count = config.get("num_labels")
    return count if isinstance(count, int) else 2  # what transformers assumes


def window(config: Mapping[str, object], tokenizer_config: Mapping[str, object], max_length: int) -> int:
    """How many tokens a pair may have: `max_length`, or fewer where the model reads fewer."""
    limits = [max_length]
    positions = config.get("max_position_embeddings")
    if isinstance(positions, int) and positions > 0:
        padding = config.get("pad_token_id")
        unused = (padding if isinstance(padding, int) else 1) + 1
        limits.append(positions - unused if config.get("model_type") in _POSITIONS_AFTER_PADDING else positions)
    length = tokenizer_config.get("model_max_length")
    if isinstance(length, (int, float)) and length > 0:  # 1e30 stands for "not known"
        limits.append(int(length))
    return min(limits)


def pad_id(
    config: Mapping[str, object], tokenizer_config: Mapping[str, object], tokenizer: Tokenizer, model: str
) -> int:
    """The id that pads. It is not just a filler: RoBERTa counts positions, and others pool, by it."""
    configured = config.get("pad_token_id")
    if isinstance(configured, int):
        return configured
    token = tokenizer_config.get("pad_token")
    name = token.get("content") if isinstance(token, dict) else token
    found = tokenizer.token_to_id(name) if isinstance(name, str) else None
    if found is None:
        raise UnsupportedModel(
            f"{model} names no padding token, neither in config.json nor in tokenizer_config.json, so its documents"
            " cannot be scored in batches; add pad_token_id to its config.json"
        )
    return found
