"""What holds of any nesting of wrappers up to three deep."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from ksdk_rerank import InputOrder, LexicalReranker, Ranking, Reranker, ScoreKind, Scores, ScoringReranker
from ksdk_rerank.compose.cached import Cached
from ksdk_rerank.compose.calibrated import Calibrated
from ksdk_rerank.compose.cascade import Cascade
from ksdk_rerank.compose.deduplicated import Deduplicated
from ksdk_rerank.compose.fallback import Fallback
from ksdk_rerank.compose.fusion import Fusion
from ksdk_rerank.compose.long_documents import LongDocuments
from ksdk_rerank.compose.passages import Passages


class Overlap(ScoringReranker):
    """The share of the query's words that are in a document: coarse, so that there are ties."""

    score_kind = ScoreKind.UNIT
    pointwise = True

    @property
    def name(self) -> str:
        return "overlap"

    def score(self, query: str, documents: Sequence[str]) -> Scores:
        words = set(query.split())
        return Scores([len(words & set(re.findall(r"\w+", text))) / len(words) for text in documents])

    async def ascore(self, query: str, documents: Sequence[str]) -> Scores:
        await asyncio.sleep(0)
        return self.score(query, documents)


class Longest(Overlap):
    """Longer is better."""

    score_kind = ScoreKind.LOGIT

    @property
    def name(self) -> str:
        return "longest"

    def score(self, query: str, documents: Sequence[str]) -> Scores:
        return Scores([float(len(text)) - 20 for text in documents], truncated=len(documents) // 2)


LEAVES = st.sampled_from([LexicalReranker, InputOrder, Overlap, Longest]).map(lambda leaf: leaf())


def _wrapped(inner: st.SearchStrategy[Reranker]) -> st.SearchStrategy[Reranker]:
    some = st.lists(inner, min_size=1, max_size=3)
    small = st.integers(1, 4)
    return st.one_of(
        st.builds(Calibrated, inner, slope=st.floats(0.01, 10), intercept=st.floats(-9, 9)),
        st.builds(Cascade, inner, inner, keep=small),
        st.builds(Fusion, some, k=st.sampled_from([0, 1, 60])),
        st.builds(Deduplicated, inner, by=st.sampled_from(["text", "near"]), threshold=st.sampled_from([0.4, 0.8])),
        st.builds(LongDocuments, inner, window=st.integers(2, 8), pool=st.sampled_from(["max", "mean"]), k=small),
        st.builds(Cached, inner, max_entries=st.integers(1, 30), store=st.one_of(st.none(), st.builds(dict))),
        st.builds(Fallback, some),
        st.builds(Passages, inner, max_tokens_per_document=st.integers(1, 20)),
    )


def _nested(depth: int) -> st.SearchStrategy[Reranker]:
    return LEAVES if depth == 0 else st.one_of(_nested(depth - 1), _wrapped(_nested(depth - 1)))


RERANKERS = _wrapped(_nested(2))
WORD = st.sampled_from(["red", "fox", "Red", "dog", "runs", "far"])
SENTENCE = st.lists(WORD, min_size=1, max_size=5).map(lambda words: " ".join(words) + ". ")
DOCUMENT = st.one_of(
    SENTENCE, st.lists(SENTENCE, max_size=8).map("".join), st.sampled_from(["", " \n", "?", "狐。赤い狐。"])
)
DOCUMENTS = st.lists(DOCUMENT, max_size=7)


def _facts(ranking: Ranking) -> tuple[object, ...]:
    return ranking.results, dict(ranking.duplicates), ranking.reranked_by, ranking.failures


@given(reranker=RERANKERS, documents=DOCUMENTS, repeat=st.booleans())
@settings(max_examples=80, deadline=None)
def test_nothing_is_lost_and_the_order_is_by_score(reranker: Reranker, documents: list[str], repeat: bool) -> None:
    documents = documents * 2 if repeat else documents
    before = list(documents)
    ranking = reranker.rank("red fox", documents)
    assert documents == before

    assert sorted([*ranking.indices, *ranking.duplicates]) == list(range(len(documents)))
    assert set(ranking.duplicates.values()) <= set(ranking.indices)
    assert all(ranked.document == documents[ranked.index] for ranked in ranking)

    raw = [ranked.raw_score for ranked in ranking]
    scored = [(-value, ranked.index) for value, ranked in zip(raw, ranking, strict=True) if value is not None]
    assert scored == sorted(scored)
    assert all(value is None for value in raw[len(scored) :])
    scores = [ranked.score for ranked in ranking if ranked.score is not None]
    assert len(scores) == len(scored)
    assert scores == sorted(scores, reverse=True)
    assert all(0.0 <= score <= 1.0 for score in scores)

    blank = [index for index, document in enumerate(documents) if not document.strip()]
    assert list(ranking.indices[len(ranking) - len(blank) :]) == blank
    for ranked in ranking:
        assert all(ranked.document[start:end].strip() for start, end in ranked.spans)
    assert 0 <= ranking.truncated <= len(documents)


@given(reranker=RERANKERS, documents=DOCUMENTS)
@settings(max_examples=40, deadline=None)
def test_sync_and_async_agree_and_so_does_a_second_call(reranker: Reranker, documents: list[str]) -> None:
    async def twice() -> list[Ranking]:
        calls = await asyncio.gather(reranker.arank("red fox", documents), reranker.arank("red fox", documents))
        await reranker.aclose()
        return [*calls, await reranker.arank("red fox", documents)]

    first = _facts(reranker.rank("red fox", documents))
    assert _facts(reranker.rank("red fox", documents)) == first
    reranker.close()
    for ranking in asyncio.run(twice()):
        assert _facts(ranking) == first


@given(reranker=RERANKERS, documents=DOCUMENTS, top_n=st.integers(1, 9), min_score=st.sampled_from([None, 0.0, 0.6]))
@settings(max_examples=40, deadline=None)
def test_top_n_and_min_score_only_cut(
    reranker: Reranker, documents: list[str], top_n: int, min_score: float | None
) -> None:
    whole = reranker.rank("red fox", documents)
    expected = [
        ranked
        for ranked in whole
        if min_score is None
        or all(other.score is None for other in whole)
        or (ranked.score is not None and ranked.score >= min_score)
    ]
    assert list(reranker.rank("red fox", documents, top_n=top_n, min_score=min_score)) == expected[:top_n]
