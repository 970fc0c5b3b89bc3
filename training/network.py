"""The networks: all-MiniLM-L6-v2, and a head that compares the tokens of query and document.

`CrossEncoder` is an ordinary BERT that reads `[CLS] query [SEP] document [SEP]`. From its last states the logit is a
sum of three: the cosine of the mean states of query and document, which is how all-MiniLM-L6-v2 itself compares two
texts; the late interaction of their tokens (ColBERT's, https://arxiv.org/abs/2004.12832), weighted by a learned
importance of the query's; and a linear layer that starts at zero. So training starts from an order that is already
better than BM25's, not from noise.

`LateInteraction` reads the two apart, with the weights as they are, and has the same head at its start: nothing of it
is trained. It is the teacher, and what ships.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

__all__ = ["HIDDEN", "CrossEncoder", "Encoder", "Head", "LateInteraction", "States"]

HIDDEN, HEADS, LAYERS, FEED_FORWARD, POSITIONS = 384, 12, 6, 1536, 512
NEVER = -1e4


class States(NamedTuple):
    """Token states of one side of a batch: (n, tokens, HIDDEN), and 1 where they are real, else 0: (n, tokens)."""

    values: Tensor
    mask: Tensor


class Attention(nn.Module):
    """Multi-head attention of BERT, with plain matrix products: they export, and train fast."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(HIDDEN, HIDDEN)
        self.key = nn.Linear(HIDDEN, HIDDEN)
        self.value = nn.Linear(HIDDEN, HIDDEN)
        self.output = nn.Linear(HIDDEN, HIDDEN)
        self.norm = nn.LayerNorm(HIDDEN, eps=1e-12)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        q, k, v = _split(self.query(x)), _split(self.key(x)), _split(self.value(x))
        weights = (q @ k.transpose(2, 3) * (1 / math.sqrt(HIDDEN // HEADS)) + bias).softmax(-1)
        context = (weights @ v).transpose(1, 2).flatten(2)
        return self.norm(x + self.output(context))


def _split(x: Tensor) -> Tensor:
    return x.unflatten(2, (HEADS, HIDDEN // HEADS)).transpose(1, 2)


class FeedForward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(HIDDEN, FEED_FORWARD)
        self.down = nn.Linear(FEED_FORWARD, HIDDEN)
        self.norm = nn.LayerNorm(HIDDEN, eps=1e-12)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x + self.down(nn.functional.gelu(self.up(x))))


class Encoder(nn.Module):
    """BERT with 6 layers of 384."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, HIDDEN)
        self.positions = nn.Embedding(POSITIONS, HIDDEN)  # the embedding of type 0 is added to it
        self.of_document = nn.Parameter(torch.zeros(HIDDEN))  # what that of type 1 is more
        self.norm = nn.LayerNorm(HIDDEN, eps=1e-12)
        self.attention = nn.ModuleList(Attention() for _ in range(LAYERS))
        self.feed_forward = nn.ModuleList(FeedForward() for _ in range(LAYERS))

    def forward(self, ids: Tensor, mask: Tensor, types: Tensor) -> Tensor:
        """The last states (n, tokens, HIDDEN) of texts that are read as one."""
        dtype = self.norm.weight.dtype
        places = self.positions.weight[: ids.shape[1]] + types[..., None].to(dtype) * self.of_document
        return self.states(self.words(ids) + places, ((1 - mask.to(dtype)) * NEVER)[:, None, None, :])

    def states(self, embeddings: Tensor, bias: Tensor) -> Tensor:
        """The last states, where `bias` is added to the attention of each token (n, 1, ...) to each other (tokens)."""
        x = self.norm(embeddings)
        for attention, feed_forward in zip(self.attention, self.feed_forward, strict=True):
            x = feed_forward(attention(x, bias))
        return x


def mean(states: States) -> Tensor:
    """The mean state of each text, at length 1: what all-MiniLM's cosine compares."""
    mask = states.mask[..., None]
    return nn.functional.normalize((states.values * mask).sum(1) / mask.sum(1).clamp(min=1), dim=-1)


class Head(nn.Module):
    """From the states of both texts to a logit; always in float32."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor([6.0, 14.0]))  # of the cosine, and of late interaction
        self.importance = nn.Linear(HIDDEN, 1, bias=False)
        self.linear = nn.Linear(2 * HIDDEN, 1)
        for part in self.parameters():
            if part is not self.weights:
                nn.init.zeros_(part)

    def forward(self, query: States, document: States) -> Tensor:
        """Logits (n)."""
        cosine = (mean(query) * mean(document)).sum(-1)
        words = query.mask[..., None]
        pooled = torch.cat([query.values[:, 0], (query.values * words).sum(1) / words.sum(1).clamp(min=1)], -1)
        late = self._late(query, document)
        return self.weights[0] * cosine + self.weights[1] * late + self.linear(pooled)[:, 0]

    def _late(self, query: States, document: States) -> Tensor:
        """The best cosine with a document's token, averaged over the query's tokens by their importance."""
        ours, theirs = (nn.functional.normalize(one.values, dim=-1) for one in (query, document))
        best = (ours @ theirs.transpose(1, 2) + ((1 - document.mask) * NEVER)[:, None, :]).amax(-1)
        importance = self.importance(query.values)[..., 0] + (1 - query.mask) * NEVER
        return (importance.softmax(-1) * best).sum(-1)


class CrossEncoder(nn.Module):
    """What is trained and exported."""

    def __init__(self, encoder: Encoder, head: Head) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.register_buffer("calibration", torch.tensor([1.0, 0.0]))  # a scale and an offset

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """Logits (n, 1) of pairs (n, tokens); padding is at the end."""
        states = self.encoder(input_ids, attention_mask, token_type_ids).float()
        document = token_type_ids * attention_mask
        query = attention_mask - document
        last = query.sum(1).amax()
        logits = self.head(States(states[:, :last], query[:, :last].float()), States(states, document.float()))
        return (logits * self.calibration[0] + self.calibration[1])[:, None]


class LateInteraction(nn.Module):
    """Query and document read apart, and compared token by token; to the outside an ordinary cross-encoder.

    A second `[CLS]` is put before the document, positions start again there, and attention between the two texts is
    masked, so that both get exactly the states that the bi-encoder gives them.
    """

    def __init__(self, encoder: Encoder, head: Head, *, cls: int, scale: float, offset: float) -> None:
        super().__init__()
        self.cls = cls
        self.encoder = encoder
        self.head = head
        self.register_buffer("calibration", torch.tensor([scale, offset]))

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """Logits (n, 1) of pairs (n, tokens); padding is at the end."""
        of_document = token_type_ids * attention_mask
        of_query = attention_mask - of_document
        first = torch.ones_like(input_ids[:, :1])
        ids = torch.cat([first * self.cls, input_ids], 1)
        document = torch.cat([first, of_document], 1)
        query = torch.cat([first * 0, of_query], 1)
        places = (document.cumsum(1) * document + query.cumsum(1) * query - 1).clamp(min=0, max=POSITIONS - 1)
        document, query = document.float(), query.float()
        seen = document[:, :, None] * document[:, None, :] + query[:, :, None] * query[:, None, :]
        embeddings = self.encoder.words(ids) + self.encoder.positions(places)
        states = self.encoder.states(embeddings, ((1 - seen) * NEVER)[:, None])
        last = of_query.sum(1).amax() + 1
        logits = self.head(States(states[:, 1:last], query[:, 1:last]), States(states, document))
        return (logits * self.calibration[0] + self.calibration[1])[:, None]
