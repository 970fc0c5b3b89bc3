"""A model with a prompt beside smaller cross-encoders: processor time on a CPU, pairs a second and memory on a GPU.

The models have the true shapes of MiniLM-L12, ettin-150m (a ModernBERT with a head) and Qwen3-Reranker-0.6B, with
seeded random weights and one small vocabulary, so they show speed and not quality. Each is run by this library and by
`CrossEncoder.predict` with its default settings, on the same weights and in the same precision.

    python benchmarks/prompt_models.py                     on a CPU: 10 documents of 128 tokens, in float32
    python benchmarks/prompt_models.py --device cuda       on a GPU: 1,000 documents, in bfloat16, for several budgets
    python benchmarks/prompt_models.py --prefix            what reading the prompt's beginning once saves

Times on a CPU are processor time on one thread, which other programs on the machine change least.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import CrossEncoder
from sentence_transformers.base.modules import Dense, Transformer
from sentence_transformers.cross_encoder.modules import LogitScore
from sentence_transformers.sentence_transformer.modules import LayerNorm, Pooling
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PreTrainedTokenizerFast,
)
from transformers.utils import is_flash_attn_2_available, logging
from workload import QUERY, machine, table, take_turns, texts, write

from ksdk_rerank.engines.engine import ModelSettings
from ksdk_rerank.engines.files import Folder
from ksdk_rerank.engines.scoring import Model
from ksdk_rerank.engines.select import model_of
from ksdk_rerank.engines.torch import TorchEngine
from ksdk_rerank.models import EMBEDDED, folder_of

SHAPES: dict[str, tuple[str, dict[str, int]]] = {
    "MiniLM-L12": (
        "bert",
        {"num_hidden_layers": 12, "hidden_size": 384, "num_attention_heads": 12, "intermediate_size": 1536},
    ),
    "ModernBERT": (
        "modernbert",
        {"num_hidden_layers": 22, "hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 1152},
    ),
    "Qwen3-0.6B": (
        "qwen3",
        {"num_hidden_layers": 28, "hidden_size": 1024, "num_attention_heads": 16, "intermediate_size": 3072}
        | {"num_key_value_heads": 8, "head_dim": 128, "tie_word_embeddings": True},
    ),
}
TEMPLATE = """\
{%- macro said(role) -%}
{{- messages | selectattr("role", "eq", role) | map(attribute="content") | first | default("") -}}
{%- endmacro -%}
<|im_start|>system
Decide whether the document does what the task and the query ask for. Answer with yes or with no.<|im_end|>
<|im_start|>user
Task: {{ said("system") or "find the passages of the documentation that answer the query" }}
Query: {{ said("query") }}
Document: {{ said("document") }}<|im_end|>
<|im_start|>assistant
"""
"""As long as those of Qwen3-Reranker: about 60 tokens without the texts."""
ANSWERS = (("true", "yes"), ("false", "no"))
FIRST, SECOND = "this library", "CrossEncoder.predict"
Figures = dict[str, dict[str, float]]


def build(name: str, folder: Path, layers: int | None) -> str:
    """Save a model of that shape as sentence-transformers does, with the embedded model's vocabulary."""
    kind, shape = SHAPES[name]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(folder_of(EMBEDDED) / "tokenizer.json"),
        model_max_length=8192 if kind != "bert" else 512,
        additional_special_tokens=["<|im_start|>", "<|im_end|>"],
        **{f"{part}_token": f"[{part.upper()}]" for part in ("pad", "unk", "cls", "sep", "mask")},
    )
    if kind != "bert":
        tokenizer.model_input_names = ["input_ids", "attention_mask"]
    special = {f"{part}_token_id": getattr(tokenizer, f"{part}_token_id") for part in ("pad", "cls", "sep")}
    special |= {"bos_token_id": tokenizer.cls_token_id, "eos_token_id": tokenizer.sep_token_id}
    size = {"vocab_size": len(tokenizer), "max_position_embeddings": tokenizer.model_max_length}
    config = AutoConfig.for_model(kind, **{**shape, **size, **special, "num_labels": 1})
    config.num_hidden_layers = layers or config.num_hidden_layers
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[: config.num_hidden_layers]
    torch.manual_seed(7)
    loaders = {"bert": AutoModelForSequenceClassification, "modernbert": AutoModel, "qwen3": AutoModelForCausalLM}
    part = folder / "part"
    loaders[kind].from_config(config).save_pretrained(part)
    if kind == "qwen3":
        tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(part)
    if kind == "bert":
        return str(part)
    if kind == "modernbert":
        width = config.hidden_size
        last = Dense(width, 1, activation_function=torch.nn.Identity(), module_output_name="scores")
        head = [Pooling(width, "cls"), Dense(width, width, activation_function=torch.nn.GELU()), LayerNorm(width), last]
        modules = [Transformer(str(part)), *head]
    else:
        ids = {f"{answer}_token_id": tokenizer.convert_tokens_to_ids(word) for answer, word in ANSWERS}
        modules = [Transformer(str(part), transformer_task="text-generation"), LogitScore(**ids)]
    CrossEncoder(modules=modules, device="cpu").save(str(folder / "whole"), create_model_card=False)
    return str(folder / "whole")


def ours(folder: str, device: str, attention: str | None) -> Model:
    """The model as this library runs it."""
    dtype: Any = "bfloat16" if device == "cuda" else "float32"
    settings = ModelSettings(folder, backend="torch", device=device, dtype=dtype, max_length=4096)
    files = Folder(Path(folder))
    return model_of(TorchEngine(files, settings, attention=attention), files, settings)


