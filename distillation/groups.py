"""Groups of pairs: a query with candidates that are right, nearly right, hard and easy.

A group depends only on the corpus and a seed, so nothing has to be stored to resume.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from distillation.corpus import Corpus, Ids
from distillation.near_misses import NearMisses

CANDIDATES, CLS, SEP, LONGEST_QUERY = 8, 101, 102, 64
WIDTHS = np.array([8, 12, 16, 24, 32, 48, 64, 80, 96, 128, 160, 192, 256, 320, 384, 512])
"""Lengths of pairs in tokens. A document loses some at its end, so that batches need no padding and no mask."""

MIXTURE = {
    "squad": (0.41, 0.25), "medquad": (0.16, 0.25), "science": (0.04, 0.4), "wordnet": (0.09, 0.25),
    "prose": (0.13, 0.4), "code": (0.10, 0.5), "aws": (0.07, 0.25),
}  # fmt: skip
"""Of each kind, its share among the queries, and the share of the similarity in what the teachers say."""

LENGTHS, LENGTH_SHARES = ((8, 32), (32, 64), (64, 128), (128, 256), (256, 440)), (0.20, 0.30, 0.25, 0.15, 0.10)
"""How long passages are, in tokens."""


class Bucket(NamedTuple):
    """Pairs of one length: their places in the batch, ids (pairs, tokens), the places at which documents begin, and
    how much similarity counts for them.
    """

    places: Tensor
    ids: Tensor
    second: Tensor
    similarity: Tensor


class Groups:
    """Draws groups, either held-out ones or others: `groups[step]` is a batch, always the same for the same seed."""

    def __init__(self, corpus: Corpus, tokenizer: Tokenizer, held_out: bool, size: int, seed: int) -> None:
        self.corpus, self.size, self.seed, self.change = corpus, size, (seed, held_out), NearMisses(tokenizer)
        self.units = np.flatnonzero(corpus.held_out == held_out)
        ours, kind = corpus.held_out[corpus.gold] == held_out, corpus.kind[corpus.gold]
        self.queries = [np.flatnonzero(ours & (kind == i)) for i in range(len(corpus.kinds))]
        shares = np.array([MIXTURE[name][0] for name in corpus.kinds]) * [len(some) > 0 for some in self.queries]
        self.shares = shares / shares.sum()

    def __getitem__(self, step: int) -> list[Bucket]:
        rng = np.random.default_rng((*self.seed, step))
        kinds = rng.choice(len(self.shares), self.size, p=self.shares)
        similarity = np.repeat([MIXTURE[self.corpus.kinds[kind]][1] for kind in kinds], CANDIDATES)
        return buckets([pair for kind in kinds for pair in self._group(rng, self.queries[kind])], similarity)

    def _group(self, rng: np.random.Generator, queries: NDArray[np.int64]) -> list[tuple[Ids, Ids]]:
        """Return one of the queries with `CANDIDATES` passages, the one that answers it first."""
        number = int(rng.choice(queries))
        gold = int(self.corpus.gold[number])
        query = self._query(rng, number, gold)
        asked = np.zeros(len(self.change.stop), bool)
        asked[query] = True
        asked &= ~self.change.stop
        length, titled, passages = self._length(rng), rng.random() < 0.3, []
        for unit in (gold, *self._others(rng, number, gold)):
            passage = self._window(rng, unit, asked, length if rng.random() < 0.75 else self._length(rng))
            passages.append(np.concatenate([self.corpus.titles[unit], passage]) if titled else passage)
        form = rng.random()  # of a near miss, in the place of the last candidate
        if form < 0.5:
            passages[-1] = self.change.of_passage(rng, passages[0])
        elif form < 0.7:
            passages[-1] = self.change.of_query(rng, query)
        elif form < 0.8:  # a question as a passage
            passages[-1] = self.corpus.queries[int(rng.choice(queries))]
        return [(query, passage) for passage in passages]

    def _query(self, rng: np.random.Generator, number: int, gold: int) -> Ids:
        """Return the query as it is, as keywords or without its question mark, or a sentence or the title instead."""
        query, form = self.corpus.queries[number], rng.random()
        if form < 0.17:
            query = self.change.keywords(query)
        elif form < 0.40:
            query = query[query != self.change.question_mark]
        elif form < 0.50:
            query = self.corpus.sentences[int(rng.integers(self.corpus.starts[gold], self.corpus.starts[gold + 1]))]
        elif form < 0.55:
            query = self.corpus.titles[gold]
        return query[:LONGEST_QUERY]

    def _others(self, rng: np.random.Generator, number: int, gold: int) -> list[int]:
        """Return five of BM25's best, a neighbour in the group, and units from anywhere; fewer of what there is not."""
        lexical, ends = self.corpus.lexical[number], self.corpus.group_end
        aside = max(0, min(gold + rng.choice([-2, -1, 1, 2]), ends[gold] - 1))
        chosen = [*rng.choice(lexical[:8], 3, replace=False), *rng.choice(lexical[8:], 2, replace=False)]
        chosen += [aside] if ends[aside] == ends[gold] else []
        chosen = [one for one in dict.fromkeys(map(int, chosen)) if one not in (-1, gold)]
        return chosen + rng.choice(self.units, CANDIDATES - 1 - len(chosen)).tolist()

    def _length(self, rng: np.random.Generator) -> int:
        return int(rng.integers(*LENGTHS[rng.choice(len(LENGTHS), p=LENGTH_SHARES)]))

    def _window(self, rng: np.random.Generator, unit: int, asked: NDArray[np.bool_], length: int) -> Ids:
        """Return sentences from the one that shares most words with the query, or from any; from the first of code.

        They can reach into the next units of the group.
        """
        corpus, tokens = self.corpus, self.corpus.sentences.starts
        first, end = corpus.starts[unit : unit + 2]
        low = rng.integers(first, end)
        if length > tokens[end] - tokens[first] or corpus.kinds[corpus.kind[unit]] == "code":
            low = first
        elif rng.random() < 0.7:
            shared = np.add.reduceat(asked[corpus.passage(unit)], tokens[first:end] - tokens[first], dtype=int)
            low = first + shared.argmax()
        limit = corpus.starts[corpus.group_end[unit]]
        high = min(limit, max(low + 1, np.searchsorted(tokens, tokens[low] + length, side="right") - 1))
        return corpus.sentences[low:high][: length + 32]


def buckets(pairs: Sequence[tuple[Ids, Ids]], similarity: NDArray[np.float64]) -> list[Bucket]:
    """Lay pairs out by length: each becomes as long as the next lower of `WIDTHS`."""
    totals = [3 + len(query) + len(passage) for query, passage in pairs]
    widths = WIDTHS[np.searchsorted(WIDTHS, np.maximum(totals, WIDTHS[0]), side="right") - 1]
    laid = []
    for width in np.unique(widths):
        places = np.flatnonzero(widths == width)
        second = [2 + min(len(pairs[place][0]), int(width) - 4) for place in places]  # some of the document stays
        ids = np.full((len(places), width), SEP, np.int64)
        for row, place, start in zip(ids, places, second, strict=True):
            query, passage = pairs[place]
            shown = passage[: width - 1 - start]
            row[0], row[1 : start - 1], row[start : start + len(shown)] = CLS, query[: start - 2], shown
        share = torch.tensor(similarity[places], dtype=torch.float32)
        laid.append(Bucket(torch.from_numpy(places), torch.from_numpy(ids), torch.tensor(second), share))
    return laid
