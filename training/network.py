"""The network: an encoder that reads query and document apart, and layers that compare what it made of them.

`CrossEncoder` scores `[CLS] query [SEP] document [SEP]`. Its logit is a sum of four:

- the cosine of the mean states of query and document, which is how all-MiniLM-L6-v2 compares two texts;
- their late interaction: the best cosine of each of the query's tokens with a token of the document (ColBERT's,
  https://arxiv.org/abs/2004.12832), averaged by a learned importance of the query's;
- what `Comparison` makes of both: each of the query's tokens attends to the document, and is compared with what it
  found there. Follows Parikh et al., "A Decomposable Attention Model for Natural Language Inference" (EMNLP 2016,
  https://aclanthology.org/D16-1244). But: only the query attends, and its tokens attend to each other afterwards;
- which words the document stands for, of those that the query asks for: `Splade`, a small network of its own.

The comparison starts at zero, so training starts from an order that is better than BM25's, not from noise. As the
document is read apart, one reading of it is compared with every query of a training step.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from training.bert import NEVER, POSITIONS, Attention, FeedForward, Rounded, States, attend_within
from training.splade import Splade

__all__ = ["HEADS", "HIDDEN", "WHOLE", "Comparison", "CrossEncoder", "Encoder", "Head", "Kept", "mean"]

HIDDEN, HEADS, FEED_FORWARD = 384, 12, 1536
WHOLE = 64
"""Documents of at most so many tokens keep all of them: what is short has little to spare, and is read fast."""


class Kept(NamedTuple):
    """Which tokens of each row are kept: their places (n, most) in order, and 1 where there is one, else 0.

    The number of places is a multiple of 8, so that engines which prepare for each shape meet fewer of them.
    """

    places: Tensor
    mask: Tensor

    @classmethod
    def of(cls, kept: Tensor) -> Kept:
        """`kept` (n, tokens) is 1 or 0."""
        tokens = kept.shape[1]
        last_first = torch.arange(tokens, 0, -1, device=kept.device)
        order = (kept.long() * tokens + last_first).sort(descending=True).indices
        places = order[:, : (kept.long().sum(1).amax() + 7) // 8 * 8]
        return cls(places, kept.gather(1, places).float())

    def take(self, x: Tensor) -> Tensor:
        """Of each row of `x` (n, tokens, ...) what is kept."""
        first = torch.arange(x.shape[0], device=x.device)[:, None] * x.shape[1]
        return x.flatten(0, 1)[self.places + first]


class Encoder(nn.Module):
    """BERT with some layers of 384, for texts of one kind: the embedding of type 0 is added to those of positions.

    The first attention reads every token; the rest reads those that `Kept` names, which is where nearly all of the
    time goes. Follows PoWER-BERT (Goyal et al., ICML 2020, https://arxiv.org/abs/2001.08950). But: what goes is
    decided by the vocabulary, not by attention.
    """

    def __init__(self, vocabulary: int, layers: int) -> None:
        super().__init__()
        self.words = Rounded(vocabulary, HIDDEN)
        self.positions = nn.Embedding(POSITIONS, HIDDEN)
        self.norm = nn.LayerNorm(HIDDEN, eps=1e-12)
        self.attention = nn.ModuleList(Attention(HIDDEN, HEADS) for _ in range(layers))
        self.feed_forward = nn.ModuleList(FeedForward(HIDDEN, FEED_FORWARD) for _ in range(layers))
        self.register_buffer("function", torch.zeros(vocabulary, dtype=torch.bool))
        """Whether a token is a function word or punctuation."""

    def query(self, ids: Tensor, mask: Tensor) -> States:
        """The last states of queries (n, tokens), of all their tokens."""
        return self.states(self.words(ids) + self.positions.weight[: ids.shape[1]], mask, Kept.of(mask))

    def document(self, ids: Tensor, mask: Tensor) -> tuple[States, Kept]:
        """The last states of documents (n, tokens) where they are kept, and which tokens those are."""
        kept = self.kept(ids, mask)
        return self.states(self.words(ids) + self.positions.weight[: ids.shape[1]], mask, kept), kept

    def kept(self, ids: Tensor, documents: Tensor, queries: Tensor | int = 0) -> Kept:
        """Which tokens (n, tokens) are kept of what `documents` and `queries` mark with 1."""
        whole = documents.sum(1, keepdim=True) <= WHOLE
        return Kept.of(queries + documents * (~self.function[ids] | whole))

    def states(self, embeddings: Tensor, texts: Tensor, kept: Kept) -> States:
        """The last states of the tokens that are kept.

        Tokens attend to those that have their own number in `texts` (n, tokens); padding has 0.
        """
        x = self.attention[0](self.norm(embeddings), attend_within(texts, embeddings.dtype))
        x, texts = kept.take(x), kept.take(texts) * kept.mask
        bias = attend_within(texts, embeddings.dtype)
        x = self.feed_forward[0](x)
        for attention, feed_forward in zip(self.attention[1:], self.feed_forward[1:], strict=True):
            x = feed_forward(attention(x, bias))
        return States(x, texts)


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
        self.attention = Attention(HIDDEN, HEADS)
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
    masked, so that both get exactly the states that they have when they are read apart. The query keeps all of its
    tokens, a document of more than `WHOLE` loses its function words and punctuation after the first attention.
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
        """Logits (n, 1) of pairs (n, tokens); padding is at the end."""
        of_document = token_type_ids * attention_mask
        of_query = attention_mask - of_document
        first = torch.ones_like(input_ids[:, :1])
        ids = torch.cat([first * self.cls, input_ids], 1)
        document = torch.cat([first, of_document], 1)
        query = torch.cat([first * 0, of_query], 1)
        places = (document.cumsum(1) * document + query.cumsum(1) * query - 1).clamp(min=0, max=POSITIONS - 1)
        texts = query + 2 * document
        last = of_query.sum(1).amax() + 1
        small = self.splade.states(ids, places, texts)
        terms = self.splade.terms(ids[:, 1:last], States(small[:, 1:last], query[:, 1:last].float()))
        sparse = self.splade(terms, States(small, document.float()))
        embeddings = self.encoder.words(ids) + self.encoder.positions(places)
        values, texts = self.encoder.states(embeddings, texts, self.encoder.kept(ids, document, query))
        query, document = (texts == 1).float(), (texts == 2).float()
        logits = self.compared(States(values[:, 1:last], query[:, 1:last]), States(values, document)) + sparse
        return (logits * self.calibration[0] + self.calibration[1])[:, None]

    def compared(self, query: States, document: States) -> Tensor:
        """Logits (n), before calibration and without `splade`, of pairs that were read apart."""
        added: Tensor = self.comparison(query, document, self.head.importances(query))
        return self.head(query, document) + added
