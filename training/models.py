"""The networks: BERT for pairs of texts, and students made of some of a teacher's layers.

A network is its weights by their names in transformers. `encode` follows transformers 5.24 (`modeling_bert.py`). But:
the texts of a batch stand one after the other, without padding; there is no dropout; and a cross-encoder's last layer
computes only the state of `[CLS]`, all that is read of it.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from tests.weights.lay_out import CONFIG
from training.groups import LONGEST_PAIR

Weights = dict[str, Tensor]
HEADS, EPSILON = 12, 1e-12


def attend(query: Tensor, key: Tensor, value: Tensor, starts: Tensor) -> Tensor:
    """Return attention within each text, (queries, heads, width), for a query of each token or one of each text."""
    texts = len(starts) - 1
    single = len(query) == texts
    if query.is_cuda:
        from torch.nn.attention.varlen import varlen_attn

        begin = torch.arange(texts + 1, dtype=torch.int32, device=query.device) if single else starts
        return varlen_attn(query, key, value, begin, starts, 1 if single else LONGEST_PAIR, LONGEST_PAIR)
    lengths = starts.diff().tolist()
    query, key, value = query.transpose(0, 1) * query.shape[-1] ** -0.5, key.permute(1, 2, 0), value.transpose(0, 1)
    each = zip(query.split(1 if single else lengths, 1), key.split(lengths, 2), value.split(lengths, 1), strict=True)
    return torch.cat([(one @ other).softmax(-1) @ values for one, other, values in each], 1).transpose(0, 1)


def encode(weights: Weights, tokens: Tensor, starts: Tensor, first_only: bool = False) -> list[Tensor]:
    """Return the states (tokens, width) of packed texts after each layer; of `[CLS]` alone after the last, if asked."""

    def linear(name: str, states: Tensor) -> Tensor:
        return functional.linear(states, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def norm(name: str, states: Tensor) -> Tensor:
        scale, shift = weights[f"{name}.LayerNorm.weight"], weights[f"{name}.LayerNorm.bias"]
        return functional.layer_norm(states, scale.shape, scale, shift, EPSILON)

    tables = [weights[f"bert.embeddings.{name}_embeddings.weight"] for name in ("word", "position", "token_type")]
    states, after = norm("bert.embeddings", sum(map(functional.embedding, tokens, tables))), []
    for number in range(layers(weights)):
        layer = f"bert.encoder.layer.{number}"
        three = [f"{layer}.attention.self.{name}" for name in ("query", "key", "value")]
        weight, bias = (torch.cat([weights[f"{name}.{part}"] for name in three]) for part in ("weight", "bias"))
        query, key, value = functional.linear(states, weight, bias).unflatten(1, (3, HEADS, -1)).unbind(1)
        if first_only and number == layers(weights) - 1:
            states, query = states.index_select(0, starts[:-1]), query.index_select(0, starts[:-1])
        change = linear(f"{layer}.attention.output.dense", attend(query, key, value, starts).flatten(1))
        states = norm(f"{layer}.attention.output", states + change)
        change = linear(f"{layer}.output.dense", functional.gelu(linear(f"{layer}.intermediate.dense", states)))
        states = norm(f"{layer}.output", states + change)
        after.append(states)
    return after


def score(weights: Weights, pairs: Tensor, starts: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Return a cross-encoder's logits (pairs) in float32, and its states (tokens, width) after all layers but one."""
    *after, first = encode(weights, pairs, starts, first_only=True)
    pooled = functional.linear(first, weights["bert.pooler.dense.weight"], weights["bert.pooler.dense.bias"]).tanh()
    last = weights["classifier.weight"].float(), weights["classifier.bias"].float()
    return functional.linear(pooled.float(), *last).squeeze(1), after


def layers(weights: Weights) -> int:
    """Return how many layers a network has."""
    return sum(name.endswith(".intermediate.dense.bias") for name in weights)


def to(weights: Weights, *target: Any) -> Weights:
    """Return weights on another device or in another number format. Gradients reach those that were given."""
    return {name: values.to(*target) for name, values in weights.items()}


def matching(number: int, of: int) -> list[int]:
    """Return which of the teacher's layers a student has: of twelve for six, 1, 3, 5, 7, 9 and 11, counted from 0."""
    return [of * place // number - 1 for place in range(1, number + 1)]


def student_of(network: Weights, number: int) -> Weights:
    """Return copies of some of a network's layers and of all else. All but the embeddings can be trained."""
    student = {name: values for name, values in network.items() if ".encoder." not in name}
    for place, layer in enumerate(matching(number, of=layers(network))):
        old, new = f"bert.encoder.layer.{layer}.", f"bert.encoder.layer.{place}."
        student |= {name.replace(old, new): values for name, values in network.items() if name.startswith(old)}
    return {name: values.clone().requires_grad_(".embeddings." not in name) for name, values in student.items()}


def save(network: Weights, folder: Path) -> None:
    """Write a model that transformers and `ksdk-rerank export` load, but not its tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {"num_hidden_layers": layers(network), "vocab_size": len(network["bert.embeddings.word_embeddings.weight"])}
    (folder / "config.json").write_text(json.dumps(CONFIG | sizes, indent=2) + "\n", encoding="utf-8")
    file = folder / "model.safetensors"
    save_file({name: values.detach() for name, values in network.items()}, file, {"format": "pt"})
