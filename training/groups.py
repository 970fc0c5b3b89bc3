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

from training.corpus import Corpus, Ids
from training.near_misses import NearMisses

CANDIDATES, LONGEST_QUERY, LONGEST_PAIR = 8, 64, 512
CLS, SEP = np.array([101], np.uint16), np.array([102], np.uint16)
LENGTHS = ((8, 32), (32, 64), (64, 128), (128, 256), (256, 440))  # of passages, in tokens


class Kind(NamedTuple):
    """Shares: of queries, of the similarity and of the known answer in the target, of titles, of each of `LENGTHS`."""

    share: float
    similarity: float
    gold: float
    titled: float = 0.3
    lengths: tuple[float, ...] = (0.20, 0.30, 0.25, 0.15, 0.10)


MIXTURE = {
    "squad": Kind(0.33, 0.4, 0.2),
    "medquad": Kind(0.13, 0.3, 0.2, lengths=(0.10, 0.20, 0.25, 0.25, 0.20)),
    "science": Kind(0.25, 0.6, 0.5, 0.7, (0.05, 0.05, 0.10, 0.30, 0.50)),  # mostly whole abstracts
    "wordnet": Kind(0.08, 0.5, 0.2),
    "prose": Kind(0.12, 0.4, 0.2),
    "code": Kind(0.09, 0.8, 0.2),
}


class Batch(NamedTuple):
    """Groups as a cross-encoder reads them, pair by pair, and as the similarity does, each query before its passages.

    Texts stand one after the other, without padding: (3, tokens) are the ids, positions and types of their tokens.
    """

    pairs: Tensor
    pair_starts: Tensor  # where each pair starts, and where the last one ends
    texts: Tensor
    text_starts: Tensor
    shares: Tensor  # of the similarity and of the known answer, for each group
    near_miss: Tensor  # whether each group's last candidate is one

    def to(self, device: torch.device) -> "Batch":
        """Return it on a device, where it may arrive later."""
        return Batch(*(one.to(device, non_blocking=True) for one in self))


def pack(texts: Sequence[Sequence[Ids]]) -> tuple[Tensor, Tensor]:
    """Lay out texts of one or two parts: `[CLS]`, then each part with a `[SEP]` after it. Return tokens and starts."""
    pieces = [piece for parts in texts for piece in (CLS, *(one for part in parts for one in (part, SEP)))]
    lengths = [1 + sum(len(part) + 1 for part in parts) for parts in texts]
    starts = np.cumsum([0, *lengths])
    positions = np.arange(starts[-1]) - np.repeat(starts[:-1], lengths)
    types = positions >= np.repeat([len(parts[0]) + 2 for parts in texts], lengths)
    tokens = np.stack([np.concatenate(pieces), positions, types])
    return torch.tensor(tokens, dtype=torch.int32), torch.tensor(starts, dtype=torch.int32)


class Groups:
    """Draws groups, either held-out ones or others: `groups[step]` is a batch, always the same for the same seed."""

    def __init__(self, corpus: Corpus, tokenizer: Tokenizer, held_out: bool, size: int, seed: int) -> None:
        self.corpus, self.size, self.seed, self.change = corpus, size, (seed, held_out), NearMisses(tokenizer)
        self.units = np.flatnonzero(corpus.held_out == held_out)
        ours = corpus.held_out[corpus.gold] == held_out
        self.queries = {kind: np.flatnonzero(ours & (corpus.kind[corpus.gold] == kind)) for kind in MIXTURE}
        self.shares = {kind: MIXTURE[kind].share for kind, queries in self.queries.items() if len(queries)}

    def __getitem__(self, step: int) -> Batch:
        rng = np.random.default_rng((*self.seed, step))
        kinds = rng.choice([*self.shares], self.size, p=np.array([*self.shares.values()]) / sum(self.shares.values()))
        groups = [self._group(rng, kind) for kind in kinds]
        pairs = [(query, passage) for query, passages, _ in groups for passage in passages]
        texts = [(text,) for query, passages, _ in groups for text in (query, *passages)]
        shares = torch.tensor([(MIXTURE[kind].similarity, MIXTURE[kind].gold) for kind in kinds])
        return Batch(*pack(pairs), *pack(texts), shares, torch.tensor([near_miss for *_, near_miss in groups]))

    def _group(self, rng: np.random.Generator, kind: str) -> tuple[Ids, list[Ids], bool]:
        """Return a query, `CANDIDATES` passages, the one that answers it first, and whether the last nearly does."""
        number = int(rng.choice(self.queries[kind]))
        gold = int(self.corpus.gold[number])
        query, title = self._query(rng, number, gold), self.corpus.titles[gold]
        asked = np.zeros(len(self.change.stop), bool)
        asked[query] = True
        asked &= ~self.change.stop
        titled = rng.random() < MIXTURE[kind].titled and not np.array_equal(query, title)
        length, passages = self._length(rng, kind), []
        for unit in (gold, *self._others(rng, number, gold)):
            passage = self._window(rng, unit, asked, length if rng.random() < 0.75 else self._length(rng, kind))
            passages.append(np.concatenate([self.corpus.titles[unit], passage]) if titled else passage)
        form = rng.random()  # of a near miss, in the place of the last candidate
        if form < 0.5:
            passages[-1] = self.change.of_passage(rng, passages[0])
        elif form < 0.7:
            passages[-1] = self.change.of_query(rng, query)
        elif form < 0.8:  # a question as a passage
            passages[-1] = self.corpus.queries[int(rng.choice(self.queries[kind]))]
        return query, [passage[: LONGEST_PAIR - 3 - len(query)] for passage in passages], form < 0.8

    def _query(self, rng: np.random.Generator, number: int, gold: int) -> Ids:
        """Return the query as it is, as keywords or without its question mark, or a sentence or the title instead."""
        query, form = self.corpus.queries[number], rng.random()
        if form < 0.17:
            query = self.change.keywords(query)
        elif form < 0.40:
            query = query[query != self.change.question_mark]
        elif form < 0.50:
            query = self.corpus.sentences[int(rng.integers(*self.corpus.starts[gold : gold + 2]))]
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
        return [*chosen, *map(int, rng.choice(self.units, CANDIDATES - 1 - len(chosen)))]

    def _length(self, rng: np.random.Generator, kind: str) -> int:
        return int(rng.integers(*LENGTHS[rng.choice(len(LENGTHS), p=MIXTURE[kind].lengths)]))

    def _window(self, rng: np.random.Generator, unit: int, asked: NDArray[np.bool_], length: int) -> Ids:
        """Return sentences from the one that shares most words with the query, or from any; from the first of code.

        They can reach into the next units of the group.
        """
        corpus, tokens = self.corpus, self.corpus.sentences.starts
        first, end = corpus.starts[unit : unit + 2]
        low = rng.integers(first, end)
        if length > tokens[end] - tokens[first] or corpus.kind[unit] == "code":
            low = first
        elif rng.random() < 0.7:
            low = max(range(first, end), key=lambda one: np.count_nonzero(asked[corpus.sentences[one]]))
        limit = corpus.starts[corpus.group_end[unit]]
        high = min(limit, max(low + 1, np.searchsorted(tokens, tokens[low] + length, side="right") - 1))
        return corpus.sentences[low:high][: length + 32]
