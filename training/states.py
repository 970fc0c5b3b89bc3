"""Token states of many texts from a frozen encoder, kept in one flat array on disk.

The states of all-MiniLM-L6-v2 serve to mine negatives, and the network should stay close to them. Those of the teacher
are what it should learn.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from ksdk_rerank.engines.hardware import has_bfloat16
from training.bert import States

__all__ = ["Pair", "Store", "Texts", "device", "fast", "join", "read", "tokenize"]

CHUNK = 4096
"""Approximate number of padded tokens per batch."""

Pair = tuple[Sequence[int], Sequence[int]]
"""A query and a passage, as token ids of texts that were tokenised separately."""

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
fast = torch.bfloat16 if device.type == "cuda" or has_bfloat16() else torch.float32
"""The dtype of encoders. Without hardware support, bfloat16 takes several times as long as float32."""


class Store:
    """Token states of texts in one flat array. `means` holds each text's mean state, normalised to length 1."""

    def __init__(self, flat: NDArray[np.float16], starts: NDArray[np.int64]) -> None:
        self._starts = starts[:-1]
        self._lengths = np.diff(starts)
        means = np.add.reduceat(flat, self._starts, axis=0, dtype=np.float32) / self._lengths[:, None]
        self.means = means / np.linalg.norm(means, axis=1, keepdims=True)
        self._flat = torch.from_numpy(flat).to(device)

    def batch(self, texts: Sequence[int] | NDArray[np.int64]) -> States:
        """Return the states of some texts in float32, padded to the longest; the mask hides the padding."""
        texts = np.asarray(texts)
        places = np.arange(self._lengths[texts].max())
        mask = torch.from_numpy(places < self._lengths[texts][:, None]).to(device)
        rows = np.minimum(self._starts[texts][:, None] + places, len(self._flat) - 1)
        return States(self._flat[torch.from_numpy(rows).to(device)].float(), mask.float())


@dataclass(frozen=True, slots=True)
class Texts:
    """Queries or passages: token ids, and states from all-MiniLM-L6-v2 and from the teacher."""

    ids: Sequence[Sequence[int]]
    base: Store
    teacher: Store


def tokenize(tokenizer: Tokenizer, texts: Sequence[str], longest: int) -> list[list[int]]:
    """Return the ids of each text, special tokens included, truncated to `longest`."""
    tokenizer.no_padding()
    tokenizer.enable_truncation(longest)
    return [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]


def join(query: Sequence[int], passage: Sequence[int]) -> tuple[NDArray[np.int64], ...]:
    """Return ids, mask and types of a pair, each (1, tokens)."""
    ids = np.array([[*query, *passage[1:]]], np.int64)
    return ids, np.ones_like(ids), (np.arange(ids.shape[1])[None] >= len(query)).astype(np.int64)


def read(
    run: Callable[[Tensor, Tensor], Tensor], name: str, ids: Sequence[Sequence[int]], pad: int, folder: Path
) -> Store:
    """Encode all texts in order of length, or load what an earlier run saved in `folder`.

    `run` turns ids and a mask (n, tokens) into states (n, tokens, hidden). `name` names its weights. `pad` is its
    padding id.
    """
    lengths = np.array([len(one) for one in ids])
    starts = np.concatenate([[0], np.cumsum(lengths)])
    file = folder / f"states-{name}-{hashlib.sha256(json.dumps(ids).encode()).hexdigest()[:16]}.npy"
    if file.exists():
        return Store(np.load(file), starts)
    flat: NDArray[np.float16] | None = None
    order, at, said = np.argsort(lengths, kind="stable"), 0, time.perf_counter()
    while at < len(order):
        rows = order[at : at + max(1, CHUNK // lengths[order[min(len(order) - 1, at + 64)]])]
        padded = torch.full((len(rows), int(lengths[rows].max())), pad)
        mask = torch.zeros_like(padded)
        for row, index in enumerate(rows):
            padded[row, : lengths[index]], mask[row, : lengths[index]] = torch.tensor(ids[index]), 1
        with torch.inference_mode():
            states = run(padded.to(device), mask.to(device)).to(torch.float16).cpu().numpy()
        if flat is None:
            flat = np.empty((starts[-1], states.shape[-1]), np.float16)
        for values, index in zip(states, rows, strict=True):
            flat[starts[index] : starts[index + 1]] = values[: lengths[index]]
        at += len(rows)
        if time.perf_counter() - said > 60:
            said = time.perf_counter()
            print(f"  {name} has read {at} of {len(order)} texts", flush=True)
    assert flat is not None
    np.save(file, flat)
    return Store(flat, starts)
