"""The network: an encoder that reads query and document separately, and layers that compare the results.

`CrossEncoder` scores `[CLS] query [SEP] document [SEP]`. Its logit is the sum of four parts:

- the cosine of the mean states of query and document, which is how all-MiniLM-L6-v2 compares two texts;
- their late interaction: the best cosine of each query token with any document token (ColBERT's,
  https://arxiv.org/abs/2004.12832), averaged with learned weights of the query tokens;
- the output of `Comparison`: each query token attends to the document and is compared with what it finds there.
  Follows Parikh et al., "A Decomposable Attention Model for Natural Language Inference" (EMNLP 2016,
  https://aclanthology.org/D16-1244). But: only the query attends, and its tokens attend to each other afterwards;
- the output of `Splade`, a small network of its own: how strongly the document stands for the words that the query asks
  for.

The comparison starts at zero, so training starts from an order that is better than BM25's, not from noise. Documents
are encoded without the query, so a training step encodes each one once and compares it with every query.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from training.bert import NEVER, POSITIONS, Attention, FeedForward, Rounded, States, attend_to
from training.splade import Splade

__all__ = [
    "ASKED",
    "FIRST",
    "HEADS",
    "HIDDEN",
    "WHOLE",
    "Comparison",
    "CrossEncoder",
    "Encoder",
    "Head",
    "Kept",
    "mean",
]

HIDDEN, HEADS, FEED_FORWARD = 384, 12, 1536
WHOLE = 64
"""Minimum number of tokens that a document keeps: short texts have little to spare and are fast anyway."""
FIRST = 1 << 30
"""Above any token's worth, and within the integers of all engines. Half of it separates kinds of tokens."""
ASKED = 1000.0
"""Added to the worth of tokens that are also in the query, so that they are kept before others of their kind."""


