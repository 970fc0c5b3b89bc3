"""Mines negatives for every query: top results of BM25 and the cosine, and passages of the same article or topic."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import bm25s
import numpy as np
from numpy.typing import NDArray

from training.texts import Source

__all__ = ["Task", "mine"]

TOP = 20
logging.getLogger("bm25s").setLevel(logging.ERROR)  # it reports every step


@dataclass(frozen=True, slots=True)
class Task:
    """One query and its candidates, as positions among all passages.

    Attributes:
        top: the best of BM25 and cosine, in turns, without the gold; for validation queries BM25's only.
        near: other passages of the same article, topic or package.
    """

    query: int
    gold: int
    top: NDArray[np.int64]
    near: NDArray[np.int64]
    source: str
    held_out: bool
    weak: bool


def mine(
    sources: Sequence[Source], queries: NDArray[np.float32], passages: NDArray[np.float32], seed: int
) -> list[Task]:
    """Make a task per query. Positions run through all sources; `queries` and `passages` are their unit mean states."""
    tasks: list[Task] = []
    first_query = first_passage = 0
    rng = np.random.default_rng(seed)
    for source in sources:
        for held_out in (False, True):
            pool = np.array([i for i, one in enumerate(source.passages) if one.held_out == held_out])
            asked = [i for i, one in enumerate(source.queries) if source.passages[one.gold].held_out == held_out]
            retriever = bm25s.BM25()
            tokens = bm25s.tokenize([source.passages[i].text for i in pool], stopwords="en", show_progress=False)
            retriever.index(tokens, show_progress=False)
            words = bm25s.tokenize([source.queries[i].text for i in asked], stopwords="en", show_progress=False)
            depth = min(TOP + 1, len(pool))
            by_words = pool[retriever.retrieve(words, k=depth, show_progress=False).documents]
            cosines = queries[first_query + np.array(asked)] @ passages[first_passage + pool].T
            by_cosine = pool[np.argsort(-cosines, axis=1)[:, :depth]]
            groups = defaultdict(list)
            for i in pool:
                groups[source.passages[i].group].append(int(i))
            for row, i in enumerate(asked):
                query = source.queries[i]
                both = by_words[row] if held_out else np.stack([by_words[row], by_cosine[row]], 1).ravel()
                top = [one for one in dict.fromkeys(both.tolist()) if one != query.gold]
                near = [one for one in groups[source.passages[query.gold].group] if one != query.gold]
                tasks.append(
                    Task(
                        first_query + i,
                        first_passage + query.gold,
                        first_passage + np.array(top[: TOP + 4], np.int64),
                        first_passage + rng.permutation(np.array(near, np.int64))[:TOP],
                        source.name,
                        held_out,
                        query.weak,
                    )
                )
        first_query += len(source.queries)
        first_passage += len(source.passages)
    return tasks
