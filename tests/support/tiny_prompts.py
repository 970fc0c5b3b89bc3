"""Tiny rerankers built on language models, saved by sentence-transformers with a LogitScore and a chat template.

`qwen` has Qwen3's architecture, a ChatML prompt and an instruction of its own. `llama` has Llama's, and its prompt, in
structured messages, strips the document and puts the query behind it.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

SAMPLE = [
    "yes\nno\nyes\nno\nuser\nassistant\nsystem\nDoes the passage answer the question? yes or no",
    "How do I rotate an API key? Create a new key, update the clients, and then revoke the old one.\n\n",
    "The quick brown fox jumps over the lazy dog.\nInvoices are issued once a month; the weather is nice.",
    "def rotate(key):\n    return key[::-1]  # rotated\n\n",
    "这是一个测试。今天天气很好。Привет как дела שלום مرحبا naïve café",
]
WORDS = Regex(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""What a word is, as in Qwen2's and Llama 3's tokenizers: a mark takes the line ends that follow it."""

CHATML = """\
{%- macro said(role, fallback="") -%}
{{- messages | selectattr("role", "eq", role) | map(attribute="content") | first | default(fallback) -}}
{%- endmacro -%}
<|im_start|>system
Say yes if the passage does what the task asks, otherwise no.<|im_end|>
<|im_start|>user
Task: {{ said("system", "find passages that answer the question") }}
Question: {{ said("query") }}
Passage: {{ said("document") }}<|im_end|>
<|im_start|>assistant
<think>

</think>

"""
HEADERS = """\
{{- bos_token -}}
{%- for message in messages if message.role == "system" -%}
<|start_header_id|>system<|end_header_id|>

{{ message.content[0].text }}<|eot_id|>
{%- endfor -%}
<|start_header_id|>user<|end_header_id|>

Passage: "{{ (messages | selectattr("role", "eq", "document") | first).content[0].text | trim }}"
Does it answer "{{ (messages | selectattr("role", "eq", "query") | first).content[0].text }}"?<|eot_id|>
{#- -#}
<|start_header_id|>assistant<|end_header_id|>

Answer: """
DEFAULT = "prefer manuals to news"
"""The instruction in the files of `qwen`."""

# ruff: noqa: RUF001  # letters of other scripts are meant
QUERIES = ["how do i rotate an api key", "什么是天气？", "key", "  Привет,\nкак дела?  ", "how " * 60 + "?", "\n"]
DOCUMENTS = [
    "Create a new key, then revoke the old one.\n",
    "x",
    "\x01",
    '"',
    " \n\n  def rotate(key):\n    return key[::-1]\t\t# rotated  \n",
    "这是一个测试。今天天气很好。" * 3,
    "שלום مرحبا 🙂👩‍👩‍👧‍👦 e\u0301 \ufb01",
    "invoice " * 150,
    "The <b>weather</b> is {{ nice }} & <|not a token|> [INST] </s>",
    "12345 67.89%...\r\n\r\n",
]
PAIRS = [(query, document) for query in QUERIES for document in DOCUMENTS]
"""Sixty pairs: long ones, nearly empty ones, other scripts, and white space next to the prompt."""


def chat_tokenizer(special: list[str], *, start: str | None = None) -> Tokenizer:
    """Byte-level BPE, trained on `SAMPLE`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(WORDS, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(SAMPLE * 4, trainer)
    tokenizer.add_special_tokens(special)
    tokenizer.add_tokens([AddedToken("<think>", normalized=False), AddedToken("</think>", normalized=False)])
    if start is not None:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{start} $A", pair=f"{start} $A {start} $B", special_tokens=[(start, tokenizer.token_to_id(start))]
        )
    return tokenizer


def write_prompt_model(folder: Path, kind: str = "qwen", *, template: str | None = None) -> Path:
    """A LogitScore folder with seeded random weights, as sentence-transformers saves it."""
    import torch
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.cross_encoder.modules import LogitScore
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast
    from transformers.utils import logging

    if kind == "qwen":
        names = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
        tokenizer = chat_tokenizer(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    else:
        names = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>", "pad_token": "<|end_of_text|>"}
        special = [*names.values(), "<|start_header_id|>", "<|end_header_id|>"]
        tokenizer = chat_tokenizer(special, start="<|begin_of_text|>")
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=2048, **names)
    wrapped.chat_template = template or (CHATML if kind == "qwen" else HEADERS)
    config = AutoConfig.for_model(
        "qwen3" if kind == "qwen" else "llama",
        vocab_size=len(wrapped),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=64,
        max_position_embeddings=2048,
        initializer_range=0.25,
        tie_word_embeddings=kind == "qwen",
        pad_token_id=wrapped.pad_token_id,
        bos_token_id=wrapped.bos_token_id,
        eos_token_id=wrapped.eos_token_id,
    )
    torch.manual_seed(7)
    model = AutoModelForCausalLM.from_config(config)
    base = folder / "base"
    logging.disable_progress_bar()
    model.save_pretrained(base)
    wrapped.save_pretrained(base)
    ids = {"true_token_id": tokenizer.token_to_id("yes"), "false_token_id": tokenizer.token_to_id("no")}
    assert None not in ids.values()
    if kind == "llama":
        del ids["false_token_id"]
    modules = [Transformer(str(base), transformer_task="text-generation"), LogitScore(**ids)]
    prompts = {"prompts": {"manuals": DEFAULT}, "default_prompt_name": "manuals"} if kind == "qwen" else {}
    CrossEncoder(modules=modules, **prompts).save(str(folder / "model"), create_model_card=False)
    logging.enable_progress_bar()
    return folder / "model"


@pytest.fixture(scope="session")
def tiny_qwen(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a tiny Qwen3 reranker."""
    return str(write_prompt_model(tmp_path_factory.mktemp("qwen"), "qwen"))


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a tiny Llama reranker."""
    return str(write_prompt_model(tmp_path_factory.mktemp("llama"), "llama"))
