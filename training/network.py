"""The network: a bi-encoder that reads query and document apart, and a small interaction that compares them.

Follows MORES (Gao, Dai and Callan, 2020, https://aclanthology.org/2020.emnlp-main.342/): the layers that represent the
texts do not see the other text; a few light ones on top let the query's tokens look at the document's. But: the
representing layers are those of all-MiniLM-L6-v2 as they are, so that training starts from the order of its cosine,
and a weighted late interaction (ColBERT's, https://arxiv.org/abs/2004.12832) stands beside the cosine.

To the outside it is an ordinary cross-encoder: ids, mask and types of `[CLS] query [SEP] document [SEP]` in, one logit
a pair out. Inside, a second `[CLS]` is put before the document, positions start again there, and attention between the
two texts is masked, so that both get exactly the states that the bi-encoder gives them.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

__all__ = ["HIDDEN", "CrossEncoder", "Encoder", "Interaction", "States"]

HIDDEN, HEADS, LAYERS, FEED_FORWARD, POSITIONS = 384, 12, 6, 1536, 512
NEVER = -1e4


class States(NamedTuple):
    """Token states of one side of a batch: (n, tokens, HIDDEN), and 1 where they are real, else 0: (n, tokens)."""

    values: Tensor
    mask: Tensor


class Attention(nn.Module):
    """Multi-head attention of BERT, from `x` to `y`, with plain matrix products: they export, and train fast."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(HIDDEN, HIDDEN)
        self.key = nn.Linear(HIDDEN, HIDDEN)
        self.value = nn.Linear(HIDDEN, HIDDEN)
        self.output = nn.Linear(HIDDEN, HIDDEN)
        self.norm = nn.LayerNorm(HIDDEN, eps=1e-12)

    def forward(self, x: Tensor, y: Tensor, bias: Tensor) -> Tensor:
        q, k, v = _split(self.query(x)), _split(self.key(y)), _split(self.value(y))
        weights = (q @ k.transpose(2, 3) * (1 / math.sqrt(HIDDEN // HEADS)) + bias).softmax(-1)
        context = (weights @ v).transpose(1, 2).flatten(2)
        return self.norm(x + self.output(context))


def _split(x: Tensor) -> Tensor:
    return x.unflatten(2, (HEADS, HIDDEN // HEADS)).transpose(1, 2)


class FeedForward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.up = nn.Linear(HIDDEN, width)
        self.down = nn.Linear(width, HIDDEN)
        self.norm = nn.LayerNorm(HIDDEN, eps=1e-12)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x + self.down(nn.functional.gelu(self.up(x))))


class Encoder(nn.Module):
    """BERT with 6 layers of 384; types are those of a single text."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, HIDDEN)
        self.positions = nn.Embedding(POSITIONS, HIDDEN)  # the embedding of type 0 is added to it
        self.norm = nn.LayerNorm(HIDDEN, eps=1e-12)
        self.attention = nn.ModuleList(Attention() for _ in range(LAYERS))
        self.feed_forward = nn.ModuleList(FeedForward(FEED_FORWARD) for _ in range(LAYERS))

    def forward(self, ids: Tensor, positions: Tensor, bias: Tensor) -> Tensor:
        x = self.norm(self.words(ids) + self.positions(positions))
        for attention, feed_forward in zip(self.attention, self.feed_forward, strict=True):
            x = feed_forward(attention(x, x, bias))
        return x

    def single(self, ids: Tensor, mask: Tensor) -> Tensor:
        """States of texts that stand alone."""
        positions = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        return self(ids, positions, hidden_from(mask, self.norm.weight.dtype))


def hidden_from(mask: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    return ((1 - mask.to(dtype)) * NEVER)[:, None, None, :]


def mean(states: States) -> Tensor:
    """The mean state of each text, at length 1: what all-MiniLM's cosine compares."""
    mask = states.mask[..., None].to(states.values.dtype)
    return nn.functional.normalize((states.values * mask).sum(1) / mask.sum(1).clamp(min=1), dim=-1)


class Interaction(nn.Module):
    """From the states of both texts to a logit: the cosine, late interaction, and what `layers` of attention find.

    The document's tokens pass through one product, for the keys and values of all layers and for late interaction: it
    is nearly all the work, and its input needs no gradient.
    """

    def __init__(self, encoder: Encoder, layers: int = 2, width: int = 128) -> None:
        super().__init__()
        self.document = nn.Linear(HIDDEN, (2 * layers + 1) * HIDDEN)
        self.query = nn.ModuleList(nn.Linear(HIDDEN, HIDDEN) for _ in range(layers))
        self.output = nn.ModuleList(nn.Linear(HIDDEN, HIDDEN) for _ in range(layers))
        self.norm = nn.ModuleList(nn.LayerNorm(HIDDEN, eps=1e-12) for _ in range(layers))
        self.feed_forward = nn.ModuleList(FeedForward(width) for _ in range(layers))
        self.importance = nn.Linear(HIDDEN, 1)
        self.head = nn.Linear(2 * HIDDEN, 1)
        self.weights = nn.Parameter(torch.tensor([6.0, 14.0]))  # of the cosine, and of late interaction
        self._start(encoder)

    def _start(self, encoder: Encoder) -> None:
        """Attention starts as that of the encoder's last layers, and the head at zero.

        So at first the logit is that of cosine and late interaction on the states as they are.
        """
        layers = len(self.query)
        attention = list(encoder.attention)[-layers:]
        kept = [part.key for part in attention] + [part.value for part in attention]
        with torch.no_grad():
            self.document.weight.copy_(torch.cat([*(part.weight for part in kept), torch.eye(HIDDEN)]))
            self.document.bias.copy_(torch.cat([*(part.bias for part in kept), torch.zeros(HIDDEN)]))
            for ours, name in ((self.query, "query"), (self.output, "output"), (self.norm, "norm")):
                for part, theirs in zip(ours, attention, strict=True):
                    part.load_state_dict(getattr(theirs, name).state_dict())
            for part in self.feed_forward:
                nn.init.normal_(part.up.weight, std=0.04)
                nn.init.normal_(part.down.weight, std=0.01)
                nn.init.zeros_(part.up.bias)
                nn.init.zeros_(part.down.bias)
            for part in (self.importance, self.head):
                nn.init.zeros_(part.weight)
                nn.init.zeros_(part.bias)

    def forward(self, query: States, document: States, cosine: Tensor) -> Tensor:
        layers = len(self.query)
        projected = self.document(document.values).unflatten(2, (2 * layers + 1, HIDDEN))
        heads = projected[:, :, : 2 * layers].unflatten(3, (HEADS, HIDDEN // HEADS)).permute(2, 0, 3, 1, 4)
        unseen = (1 - document.mask) * NEVER
        late = self.late(query, nn.functional.normalize(projected[:, :, -1], dim=-1), unseen)
        x = query.values
        for layer in range(layers):
            q = _split(self.query[layer](x)) * (1 / math.sqrt(HIDDEN // HEADS))
            weights = (q @ heads[2 * layer].transpose(2, 3) + unseen[:, None, None, :]).softmax(-1)
            context = (weights @ heads[2 * layer + 1]).transpose(1, 2).flatten(2)
            x = self.feed_forward[layer](self.norm[layer](x + self.output[layer](context)))
        words = query.mask[..., None]
        pooled = torch.cat([x[:, 0], (x * words).sum(1) / words.sum(1).clamp(min=1)], -1)
        return self.weights[0] * cosine + self.weights[1] * late + self.head(pooled)[:, 0]

    def late(self, query: States, document: Tensor, unseen: Tensor) -> Tensor:
        """The best cosine with a document's token, averaged over the query's tokens by a learned importance."""
        matched = nn.functional.normalize(query.values, dim=-1)
        best = (matched @ document.transpose(1, 2) + unseen[:, None, :]).amax(-1)
        importance = self.importance(query.values)[..., 0] + (1 - query.mask) * NEVER
        return (importance.softmax(-1) * best).sum(-1)


class CrossEncoder(nn.Module):
    """What is exported."""

    def __init__(
        self, encoder: Encoder, interaction: Interaction, *, cls: int, scale: float = 1.0, offset: float = 0.0
    ) -> None:
        super().__init__()
        self.cls = cls
        self.encoder = encoder
        self.interaction = interaction
        self.register_buffer("calibration", torch.tensor([scale, offset]))

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """Logits (n, 1) of pairs (n, tokens); padding is at the end."""
        of_document = token_type_ids * attention_mask
        of_query = attention_mask - of_document
        first = torch.ones_like(input_ids[:, :1])
        ids = torch.cat([first * self.cls, input_ids], 1)
        document = torch.cat([first, of_document], 1)
        query = torch.cat([first * 0, of_query], 1)
        positions = (document.cumsum(1) * document + query.cumsum(1) * query - 1).clamp(min=0, max=POSITIONS - 1)
        document, query = document.float(), query.float()
        seen = document[:, :, None] * document[:, None, :] + query[:, :, None] * query[:, None, :]
        states = self.encoder(ids, positions, ((1 - seen) * NEVER)[:, None])
        last = of_query.sum(1).amax() + 1
        of_query, of_document = States(states[:, 1:last], query[:, 1:last]), States(states, document)
        logit = self.interaction(of_query, of_document, (mean(of_query) * mean(of_document)).sum(-1))
        return (logit * self.calibration[0] + self.calibration[1])[:, None]
