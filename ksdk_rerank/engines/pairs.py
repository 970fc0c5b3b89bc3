"""Rejects tokenizers that put no separator between query and document, such as those of language models.

A cross-encoder is trained on pairs with a separator between query and document: `[CLS] A [SEP] B [SEP]` (BERT),
`<s> A </s></s> B </s>` (RoBERTa), `A </s> B </s>` (T5), `A <sep> B <sep> <cls>` (XLNet). A language model's tokenizer
only puts its start token before each text, `<s> A <s> B` (Llama), or its end token after each. Neither is a separator,
and a reranker built on such a model expects a prompt of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ksdk_rerank.errors import UnsupportedModel

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["check_pair"]

_DECODERS = (
    *("arcee", "biogpt", "bloom", "cohere", "ctrl", "deepseek", "diffllama", "doge"),
    *("exaone", "falcon", "gemma", "glm", "gpt", "granite", "helium", "hunyuan"),
    *("jamba", "jetmoe", "llama", "minicpm", "minimax", "ministral", "mistral", "mixtral"),
    *("mpt", "nemotron", "olmo", "openai-gpt", "opt", "persimmon", "phi", "qwen"),
    *("seed_oss", "smollm", "stablelm", "starcoder", "zamba"),
)
"""Prefixes of the `model_type` of language models: those that transformers 5.24.0 maps to `ForCausalLM` and to
`ForSequenceClassification` but not to `ForMaskedLM`, without XLNet
(github.com/huggingface/transformers/blob/main/src/transformers/models/auto/modeling_auto.py, 2026-11-26)."""


def check_pair(
    tokenizer: Tokenizer, config: Mapping[str, object], tokenizer_config: Mapping[str, object], model: str
) -> None:
    """Check that any special tokens between two texts really separate them.

    A tokenizer that puts nothing between them passes here; `PairEncoder` rejects it.

    Raises:
        UnsupportedModel: the query does not come first, or the only tokens between the texts are those that open or end
            every text.
    """
    pair = tokenizer.encode("a", "a")
    first = [position for position, sequence in enumerate(pair.sequence_ids) if sequence == 0]
    second = [position for position, sequence in enumerate(pair.sequence_ids) if sequence == 1]
    if not first or not second or first[-1] > second[0]:
        raise UnsupportedModel(
            f"the tokenizer of {model} does not set a query before a document: it makes {pair.tokens} of the pair"
            " ('a', 'a'); use a cross-encoder of the BERT family"
        )
    opening = set(pair.tokens[: first[0]])
    between = set(pair.tokens[first[-1] + 1 : second[0]])
    closing = {*pair.tokens[second[-1] + 1 :], _name(tokenizer_config, "eos_token")}
    if not between or _name(tokenizer_config, "sep_token") in between:
        return
    if between <= opening:
        reason = f"opens each text with {_joined(between)} and sets no separator between query and document"
    elif _is_decoder(config) and between <= opening | closing:
        reason = f"ends each text with {_joined(between - opening)} and sets no separator between query and document"
    else:
        return
    raise UnsupportedModel(
        f"the tokenizer of {model} {reason}, as those of language models do: rerankers made of them expect a prompt of"
        " their own, which this version does not write; use a cross-encoder of the BERT family, or serve this model"
        " with vLLM"
    )


def _is_decoder(config: Mapping[str, object]) -> bool:
    kind = config.get("model_type")
    return config.get("is_decoder") is True or (isinstance(kind, str) and kind.lower().startswith(_DECODERS))


def _name(tokenizer_config: Mapping[str, object], field: str) -> str | None:
    token = tokenizer_config.get(field)
    name = token.get("content") if isinstance(token, dict) else token
    return name if isinstance(name, str) else None


def _joined(tokens: set[str]) -> str:
    return " ".join(sorted(tokens))
