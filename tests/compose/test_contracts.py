"""Every wrapper keeps the contract of what it wraps.

`rank` and `arank` are the base class's own everywhere, so one leaf and one wrapper run the whole `RerankerContract`.
`test_properties.py` has what holds of any nesting, with all their options.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from ksdk_rerank import InputOrder, LexicalReranker, Reranker, ScoreKind, Scores, ScoringReranker
from ksdk_rerank.compose.cached import Cached
from ksdk_rerank.compose.calibrated import Calibrated
from ksdk_rerank.compose.cascade import Cascade
from ksdk_rerank.compose.deduplicated import Deduplicated
from ksdk_rerank.compose.fusion import Fusion
from ksdk_rerank.compose.long_documents import LongDocuments
from ksdk_rerank.compose.passages import Passages
from ksdk_rerank.testing.contract import RerankerContract, SubclassContract


class Overlap(ScoringReranker):
    """The share of the query's words that are in a document."""

    score_kind = ScoreKind.UNIT
    pointwise = True
    name = "overlap"

    def score(self, query: str, documents: Sequence[str]) -> Scores:
        words = set(re.findall(r"\w+", query.casefold()))
        found = [words & set(re.findall(r"\w+", document.casefold())) for document in documents]
        return Scores([len(some) / max(1, len(words)) for some in found], usage={"documents": len(documents)})

    async def ascore(self, query: str, documents: Sequence[str]) -> Scores:
        return self.score(query, documents)


class TestOverlap(RerankerContract):
    @pytest.fixture
    def reranker(self) -> Reranker:
        return Overlap()


class TestCascade(SubclassContract):
    listwise = True

    @pytest.fixture
    def reranker(self) -> Reranker:
        return Cascade("lexical", Overlap(), keep=2)


class TestFusion(SubclassContract):
    listwise = True

    @pytest.fixture
    def reranker(self) -> Reranker:
        return Fusion(["lexical", Overlap(), InputOrder()], k=10, weights=[1.0, 2.0, 0.5])


class TestDeduplicated(SubclassContract):
    @pytest.fixture
    def reranker(self) -> Reranker:
        return Deduplicated(Overlap(), by="near", threshold=0.7)


class TestLongDocuments(SubclassContract):
    @pytest.fixture
    def reranker(self) -> Reranker:
        return LongDocuments(Overlap(), window=6, stride=2, pool="mean")


class TestPassages(RerankerContract):
    @pytest.fixture
    def reranker(self) -> Reranker:
        return Passages(Overlap(), max_tokens_per_document=10)


class TestCachedByDocument(SubclassContract):
    @pytest.fixture
    def reranker(self) -> Reranker:
        return Cached(Overlap(), max_entries=8, ttl=60)


class TestCachedByList(SubclassContract):
    listwise = True

    @pytest.fixture
    def reranker(self) -> Reranker:
        return Cached(LexicalReranker())


class TestCachedInAStore(SubclassContract):
    @pytest.fixture
    def reranker(self) -> Reranker:
        return Cached(Overlap(), store=dict[str, str]())


class TestCalibrated(SubclassContract):
    @pytest.fixture
    def reranker(self) -> Reranker:
        return Calibrated(Overlap(), slope=0.5, intercept=-2.0)


class TestAllOfThem(RerankerContract):
    listwise = True

    @pytest.fixture
    def reranker(self) -> Reranker:
        dear = LongDocuments(Cached(Overlap()), window=30)
        return Cached(Deduplicated(Cascade("lexical", Fusion([dear, InputOrder()]), keep=3), by="near"))