class Kept(NamedTuple):
    """Which tokens of each row are kept: their positions (n, most), and a mask that is 1 for real ones.

    `most` is a multiple of 8 where rows are long enough, so engines that compile for each shape see fewer shapes.
    """

    places: Tensor
    mask: Tensor

    @classmethod
    def of(cls, worth: Tensor, many: Tensor) -> Kept:
        """Keep the `many` (n) tokens of each row with the greatest `worth` (n, tokens), greatest first."""
        order = worth.sort(descending=True).indices
        places = order[:, : (many.amax() + 7) // 8 * 8]
        place = torch.arange(places.shape[1], device=worth.device)
        return cls(places, (place < many[:, None]).float())

    def take(self, x: Tensor) -> Tensor:
        """Select the kept tokens of each row of `x` (n, tokens, ...)."""
        first = torch.arange(x.shape[0], device=x.device)[:, None] * x.shape[1]
        return x.flatten(0, 1)[self.places + first]


class Encoder(nn.Module):
    """BERT with hidden size 384, for single texts; the embedding of type 0 is part of the position embeddings.

    The first attention reads every token. All later layers, which take nearly all of the time, read only the tokens in
    `Kept`. Follows PoWER-BERT (Goyal et al., ICML 2020, https://arxiv.org/abs/2001.08950). But: the vocabulary and
    SPLADE decide which tokens are dropped, not attention.
    """

    def __init__(self, vocabulary: int, layers: int) -> None:
        super().__init__()
        self.words = Rounded(vocabulary, HIDDEN)
        self.positions = nn.Embedding(POSITIONS, HIDDEN)
        self.norm = nn.LayerNorm(HIDDEN, eps=1e-12)
        self.attention = nn.ModuleList(Attention(HIDDEN, HEADS) for _ in range(layers))
        self.feed_forward = nn.ModuleList(FeedForward(HIDDEN, FEED_FORWARD) for _ in range(layers))
        self.register_buffer("worth", torch.zeros(vocabulary, dtype=torch.long))
        """Added to a token's worth, so that function words and punctuation are dropped first, special tokens last."""

    def thin(self, layers: int) -> None:
        """Keep only `layers` layers, evenly spaced, including the first and the last."""
        places = torch.linspace(0, len(self.attention) - 1, layers).round().int().tolist()
        self.attention = nn.ModuleList(self.attention[place] for place in places)
        self.feed_forward = nn.ModuleList(self.feed_forward[place] for place in places)

    def query(self, ids: Tensor, mask: Tensor) -> States:
        """Return the last states of all tokens of queries (n, tokens)."""
        return self._states(ids, mask, None)

    def document(self, ids: Tensor, mask: Tensor, said: Tensor) -> tuple[States, Kept]:
        """Return the last states of the tokens of documents (n, tokens) that are kept, and which tokens those are.

        `said` (n, tokens) is how strongly the document stands for each of its tokens, from `Splade.said`.
        """
        tokens = mask.sum(1)
        # Integers, because bfloat16 could not tell large values apart.
        worth = (said * 1000).long() + self.worth[ids]
        kept = Kept.of(worth * mask - FIRST * (1 - mask), tokens.minimum((tokens // 2).clamp(min=WHOLE)))
        return self._states(ids, mask, kept), kept

    def _states(self, ids: Tensor, mask: Tensor, kept: Kept | None) -> States:
        x = self.norm(self.words(ids) + self.positions.weight[: ids.shape[1]])
        bias, mask = attend_to(mask, x.dtype), mask.float()
        if kept is None:
            x = self.attention[0](x, bias)
        else:
            x, mask = self.attention[0](x, bias, kept.take), kept.mask
            bias = attend_to(mask, x.dtype)
        x = self.feed_forward[0](x)
        for attention, feed_forward in zip(self.attention[1:], self.feed_forward[1:], strict=True):
            x = feed_forward(attention(x, bias))
        return States(x, mask)


def mean(states: States) -> Tensor:
    """Return the mean state of each text, normalised to length 1, as all-MiniLM's cosine compares it."""
    mask = states.mask[..., None]
    return nn.functional.normalize((states.values * mask).sum(1) / mask.sum(1).clamp(min=1), dim=-1)


class Head(nn.Module):
    """Cosine and late interaction of texts that were encoded separately; always in float32."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor([6.0, 14.0]))  # of the cosine, and of late interaction
        self.importance = nn.Linear(HIDDEN, 1, bias=False)
        nn.init.zeros_(self.importance.weight)

    def forward(self, query: States, document: States) -> Tensor:
        """Return the logits (n) of pairs."""
        cosine = (mean(query) * mean(document)).sum(-1)
        ours, theirs = (nn.functional.normalize(one.values, dim=-1) for one in (query, document))
        best = (ours @ theirs.transpose(1, 2) + ((1 - document.mask) * NEVER)[:, None, :]).amax(-1)
        return self._logits(cosine, best, query)

    def all_pairs(self, queries: States, documents: States) -> Tensor:
        """Return the logits (queries, documents) of every query with every document."""
        cosine = mean(queries) @ mean(documents).T
        ours, theirs = (nn.functional.normalize(one.values, dim=-1) for one in (queries, documents))
        similar = torch.einsum("qth,dsh->qdts", ours, theirs) + ((1 - documents.mask) * NEVER)[None, :, None, :]
        expanded = States(queries.values[:, None], queries.mask[:, None])
        return self._logits(cosine, similar.amax(-1), expanded)

    def _logits(self, cosine: Tensor, best: Tensor, query: States) -> Tensor:
        return self.weights[0] * cosine + self.weights[1] * (self.importances(query) * best).sum(-1)

    def importances(self, query: States) -> Tensor:
        """Return the weights of the query tokens (..., tokens), which sum to 1 per query."""
        importance: Tensor = self.importance(query.values)[..., 0] + (1 - query.mask) * NEVER
        return importance.softmax(-1)


class Comparison(nn.Module):
    """Compares each query token with what it finds in the document; always in float32.

    Each query token attends to the document by the cosines of their states, and a layer compares it with the result.
    Then one attention layer lets the query tokens judge together.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sharpness = nn.Parameter(torch.tensor(12.0))  # of the attention to the document
        self.compare = nn.Linear(3 * HIDDEN, HIDDEN)
        self.norm = nn.LayerNorm(HIDDEN)
        self.attention = Attention(HIDDEN, HEADS)
        self.score = nn.Linear(HIDDEN, 1)
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)

    def forward(self, query: States, document: States, importance: Tensor) -> Tensor:
        """Return what is added to the logits (n) of pairs; `importance` (n, tokens) weighs the query tokens."""
        ours, theirs = (nn.functional.normalize(one.values, dim=-1) for one in (query, document))
        seen = self.sharpness * ours @ theirs.transpose(1, 2) + ((1 - document.mask) * NEVER)[:, None, :]
        ours, found = ours * math.sqrt(HIDDEN), seen.softmax(-1) @ theirs * math.sqrt(HIDDEN)
        compared = self.norm(nn.functional.gelu(self.compare(torch.cat([ours, found, ours * found], -1))))
        judged = self.attention(compared, ((1 - query.mask) * NEVER)[:, None, None, :])
        return (importance * self.score(judged)[..., 0]).sum(-1)


class CrossEncoder(nn.Module):
    """The exported model, which from outside is an ordinary cross-encoder.

    Splits each pair and encodes both texts on their own. The query influences only which tokens of a long document are
    kept: its own words go last. If all pairs have the same query, as in a ranking, it is encoded once.
    """

    def __init__(self, encoder: Encoder, head: Head, comparison: Comparison, splade: Splade, *, cls: int) -> None:
        super().__init__()
        self.cls = cls
        self.encoder = encoder
        self.head = head
        self.comparison = comparison
        self.splade = splade
        self.register_buffer("calibration", torch.tensor([1.0, 0.0]))  # a scale and an offset

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """Return the logits (n, 1) of pairs (n, tokens); padding is at the end."""
        of_document = token_type_ids * attention_mask
        before, after = (attention_mask - of_document).sum(1, keepdim=True), of_document.sum(1, keepdim=True)

        place = torch.arange(input_ids.shape[1], device=input_ids.device)[None]
        query_mask = (place < before).long()[:, : before.amax()]
        query_ids = input_ids[:, : before.amax()] * query_mask
        different = (query_ids != query_ids[:1]).any().long()
        read = 1 + different * (input_ids.shape[0] - 1)
        query_ids, query_mask = query_ids[:read], query_mask[:read]

        place = place[:, : after.amax()]
        document_mask = (place < after).long()
        document_ids = input_ids.gather(1, (before + place) * document_mask) * document_mask
        first = torch.ones_like(input_ids[:, :1])  # a document on its own starts with [CLS], too
        document_ids = torch.cat([first * self.cls, document_ids], 1)
        document_mask = torch.cat([first, document_mask], 1)

        small_query = self.splade.states(query_ids, query_mask)
        small = self.splade.states(document_ids, document_mask)
        terms = self.splade.terms(query_ids, small_query)
        sparse = self.splade(terms, small)
        query = self.encoder.query(query_ids, query_mask)
        said = self.splade.said(document_ids, small)
        asked = (document_ids[:, :, None] == query_ids[:, None, :]).any(-1)
        document, _ = self.encoder.document(document_ids, document_mask, said + ASKED * asked)
        query = query.expand(input_ids.shape[0])
        logits = self.compared(query, document) + sparse
        return (logits * self.calibration[0] + self.calibration[1])[:, None]

    def compared(self, query: States, document: States) -> Tensor:
        """Return the logits (n) of pairs encoded separately, before calibration and without `splade`."""
        added: Tensor = self.comparison(query, document, self.head.importances(query))
        return self.head(query, document) + added
