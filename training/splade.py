"""SPLADE: which words a text stands for, whether it contains them or not, and with which weights.

Follows Formal et al., "From Distillation to Hard Negative Sampling: Making Sparse Neural IR Models More Effective"
(SIGIR 2022, https://arxiv.org/abs/2205.04733). A word's weight is log(1 + x), with x the highest logit that the masked
language model's head gives it at any token, or 0 if that is negative. Two texts are compared by the dot product of
their weights. But: document weights are computed only for the query's words, so they cost no more than late
interaction. And words that the query does not contain come from a few thousand candidates, not the whole vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from training.bert import NEVER, POSITIONS, Attention, FeedForward, Rounded, States, attend_to

__all__ = ["ADDED", "EXPANSIONS", "Splade", "Terms"]

WIDTH, HEADS, FEED_FORWARD = 128, 2, 512
EXPANSIONS = 4096
"""Candidates for words that a query lacks: they carry 97 % of the weight of all such words in training questions."""
ADDED = 16
"""How many of them each query gets."""


class Terms(NamedTuple):
    """The words of queries: ids (n, terms) and weights (n, terms), with weight 0 for padding and repeats."""

    ids: Tensor
    weights: Tensor


class Splade(nn.Module):
    """A small BERT that gives queries and documents weights over words, and scores pairs by them."""

    def __init__(self, vocabulary: int, layers: int, expansions: int = EXPANSIONS, weight: float = 0.2) -> None:
        super().__init__()
        self.words = Rounded(vocabulary, WIDTH)
        self.positions = nn.Embedding(POSITIONS, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, eps=1e-12)
        self.attention = nn.ModuleList(Attention(WIDTH, HEADS) for _ in range(layers))
        self.feed_forward = nn.ModuleList(FeedForward(WIDTH, FEED_FORWARD) for _ in range(layers))
        self.transform = nn.Linear(WIDTH, WIDTH)
        self.transform_norm = nn.LayerNorm(WIDTH, eps=1e-12)
        self.expand = nn.Linear(WIDTH, expansions)
        self.register_buffer("bias", torch.zeros(vocabulary))
        self.register_buffer("expansions", torch.arange(expansions))
        self.weight = nn.Parameter(torch.tensor(weight))
        """The weight of its score in the logit of the cross-encoder."""

    def look_among(self, queries: Sequence[Sequence[int]]) -> None:
        """Take as `expansions` the words to which `queries` give the most weight without containing them."""
        vocabulary = torch.arange(len(self.bias), device=self.bias.device)
        table, weights = self.words(vocabulary), torch.zeros_like(self.bias)
        for at in range(0, len(queries), 64):
            ids, query = self._read(queries[at : at + 64])
            logits = query.values @ table.T + self.bias + ((1 - query.mask) * NEVER)[..., None]
            weights += _weight(logits.amax(1)).scatter(1, ids, 0).sum(0)
        self.expansions = weights.topk(len(self.expansions)).indices.sort().values
        self.expand.weight.copy_(table[self.expansions])
        self.expand.bias.copy_(self.bias[self.expansions])

    def states(self, ids: Tensor, mask: Tensor) -> States:
        """Return the last states of texts (n, tokens)."""
        x = self.norm(self.words(ids) + self.positions.weight[: ids.shape[1]])
        bias = attend_to(mask, x.dtype)
        for attention, feed_forward in zip(self.attention, self.feed_forward, strict=True):
            x = feed_forward(attention(x, bias))
        return States(self.transform_norm(nn.functional.gelu(self.transform(x))), mask.float())

    def said(self, ids: Tensor, states: States) -> Tensor:
        """Return how strongly texts stand for each of their tokens (n, tokens): its logit at its own position."""
        return (states.values * self.words(ids)).sum(-1) + self.bias[ids]

    def terms(self, ids: Tensor, query: States) -> Terms:
        """Return the words of queries (n, tokens), each once, and the best of `expansions` that are not among them."""
        ids = ids * query.mask.long()
        hidden = ((1 - query.mask) * NEVER)[..., None]
        said = (query.values @ self.words(ids).transpose(1, 2) + self.bias[ids][:, None] + hidden).amax(1)
        place = torch.arange(ids.shape[1], device=ids.device)
        again = ((ids[:, :, None] == ids[:, None]) & (place[:, None] > place)).any(-1)
        unsaid = (self.expand(query.values) + hidden).amax(1)
        known = (ids[:, :, None] == self.expansions).any(1)
        added = (unsaid + known * NEVER).topk(ADDED)
        weights = torch.cat([query.mask * ~again * _weight(said), _weight(added.values)], 1)
        return Terms(torch.cat([ids, self.expansions[added.indices]], 1), weights)

    def forward(self, terms: Terms, document: States) -> Tensor:
        """Return what is added to the logits (n) of pairs."""
        logits = self.words(terms.ids) @ document.values.transpose(1, 2) + self.bias[terms.ids][..., None]
        found = (logits + ((1 - document.mask) * NEVER)[:, None, :]).amax(-1)
        return self.weight * (terms.weights * _weight(found)).sum(-1)

    def all_pairs(self, queries: Sequence[Sequence[int]], documents: Sequence[Sequence[int]]) -> Tensor:
        """Return the same for every query with every document, given as ids: (queries, documents)."""
        ids, query = self._read(queries)
        terms, (_, document) = self.terms(ids, query), self._read(documents)
        logits = torch.einsum("qth,dsh->qdts", self.words(terms.ids), document.values)
        logits = logits + self.bias[terms.ids][:, None, :, None] + ((1 - document.mask) * NEVER)[None, :, None, :]
        return self.weight * (terms.weights[:, None] * _weight(logits.amax(-1))).sum(-1)

    def _read(self, texts: Sequence[Sequence[int]]) -> tuple[Tensor, States]:
        rows = [torch.tensor(text, device=self.bias.device) for text in texts]
        ids = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        mask = nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
        return ids, self.states(ids, mask)


def _weight(logits: Tensor) -> Tensor:
    return (1 + logits.relu()).log()
