"""SPLADE: which words a text stands for, said and unsaid, and how much.

Follows Formal et al., "From Distillation to Hard Negative Sampling: Making Sparse Neural IR Models More Effective"
(SIGIR 2022, https://arxiv.org/abs/2205.04733): a word's weight is the logarithm of 1 more than the greatest logit that
the masked language model's head gives it at any token; two texts are compared by the product of their weights. But: the
document's weights are asked for at the query's words alone, so they cost no more than late interaction; and what the
query does not say itself is looked for among a few thousand words, not among all.
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
"""Words that a query may stand for without saying them: 97 % of the weight of all, in the training questions."""
ADDED = 16
"""How many of them at most."""


class Terms(NamedTuple):
    """What queries ask for: ids of words (n, terms) and their weights (n, terms), 0 where there is none."""

    ids: Tensor
    weights: Tensor


class Splade(nn.Module):
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
        """Of what it says, in the logit of the cross-encoder."""

    def look_among(self, queries: Sequence[Sequence[int]]) -> None:
        """From now on look for what a query does not say among the words that these give most weight to."""
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
        """The last states of texts (n, tokens)."""
        x = self.norm(self.words(ids) + self.positions.weight[: ids.shape[1]])
        bias = attend_to(mask, x.dtype)
        for attention, feed_forward in zip(self.attention, self.feed_forward, strict=True):
            x = feed_forward(attention(x, bias))
        return States(self.transform_norm(nn.functional.gelu(self.transform(x))), mask.float())

    def said(self, ids: Tensor, states: States) -> Tensor:
        """How much texts stand for each of their tokens (n, tokens): its logit at its own place."""
        return (states.values * self.words(ids)).sum(-1) + self.bias[ids]

    def terms(self, ids: Tensor, query: States) -> Terms:
        """The words of queries (n, tokens), each once, and the best of `expansions` that are not among them."""
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
        """What is added to the logits (n) of pairs."""
        logits = self.words(terms.ids) @ document.values.transpose(1, 2) + self.bias[terms.ids][..., None]
        found = (logits + ((1 - document.mask) * NEVER)[:, None, :]).amax(-1)
        return self.weight * (terms.weights * _weight(found)).sum(-1)

    def all_pairs(self, queries: Sequence[Sequence[int]], documents: Sequence[Sequence[int]]) -> Tensor:
        """The same (queries, documents) of each with each, given as ids."""
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
