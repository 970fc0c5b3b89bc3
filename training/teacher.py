"""The teacher: all-mpnet-base-v2 (Apache-2.0), a bi-encoder ten times the size, by cosine and late interaction.

Nobody trained it for late interaction, as all-MiniLM-L6-v2; on held-out queries of the sources each of the two finds
what the other does not, so the student learns from their sum.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from training.network import NEVER, States, mean
from training.states import device

__all__ = ["PAD", "load_teacher", "teach"]

SHA256 = "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658"
PAD = 1
COSINE, LATE = 10.0, 10.0
"""Weights that make a target of the two: the softmax over the passages of a step is as sharp as the head's is."""


def load_teacher(folder: Path) -> tuple[Callable[[Tensor, Tensor], Tensor], Tokenizer]:
    """What makes token states, and the tokenizer, of the checkpoint `sentence-transformers/all-mpnet-base-v2`."""
    from transformers import AutoModel

    found = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    if found != SHA256:
        raise ValueError(f"{folder}/model.safetensors has the SHA-256 {found}, not {SHA256}: these are other weights")
    model = AutoModel.from_pretrained(str(folder), dtype=torch.bfloat16).to(device).eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return lambda ids, mask: model(input_ids=ids, attention_mask=mask).last_hidden_state, tokenizer


def teach(queries: States, documents: States) -> Tensor:
    """Logits (queries, documents) of each with each."""
    ours, theirs = (nn.functional.normalize(one.values, dim=-1) for one in (queries, documents))
    similar = torch.einsum("qth,dsh->qdts", ours, theirs) + ((1 - documents.mask) * NEVER)[None, :, None, :]
    words = queries.mask[:, None]
    late = (similar.amax(-1) * words).sum(-1) / words.sum(-1)
    return COSINE * (mean(queries) @ mean(documents).T) + LATE * late
