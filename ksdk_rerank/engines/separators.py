"""Checks that a tokenizer puts a separator between query and document.

A cross-encoder is trained on pairs with one: `[CLS] A [SEP] B [SEP]` (BERT), `<s> A </s></s> B </s>` (RoBERTa),
`A </s> B </s>` (T5), `A <sep> B <sep> <cls>` (XLNet). A language model's tokenizer only puts its start token before
each text, `<s> A <s> B` (Llama), or its end token after each. Neither is a separator, and a reranker built on such a
model needs a prompt (`prompts.py`).
"""

from __future__ import annotations

from collections.abc import Mapping

from tokenizers import Tokenizer

from ksdk_rerank.errors import UnsupportedModel

__all__ = ["check_separator"]

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

_ADVICE = (
    'pass backend="torch" if its chat template names query and document; otherwise use the reranker that it was'
    " converted from, such as Qwen/Qwen3-Reranker-0.6B, serve this one with vLLM, or use a BERT-style cross-encoder"
)


def check_separator(
    tokenizer: Tokenizer, config: Mapping[str, object], tokenizer_config: Mapping[str, object], model: str
) -> None:
    """Raise `UnsupportedModel` if the query does not come first, or no token between the texts separates them.

    Tokens that open or end every text are no separators.
    """
    pair = tokenizer.encode("a", "a")
    first = [position for position, sequence in enumerate(pair.sequence_ids) if sequence == 0]
    second = [position for position, sequence in enumerate(pair.sequence_ids) if sequence == 1]
    if not first or not second or first[-1] > second[0]:
        raise UnsupportedModel(
            f"the tokenizer of {model} does not put the query before the document: it turns the pair ('a', 'a') into"
            f" {pair.tokens}; use a BERT-style cross-encoder"
        )
    opening = set(pair.tokens[: first[0]])
    between = set(pair.tokens[first[-1] + 1 : second[0]])
    closing = {*pair.tokens[second[-1] + 1 :], _name(tokenizer_config, "eos_token")}
    if not between:
        raise UnsupportedModel(
            f"the tokenizer of {model} puts no special token between query and document, so the model is probably an"
            f" LLM-style reranker, which needs a prompt; {_ADVICE}"
        )
    if _name(tokenizer_config, "sep_token") in between:
        return
    if between <= opening:
        reason = f"starts each text with {_joined(between)} and puts no separator between query and document"
    elif _is_decoder(config) and between <= opening | closing:
        reason = f"ends each text with {_joined(between - opening)} and puts no separator between query and document"
    else:
        return
    raise UnsupportedModel(
        f"the tokenizer of {model} {reason}, as language models' tokenizers do; rerankers built on language models need"
        " their prompt, and without a chat template that names query and document only their authors know it;"
        f" {_ADVICE}"
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
