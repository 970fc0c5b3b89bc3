"""`Cascade`: cheap over all, dear over the best."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from ksdk_rerank import InputOrder, LexicalReranker, Ranked, ScoreKind, Scores, ScoringReranker
from ksdk_rerank.compose.cascade import Cascade
from ksdk_rerank.compose.deduplicated import Deduplicated
from ksdk_rerank.compose.fallback import Fallback
from ksdk_rerank.errors import RateLimited, RerankError

Call = Callable[..., Any]


class Table(ScoringReranker):
    """Looks scores up by text, and notes what it was asked."""

    score_kind = ScoreKind.UNIT

    def __init__(self, scores: Mapping[str, float], label: str = "table", truncated: int = 0) -> None:
        self.scores = scores
        self.label = label
        self.truncated = truncated
        self.asked: list[list[str]] = []
        self.closed = 0

    @property
    def name(self) -> str:
        return self.label

    def score(self, query: str, documents: Sequence[str]) -> Scores:
        self.asked.append(list(documents))
        return Scores([self.scores[text] for text in documents], usage={"units": 1}, truncated=self.truncated)

    async def ascore(self, query: str, documents: Sequence[str]) -> Scores:
        return self.score(query, documents)

    def close(self) -> None:
        self.closed += 1


CHEAP = {"a": 0.1, "b": 0.9, "c": 0.5, "d": 0.7, "e": 0.3}
DEAR = {"a": 0.99, "b": 0.2, "c": 0.8, "d": 0.6, "e": 0.95}


def test_cascade_keeps_the_tail_in_first_stage_order_without_scores(call: Call) -> None:
    ranking = call(Cascade(Table(CHEAP), Table(DEAR), keep=2).rank, "q", list("abcde"))
    # cheap order: b d c e a; the best two, b and d, again by the dear one: d 0.6, b 0.2; then c e a as they were
    assert ranking.results == (
        Ranked(3, "d", 0.6, 0.6),
        Ranked(1, "b", 0.2, 0.2),
        Ranked(2, "c"),
        Ranked(4, "e"),
        Ranked(0, "a"),
    )


def test_only_the_best_go_to_the_second_stage_in_input_order(call: Call) -> None:
    second = Table(DEAR)
    call(Cascade(Table(CHEAP), second, keep=3).rank, "q", list("abcde"))
    assert second.asked == [["b", "c", "d"]]


def test_ties_of_the_second_stage_stay_in_input_order(call: Call) -> None:
    second = Table(dict.fromkeys("abcde", 0.5))
    ranking = call(Cascade(Table(CHEAP), second, keep=3).rank, "q", list("abcde"))
    assert ranking.indices == (1, 2, 3, 4, 0)


def test_min_score_returns_nothing_that_the_second_stage_has_not_read(call: Call) -> None:
    ranking = call(Cascade(Table(CHEAP), Table(DEAR), keep=2).rank, "q", list("abcde"), min_score=0.5)
    assert ranking.indices == (3,)


def test_a_leaf_is_not_asked_where_its_order_cannot_matter(call: Call) -> None:
    first = Table(CHEAP)
    ranking = call(Cascade(first, Table(DEAR), keep=5).rank, "q", list("abcde"))
    assert first.asked == []
    assert ranking.indices == (0, 4, 2, 3, 1)
    assert ranking.usage == {"units": 1}
    assert ranking.reranked_by == "cascade(table, table)"


def test_a_first_stage_that_may_leave_documents_out_is_always_asked(call: Call) -> None:
    ranking = call(Cascade(Deduplicated(InputOrder()), Table(DEAR), keep=5).rank, "q", ["a", "b", "A"])
    assert ranking.indices == (0, 1)
    assert ranking.duplicates == {2: 0}


def test_what_both_stages_leave_out_is_named_with_what_remains(call: Call) -> None:
    first = Deduplicated("lexical", by="text")
    second = Deduplicated("lexical", by="near", threshold=0.5)
    documents = ["one two three four five", "One two three four", "ONE two three FOUR", "six seven"]
    # 2 equals 1 but for case; of the 3 sequences of three words in 0 two are in 1: 2/3; so 2 repeats 1 repeats 0
    ranking = call(Cascade(first, second, keep=3).rank, "six", documents)
    assert ranking.indices == (3, 0)
    assert ranking.duplicates == {2: 0, 1: 0}


def test_usage_is_the_sum_and_truncated_the_larger_count_of_both_stages(call: Call) -> None:
    cascade = Cascade(Table(CHEAP, truncated=3), Table(DEAR, truncated=2), keep=2)
    ranking = call(cascade.rank, "q", list("abcde"))
    assert ranking.usage == {"units": 2}
    assert ranking.truncated == 3


def test_reranked_by_names_those_that_answered_and_failures_those_that_did_not(call: Call) -> None:
    class Limited(Table):
        def score(self, query: str, documents: Sequence[str]) -> Scores:
            raise RateLimited("too many requests; wait a second")

    cascade = Cascade("lexical", Fallback([Limited(DEAR, "limited"), Table(DEAR, "spare")]), keep=2)
    ranking = call(cascade.rank, "q", list("abcde"))
    assert cascade.name == "cascade(lexical, fallback(limited, spare))"
    assert ranking.reranked_by == "cascade(lexical, spare)"
    assert [failure.reranker for failure in ranking.failures] == ["limited"]


def test_an_error_of_a_stage_is_raised(call: Call) -> None:
    class Broken(Table):
        def score(self, query: str, documents: Sequence[str]) -> Scores:
            raise RerankError("the model is broken; load another")

    with pytest.raises(RerankError, match="load another"):
        call(Cascade(Broken(CHEAP), Table(DEAR), keep=2).rank, "q", list("abcde"))
    with pytest.raises(RerankError, match="load another"):
        call(Cascade(Table(CHEAP), Broken(DEAR), keep=2).rank, "q", list("abcde"))


def test_closing_closes_both_stages_even_if_one_cannot(call: Call) -> None:
    class Stuck(Table):
        def close(self) -> None:
            raise OSError("stuck")

    first = Table(CHEAP)
    with pytest.raises(OSError, match="stuck"):
        call(Cascade(first, Stuck(DEAR)).close)
    assert first.closed == 1


def test_repr_shows_the_stages_and_what_differs_from_the_default() -> None:
    cascade = Cascade("lexical", LexicalReranker(k1=2.0), keep=5)
    assert repr(cascade) == "Cascade(first=LexicalReranker(), second=LexicalReranker(k1=2.0), keep=5)"
    assert "keep" not in repr(Cascade("lexical", "lexical"))


def test_a_keep_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="number of documents for the second stage"):
        Cascade("lexical", "lexical", keep=0)
    with pytest.raises(TypeError):
        Cascade("lexical", "lexical", keep=2.5)  # type: ignore[arg-type]