def theirs(folder: str, device: str, attention: str | None) -> CrossEncoder:
    """The model as sentence-transformers runs it."""
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    options = {"dtype": dtype} | ({"attn_implementation": attention} if attention else {})
    return CrossEncoder(folder, device=device, model_kwargs=options)


def of_length(count: int, tokens: int) -> list[str]:
    """Different documents of about that many tokens."""
    return texts(count, words=round(tokens * 0.7), spread=0)


def measured(name: str, call: Callable[[], object], options: argparse.Namespace) -> Figures:
    """Seconds of a call, and its peak memory on a GPU in megabytes."""
    found = take_turns({name: call}, options.rounds)
    if options.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        call()
        found[name]["peak_mb"] = round(torch.cuda.max_memory_allocated() / 2**20)
    return found


def of_theirs(name: str, model: CrossEncoder, documents: list[str], options: argparse.Namespace) -> Figures:
    """The figures of `CrossEncoder.predict`."""
    pairs = [(QUERY, document) for document in documents]
    return measured(f"{name}, {SECOND}", lambda: model.predict(pairs, show_progress_bar=False), options)


def of_ours(name: str, model: Model, documents: list[str], options: argparse.Namespace) -> Figures:
    """The figures of this library, for each budget of tokens per batch."""
    figures: Figures = {}
    for budget in options.budgets or [model.engine.budget]:
        model.engine.budget = budget
        figures |= measured(f"{name}, {FIRST}, {budget} tokens", lambda: model.score(QUERY, documents), options)
    return figures


def compare(options: argparse.Namespace, folders: dict[str, str]) -> dict[str, object]:
    """Each model, by this library and by `CrossEncoder.predict`."""
    documents = of_length(options.documents, options.tokens)
    attentions = [None, "flash_attention_2"] if options.device == "cuda" and is_flash_attn_2_available() else [None]
    rows: Figures = {}
    for name, folder in folders.items():
        for attention in attentions:
            label = f"{name}, flash attention" if attention else name
            rows |= of_theirs(label, theirs(folder, options.device, attention), documents, options)
            rows |= of_ours(label, ours(folder, options.device, attention), documents, options)
    columns = ["processor_s"] if options.device == "cpu" else ["median_s", "peak_mb"]
    base = next(row for name, row in rows.items() if FIRST in name)[columns[0]]
    for row in rows.values():
        row["pairs_per_s"] = round(len(documents) / row[columns[0]], 1)
        row["times_as_long"] = round(row[columns[0]] / base, 1)
    shown = [*columns, "pairs_per_s", "times_as_long"]
    table([["", *shown], *([name, *(row[column] for column in shown)] for name, row in rows.items())])
    return {"rows": rows}


def prefix(options: argparse.Namespace, folder: str) -> dict[str, object]:
    """The prompt model with and without reading what its prompts begin with only once."""
    words = texts(1, words=2000, spread=0)[0].split()
    model = ours(folder, options.device, None)
    rows = []
    for question, tokens, count in [(12, 128, 10), (12, 32, 10), (200, 32, 10), (12, 512, 10), (12, 128, 2)]:
        query, documents = " ".join(words[:question]), of_length(count, tokens)
        pairs = model.encoder.encode(query, documents).pairs
        total = sum(pair.shape[1] for pair in pairs)
        shared = next(i for i, ids in enumerate(zip(*(pair[0] for pair in pairs), strict=False)) if len({*ids}) > 1)
        scores: dict[bool, Sequence[float]] = {}
        found: Figures = {}
        for once in (True, False):
            model.engine.reads_prefixes = once
            found |= take_turns({str(once): partial(model.score, query, documents)}, options.rounds)
            scores[once] = model.score(query, documents).raw
        figure = "processor_s" if options.device == "cpu" else "median_s"
        once_s, always_s = (found[str(once)][figure] for once in (True, False))
        moved = max(abs(a - b) for a, b in zip(scores[True], scores[False], strict=True))
        share = round(count * shared / total, 2)
        rows.append([count, total // count, shared, share, once_s, always_s, once_s / always_s, moved])
    heading = ["documents", "tokens each", "shared", "share", "read once", "always", "ratio", "logits differ by"]
    table([heading, *([*row[:-1], f"{row[-1]:.0e}"] for row in rows)])
    return {"prefix": [dict(zip(heading, row, strict=True)) for row in rows]}


def main() -> None:
    """Measure, print a table, and save the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--models", default=",".join(SHAPES), help=f"comma-separated: {', '.join(SHAPES)}")
    parser.add_argument("--documents", type=int, help="by default 10 on a CPU and 1,000 on a GPU")
    parser.add_argument("--tokens", type=int, default=128, help="tokens per document, about")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--layers", type=int, help="fewer layers, to try the script")
    parser.add_argument("--prefix", action="store_true", help="measure only what reading a prefix once saves")
    options = parser.parse_args()
    gpu = options.device == "cuda"
    options.documents = options.documents or (1000 if gpu else 10)
    options.budgets = [4096, 16_384, 65_536] if gpu else []
    if not gpu:
        torch.set_num_threads(1)  # threads that wait for each other count as processor time
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    names = ["Qwen3-0.6B"] if options.prefix else options.models.split(",")
    with tempfile.TemporaryDirectory() as temporary:
        folders = {name: build(name, Path(temporary, name), options.layers) for name in names}
        figures = prefix(options, folders[names[0]]) if options.prefix else compare(options, folders)
    print(machine())
    name = "prompt_prefix" if options.prefix else "prompt_models"
    figures["tokens_per_document"] = options.tokens
    write(name, json.loads(json.dumps(figures)), gpu=torch.cuda.get_device_name() if gpu else "")


if __name__ == "__main__":
    main()
