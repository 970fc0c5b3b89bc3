"""`LexicalReranker`: BM25 over the candidates. No model, no download, about a millisecond.

Follows Lucene's BM25Similarity (https://lucene.apache.org/core/10_0_0/core/org/apache/lucene/search/similarities/
BM25Similarity.html, read 2026-11-23) after Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and
Beyond" (2009). But: document lengths are not rounded to a byte, there is no stemming, and document frequencies come
from the candidates, not from a whole collection.

Worked example, query "red fox", candidates "the red fox" and "the dog" (N = 2, mean length 2.5):

    idf(red) = ln(1 + (2 - 1 + 0.5) / (1 + 0.5)) = ln 2 = 0.6931, and idf(fox) is the same
    saturation in "the red fox" (3 words, each term once) = 1 / (1 + 1.2 * (1 - 0.75 + 0.75 * 3 / 2.5)) = 0.4202
    raw score = 2 * 0.6931 * 0.4202 = 0.5825; upper bound = 2 * 0.6931 = 1.3863; score = 0.4202
    "the dog" has neither word: 0
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from ksdk_rerank._arguments import number
from ksdk_rerank._text.words import terms_of
from ksdk_rerank.base import ScoringReranker
from ksdk_rerank.concurrency.worker import Worker
from ksdk_rerank.scores import ScoreKind, Scores

__all__ = ["LexicalReranker"]

_worker = Worker("ksdk-rerank-lexical")


class LexicalReranker(ScoringReranker):
    """BM25 over the candidates: query words that are rare among them count most.

    It needs no model, so it serves as a baseline, as the cheap stage of a `Cascade`, and as a fallback. It does not
    recognise synonyms; for that, use a cross-encoder. Matching ignores case. Korean and scripts without spaces (such as
    Chinese, Japanese and Thai) are matched by single characters and character pairs.

    It does not improve a first stage that uses word statistics of the whole collection. The most important words occur
    in all candidates, so they count for little here. After BM25 over the collection, nDCG@10 falls from
    .506 to .307 on TREC DL 2019, and by .013 to .075 on six other collections (`benchmarks/quality.py lexical`,
    2026-11-23).

    Args:
        k1: how quickly repeated words stop adding to the score; Lucene's default.
        b: how strongly long documents are penalised, from 0 (not at all) to 1; Lucene's default.

    `raw_score` is the BM25 sum. `score` is that sum divided by its upper bound, the sum of the query words' idf.
    """

    score_kind = ScoreKind.BOUNDED

    def __init__(self, *, k1: float = 1.2, b: float = 0.75) -> None:
        k1, b = number("k1", k1), number("b", b)
        if not (math.isfinite(k1) and k1 >= 0):
            raise ValueError(f"k1 must be a finite number of at least 0, got {k1!r}")
        if not 0 <= b <= 1:
            raise ValueError(f"b must be between 0 and 1, got {b!r}")
        self.k1 = k1
        self.b = b

    @property
    def name(self) -> str:
        return "lexical"

    def score(self, query: str, documents: Sequence[str]) -> Scores:
        terms = [terms_of(document) for document in documents]
        asked = Counter(terms_of(query))
        mean_length = sum(map(len, terms)) / len(terms) or 1.0
        counts = [Counter(document) for document in terms]
        weights = {term: n * _idf(sum(term in count for count in counts), len(counts)) for term, n in asked.items()}
        raw = []
        for count, document in zip(counts, terms, strict=True):
            norm = self.k1 * (1 - self.b + self.b * len(document) / mean_length)
            raw.append(sum(weights[term] * count[term] / (count[term] + norm) for term in weights if term in count))
        return Scores(raw, upper_bound=sum(weights.values()))

    async def ascore(self, query: str, documents: Sequence[str]) -> Scores:
        return await _worker.arun(lambda: self.score(query, documents))


def _idf(documents_with_term: int, documents: int) -> float:
    return math.log(1 + (documents - documents_with_term + 0.5) / (documents_with_term + 0.5))
