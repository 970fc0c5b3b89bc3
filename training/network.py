"""The network: an encoder that reads query and document apart, and layers that compare what it made of them.

`CrossEncoder` scores `[CLS] query [SEP] document [SEP]`. Its logit is a sum of three:

- the cosine of the mean states of query and document, which is how all-MiniLM-L6-v2 compares two texts;
- their late interaction: the best cosine of each of the query's tokens with a token of the document (ColBERT's,
  https://arxiv.org/abs/2004.12832), averaged by a learned importance of the query's;
- what `Comparison` makes of both: each of the query's tokens attends to the document, and is compared with what it
  found there. Follows Parikh et al., "A Decomposable Attention Model for Natural Language Inference" (EMNLP 2016,
  https://aclanthology.org/D16-1244). But: only the query attends, and its tokens attend to each other afterwards.

The last starts at zero, so training starts from an order that is better than BM25's, not from noise. As the document
is read apart, one reading of it is compared with every query of a training step.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

__all__ = ["HIDDEN", "POSITIONS", "Comparison", "CrossEncoder", "Encoder", "Head", "States"]

HIDDEN, HEADS, FEED_FORWARD, POSITIONS = 384, 12, 1536, 512
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
        """`bias` is added to the attention of each token (n, 1, ...) to each other (tokens)."""
        q, k, v = _split(self.query(x)), _split(self.key(x)), _split(self.value(x))
        weights = (q @ k.transpose(2, 3) * (1 / math.sqrt(HIDDEN // HEADS)) + bias).softmax(-1)
        return self.norm(x + self.output((weights @ v).transpose(1, 2).flatten(2)))


def _split(x: Tensor) -> Tensor:
    return x.unflatten(2, (HEADS, HIDDEN // HEADS)).transpose(1, 2)


class FeedForward(nn.Module):
    def __init__(self, width: int = FEED_FORWARD) -> None:
        super().__init__()
        self.up = nn.Linear(HIDDEN, width)
        self.down = nn.Linear(width, HIDDEN)
        self.norm = nn.LayerNorm(HIDDEN, eps=1e-12)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x + self.down(nn.functional.gelu(self.up(x))))


class Encoder(nn.Module):
    """BERT with some layers of 384, for texts of one kind: the embedding of type 0 is added to those of positions."""

    def __init__(self, vocabulary: int, layers: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, HIDDEN)
        self.positions = nn.Embedding(POSITIONS, HIDDEN)
        self.norm = nn.LayerNorm(HIDDEN, eps=1e-12)
        self.attention = nn.ModuleList(Attention() for _ in range(layers))
        self.feed_forward = nn.ModuleList(FeedForward() for _ in range(layers))

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """The last states (n, tokens, HIDDEN) of texts."""
        bias = ((1 - mask.to(self.norm.weight.dtype)) * NEVER)[:, None, None, :]
        return self.states(self.words(ids) + self.positions.weight[: ids.shape[1]], bias)

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
    """Cosine and late interaction of texts that were read apart; always in float32."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor([6.0, 14.0]))  # of the cosine, and of late interaction
        self.importance = nn.Linear(HIDDEN, 1, bias=False)
        nn.init.zeros_(self.importance.weight)

    def forward(self, query: States, document: States) -> Tensor:
        """Logits (n) of pairs."""
        cosine = (mean(query) * mean(document)).sum(-1)
        ours, theirs = (nn.functional.normalize(one.values, dim=-1) for one in (query, document))
        best = (ours @ theirs.transpose(1, 2) + ((1 - document.mask) * NEVER)[:, None, :]).amax(-1)
        return self._logits(cosine, best, query)

    def all_pairs(self, queries: States, documents: States) -> Tensor:
        """Logits (queries, documents) of each with each."""
        cosine = mean(queries) @ mean(documents).T
        ours, theirs = (nn.functional.normalize(one.values, dim=-1) for one in (queries, documents))
        similar = torch.einsum("qth,dsh->qdts", ours, theirs) + ((1 - documents.mask) * NEVER)[None, :, None, :]
        expanded = States(queries.values[:, None], queries.mask[:, None])
        return self._logits(cosine, similar.amax(-1), expanded)

    def _logits(self, cosine: Tensor, best: Tensor, query: States) -> Tensor:
        return self.weights[0] * cosine + self.weights[1] * (self.importances(query) * best).sum(-1)

    def importances(self, query: States) -> Tensor:
        """Of the query's tokens (..., tokens): what a query's add up to is 1."""
        importance: Tensor = self.importance(query.values)[..., 0] + (1 - query.mask) * NEVER
        return importance.softmax(-1)


class Comparison(nn.Module):
    """What the document says in the place of each of the query's tokens, and what that is worth; always in float32.

    Each token of the query attends to the document by the cosines of their states, and a layer compares it with what
    it found there. One layer of attention among the query's tokens lets them judge together.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sharpness = nn.Parameter(torch.tensor(12.0))  # of the attention to the document
        self.compare = nn.Linear(3 * HIDDEN, HIDDEN)
        self.norm = nn.LayerNorm(HIDDEN)
        self.attention = Attention()
        self.score = nn.Linear(HIDDEN, 1)
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)

    def forward(self, query: States, document: States, importance: Tensor) -> Tensor:
        """What is added to the logits (n) of pairs; `importance` (n, tokens) is that of the query's tokens."""
        ours, theirs = (nn.functional.normalize(one.values, dim=-1) for one in (query, document))
        seen = self.sharpness * ours @ theirs.transpose(1, 2) + ((1 - document.mask) * NEVER)[:, None, :]
        ours, found = ours * math.sqrt(HIDDEN), seen.softmax(-1) @ theirs * math.sqrt(HIDDEN)
        compared = self.norm(nn.functional.gelu(self.compare(torch.cat([ours, found, ours * found], -1))))
        judged = self.attention(compared, ((1 - query.mask) * NEVER)[:, None, None, :])
        return (importance * self.score(judged)[..., 0]).sum(-1)


class CrossEncoder(nn.Module):
    """What is exported; to the outside an ordinary cross-encoder.

    A second `[CLS]` is put before the document, positions start again there, and attention between the two texts is
    masked, so that both get exactly the states that they have when they are read apart.
    """

    def __init__(self, encoder: Encoder, head: Head, comparison: Comparison, *, cls: int) -> None:
        super().__init__()
        self.cls = cls
        self.encoder = encoder
        self.head = head
        self.comparison = comparison
        self.register_buffer("calibration", torch.tensor([1.0, 0.0]))  # a scale and an offset

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
        logits = self.compared(States(states[:, 1:last], query[:, 1:last]), States(states, document))
        return (logits * self.calibration[0] + self.calibration[1])[:, None]

    def compared(self, query: States, document: States) -> Tensor:
        """Logits (n), before calibration, of pairs that were read apart."""
        added: Tensor = self.comparison(query, document, self.head.importances(query))
        return self.head(query, document) + added
