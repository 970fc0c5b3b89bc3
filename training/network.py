"""The network: a bi-encoder that reads query and document apart, and layers in which the query reads the document.

`CrossEncoder` scores `[CLS] query [SEP] document [SEP]`. Its logit is a sum of three:

- the cosine of the mean states of query and document, which is how all-MiniLM-L6-v2 compares two texts;
- their late interaction: the best cosine of each of the query's tokens with a token of the document (ColBERT's,
  https://arxiv.org/abs/2004.12832), averaged by a learned importance of the query's;
- what `Reader` makes of both: transformer layers whose tokens are the query's alone, and which attend to the query and
  to the document. Follows Gao, Dai and Callan, "Modularized Transfomer-based Ranking Framework" (EMNLP 2020,
  https://aclanthology.org/2020.emnlp-main.342). But: the query's own attention and that to the document are one.

The last starts at zero, so training starts from an order that is better than BM25's, not from noise. As the document
is read apart, one reading of it is compared with every query of a training step; and as only the query's tokens go
through the `Reader`, it costs little.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

__all__ = ["HIDDEN", "POSITIONS", "CrossEncoder", "Encoder", "Head", "Projected", "Reader", "States"]

HIDDEN, HEADS, FEED_FORWARD, POSITIONS = 384, 12, 1536, 512
NEVER = -1e4


class States(NamedTuple):
    """Token states of one side of a batch: (n, tokens, HIDDEN), and 1 where they are real, else 0: (n, tokens)."""

    values: Tensor
    mask: Tensor


class Projected(NamedTuple):
    """Keys and values (n, tokens, HIDDEN) of texts for one layer of the `Reader`."""

    keys: Tensor
    values: Tensor


class Attention(nn.Module):
    """Multi-head attention of BERT, with plain matrix products: they export, and train fast."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(HIDDEN, HIDDEN)
        self.key = nn.Linear(HIDDEN, HIDDEN)
        self.value = nn.Linear(HIDDEN, HIDDEN)
        self.output = nn.Linear(HIDDEN, HIDDEN)
        self.norm = nn.LayerNorm(HIDDEN, eps=1e-12)

    def project(self, x: Tensor) -> Projected:
        return Projected(self.key(x), self.value(x))

    def forward(self, x: Tensor, bias: Tensor, beside: Projected | None = None) -> Tensor:
        """`x` attends to itself and to what is `beside` it; `bias` is added to the attention."""
        keys, values = self.project(x)
        if beside is not None:
            keys, values = torch.cat([keys, beside.keys], 1), torch.cat([values, beside.values], 1)
        scores = _split(self.query(x)) @ _split(keys).transpose(2, 3) * (1 / math.sqrt(HIDDEN // HEADS))
        context = ((scores + bias).softmax(-1) @ _split(values)).transpose(1, 2).flatten(2)
        return self.norm(x + self.output(context))


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
        importance = self.importance(query.values)[..., 0] + (1 - query.mask) * NEVER
        late = (importance.softmax(-1) * best).sum(-1)
        return self.weights[0] * cosine + self.weights[1] * late


class Reader(nn.Module):
    """Layers in which the query's tokens attend to the document's, and a linear layer on their mean."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.attention = nn.ModuleList(Attention() for _ in range(layers))
        self.feed_forward = nn.ModuleList(FeedForward() for _ in range(layers))
        self.linear = nn.Linear(2 * HIDDEN, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def project(self, documents: Tensor) -> list[Projected]:
        """What each layer sees of documents, whichever query reads them."""
        return [attention.project(documents) for attention in self.attention]

    def forward(self, query: States, documents: list[Projected], mask: Tensor) -> Tensor:
        """What is added to the logits (n) of pairs; `mask` is the documents'."""
        x = query.values
        bias = ((1 - torch.cat([query.mask, mask], 1).to(x.dtype)) * NEVER)[:, None, None, :]
        for attention, feed_forward, document in zip(self.attention, self.feed_forward, documents, strict=True):
            x = feed_forward(attention(x, bias, document))
        words = query.mask[..., None].to(x.dtype)
        pooled = torch.cat([x[:, 0], (x * words).sum(1) / words.sum(1).clamp(min=1)], -1)
        return self.linear(pooled)[:, 0].float()


class CrossEncoder(nn.Module):
    """What is exported; to the outside an ordinary cross-encoder.

    A second `[CLS]` is put before the document, positions start again there, and attention between the two texts is
    masked, so that both get exactly the states that they have when they are read apart.
    """

    def __init__(self, encoder: Encoder, head: Head, reader: Reader, *, cls: int) -> None:
        super().__init__()
        self.cls = cls
        self.encoder = encoder
        self.head = head
        self.reader = reader
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
        asked = States(states[:, 1:last], query[:, 1:last])
        logits = self.head(asked, States(states, document)) + self.reader(asked, self.reader.project(states), document)
        return (logits * self.calibration[0] + self.calibration[1])[:, None]
