"""Token states of many texts from the frozen bi-encoder, kept in one flat array on disk.

Negatives are mined with these, and they are what the teacher compares. Texts go in order of length. On a CPU
onnxruntime runs the int8 graph, twice as fast as torch in bfloat16; on an accelerator torch runs the original weights.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from training.network import HIDDEN, Encoder, States

__all__ = ["Store", "encode", "tokenize"]

CHUNK = 4096
"""Tokens a batch."""


class Store:
    """Token states of texts in one flat array; `means` are the unit means of all texts."""

    def __init__(self, flat: NDArray[np.float16], starts: NDArray[np.int64]) -> None:
        self._starts = starts[:-1]
        self._lengths = np.diff(starts)
        means = np.add.reduceat(flat, self._starts, axis=0, dtype=np.float32) / self._lengths[:, None]
        self.means = means / np.linalg.norm(means, axis=1, keepdims=True)
        self._flat = torch.from_numpy(flat).to("cuda" if torch.cuda.is_available() else "cpu", torch.bfloat16)

    def __len__(self) -> int:
        return len(self._lengths)

    @property
    def device(self) -> torch.device:
        return self._flat.device

    def batch(self, texts: NDArray[np.int64]) -> States:
        """States of some texts in float32, padded to the longest with what the mask hides."""
        places = np.arange(self._lengths[texts].max())
        mask = torch.from_numpy(places < self._lengths[texts][:, None]).to(self._flat)
        rows = np.minimum(self._starts[texts][:, None] + places, len(self._flat) - 1)
        return States(self._flat[torch.from_numpy(rows).to(self.device)].float(), mask.float())


def tokenize(tokenizer: Tokenizer, texts: Sequence[str], longest: int) -> list[list[int]]:
    """Ids of `[CLS] text [SEP]`, at most `longest` of them."""
    tokenizer.no_padding()
    tokenizer.enable_truncation(longest)
    return [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]


def encode(encoder: Encoder, ids: Sequence[Sequence[int]], folder: Path) -> Store:
    """Read all texts, or take what an earlier run left in `folder`."""
    lengths = np.array([len(one) for one in ids])
    starts = np.concatenate([[0], np.cumsum(lengths)])
    file = folder / f"states-{hashlib.sha256(json.dumps(ids).encode()).hexdigest()[:16]}.npy"
    if file.exists():
        return Store(np.load(file), starts)
    run = _torch(encoder) if torch.cuda.is_available() else _onnxruntime(encoder)
    flat = np.empty((starts[-1], HIDDEN), np.float16)
    order, at = np.argsort(lengths, kind="stable"), 0
    while at < len(order):
        rows = order[at : at + max(1, CHUNK // lengths[order[min(len(order) - 1, at + 64)]])]
        width = int(lengths[rows].max())
        padded = np.zeros((len(rows), width), np.int64)
        for row, index in enumerate(rows):
            padded[row, : lengths[index]] = ids[index]
        mask = (np.arange(width) < lengths[rows][:, None]).astype(np.int64)
        for values, index in zip(run(padded, mask), rows, strict=True):
            flat[starts[index] : starts[index + 1]] = values[: lengths[index]]
        at += len(rows)
        if (at // len(rows)) % 50 == 0:
            print(f"  read {at} of {len(order)} texts", flush=True)
    np.save(file, flat)
    return Store(flat, starts)


def _alone(encoder: Encoder, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """States of texts that are read alone: all are of type 0."""
    states: torch.Tensor = encoder(ids, mask, torch.zeros_like(ids))
    return states


def _torch(encoder: Encoder):  # type: ignore[no-untyped-def]
    encoder = encoder.cuda()

    @torch.inference_mode()
    def run(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        return _alone(encoder, torch.from_numpy(ids).cuda(), torch.from_numpy(mask).cuda()).cpu().numpy()

    return run


def _onnxruntime(encoder: Encoder):  # type: ignore[no-untyped-def]
    import onnxruntime

    from training.export import quantize, to_onnx

    with tempfile.TemporaryDirectory() as folder:
        fp32, int8 = Path(folder, "fp32.onnx"), Path(folder, "int8.onnx")
        example = torch.ones((2, 8), dtype=torch.int64)
        to_onnx(_Single(encoder), (example, example), ["ids", "mask"], "states", fp32)
        quantize(fp32, int8)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(int8.read_bytes(), options, providers=["CPUExecutionProvider"])
    return lambda ids, mask: session.run(None, {"ids": ids, "mask": mask})[0]


class _Single(torch.nn.Module):
    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return _alone(self.encoder, ids, mask)
