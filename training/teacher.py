"""The teacher: all-mpnet-base-v2 (Apache-2.0), a bi-encoder ten times the size, together with the base and `Splade`.

Neither bi-encoder was trained for late interaction. Still, on held-out queries cosine, late interaction and the three
models each find what the others miss. So the student learns from the sum of all five scores.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn

from training.bert import NEVER, States
from training.network import mean
from training.splade import Splade
from training.states import Texts, device, fast

__all__ = ["PAD", "load_teacher", "teach"]

SHA256 = "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658"
PAD = 1
BASE, TEACHER, SPARSE = (3.0, 7.0), (10.0, 10.0), 0.4
"""Weights of cosine and late interaction: the base's are half of its own, the teacher's make its sum as sharp. `SPARSE`
is the weight of SPLADE's dot product."""


def load_teacher(folder: Path) -> tuple[Callable[[Tensor, Tensor], Tensor], Tokenizer]:
    """Return the encoder and the tokenizer of the checkpoint `sentence-transformers/all-mpnet-base-v2`.

    The encoder turns ids and a mask (n, tokens) into token states (n, tokens, hidden).

    Raises:
        ValueError: the weights have another SHA-256.
    """
    from transformers import AutoModel

    found = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    if found != SHA256:
        raise ValueError(f"{folder}/model.safetensors has the SHA-256 {found}, not {SHA256}: these are other weights")
    model = AutoModel.from_pretrained(str(folder), dtype=fast).to(device).eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return lambda ids, mask: model(input_ids=ids, attention_mask=mask).last_hidden_state, tokenizer


def teach(
    splade: Splade, queries: Texts, asked: NDArray[np.int64] | list[int], passages: Texts, shown: NDArray[np.int64]
) -> tuple[Tensor, Tensor]:
    """Return logits (asked, shown) of every query with every passage, and the unweighted scores of `splade` alone."""
    with torch.no_grad():
        sparse = splade.all_pairs([queries.ids[i] for i in asked], [passages.ids[i] for i in shown]) / splade.weight
        dense = _similarity(queries.base.batch(asked), passages.base.batch(shown), *BASE)
        dense = dense + _similarity(queries.teacher.batch(asked), passages.teacher.batch(shown), *TEACHER)
        return dense + SPARSE * sparse, sparse


def _similarity(queries: States, documents: States, cosine: float, late: float) -> Tensor:
    ours, theirs = (nn.functional.normalize(one.values, dim=-1) for one in (queries, documents))
    similar = torch.einsum("qth,dsh->qdts", ours, theirs) + ((1 - documents.mask) * NEVER)[None, :, None, :]
    words = queries.mask[:, None]
    best = (similar.amax(-1) * words).sum(-1) / words.sum(-1)
    return cosine * (mean(queries) @ mean(documents).T) + late * best
