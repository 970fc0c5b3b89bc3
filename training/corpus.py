"""All texts as token ids, made once, and the passages that BM25 takes for answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from training.texts import Unit

Ids = NDArray[np.uint16]
TOP = 24
FAMILIES = ({"squad"}, {"medquad", "science"}, {"wordnet"}, {"prose", "code"})  # are searched together


class Texts:
    """Texts as token ids, one after the other; `starts` has one entry more than there are texts."""

    def __init__(self, texts: Sequence[str], tokenizer: Tokenizer) -> None:
        ids = []
        for start in range(0, len(texts), 4096):  # an encoding takes far more memory than its ids
            encoded = tokenizer.encode_batch(texts[start : start + 4096], add_special_tokens=False)
            ids += [np.array(one.ids, np.uint16) for one in encoded]
        self.ids, self.starts = np.concatenate(ids), np.cumsum([0, *map(len, ids)], dtype=np.int32)

    def __getitem__(self, places: int | slice) -> Ids:
        """Return a text, or some that follow each other as one."""
        first, end = (places.start, places.stop) if isinstance(places, slice) else (places, places + 1)
        return self.ids[self.starts[first] : self.starts[end]]


@dataclass(frozen=True, slots=True)
class Corpus:
    """Units and queries."""

    kind: NDArray[np.str_]  # of each unit
    held_out: NDArray[np.bool_]
    group_end: NDArray[np.int32]  # of each unit: the unit after the last one of its group
    starts: NDArray[np.int32]  # each unit's first sentence, and one entry more
    sentences: Texts
    titles: Texts
    queries: Texts
    gold: NDArray[np.int32]  # the unit that answers each query
    lexical: NDArray[np.int32]  # (queries, TOP) other units, best first; -1 if there are fewer


def prepare(units: Sequence[Unit], tokenizer: Tokenizer) -> Corpus:
    """Return the corpus. Candidates of a held-out query are held out, those of the others are not."""
    ends = {(unit.kind, unit.group): place for place, unit in enumerate(units, 1)}
    asked = [(query, place) for place, unit in enumerate(units) for query in unit.queries]
    return Corpus(
        np.array([unit.kind for unit in units]),
        np.array([unit.held_out for unit in units]),
        np.array([ends[unit.kind, unit.group] for unit in units], np.int32),
        np.cumsum([0, *(len(unit.sentences) for unit in units)], dtype=np.int32),
        Texts([sentence for unit in units for sentence in unit.sentences], tokenizer),
        Texts([unit.title for unit in units], tokenizer),
        Texts([query for query, _ in asked], tokenizer),
        np.array([place for _, place in asked], np.int32),
        _lexical(units, asked),
    )


def _lexical(units: Sequence[Unit], asked: Sequence[tuple[str, int]]) -> NDArray[np.int32]:
    import bm25s  # training needs none, and may run on a machine that has none

    found = np.full((len(asked), TOP), -1, np.int32)
    for family, held_out in product(FAMILIES, (False, True)):
        ours = [unit.kind in family and unit.held_out == held_out for unit in units]
        rows, pool = [row for row, (_, gold) in enumerate(asked) if ours[gold]], np.flatnonzero(ours)
        if not rows:
            continue
        retriever = bm25s.BM25()
        texts = [f"{units[place].title} {' '.join(units[place].sentences)}" for place in pool.tolist()]
        retriever.index(bm25s.tokenize(texts, show_progress=False), show_progress=False)
        places = {query: place for place, query in enumerate(dict.fromkeys(asked[row][0] for row in rows))}
        words = bm25s.tokenize(list(places), show_progress=False)  # a docstring and its source have the same queries
        best = pool[retriever.retrieve(words, k=min(TOP + 1, len(pool)), show_progress=False).documents]
        for row in rows:
            order = best[places[asked[row][0]]]
            others = order[order != asked[row][1]][:TOP]
            found[row, : len(others)] = others
    return found
