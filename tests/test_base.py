"""`Reranker`: what every reranker does alike (promises 1, 2 and 5 of the design)."""

from __future__ import annotations

import asyncio
import json
import math
import pickle
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any, cast

import pytest

from ksdk_rerank import InputOrder, Ranked, Ranking, Reranker, ScoreKind, Scores, ScoringReranker
from ksdk_rerank.errors import BadReply

Call = Callable[..., Any]


class Fixed(ScoringReranker):
    """Gives the scores it was told, and notes what it was asked."""

    def __init__(self, raw: Sequence[Any], kind: ScoreKind = ScoreKind.LOGIT, upper_bound: float | None = None) -> None:
        self.raw = raw
        self.kind = kind
        self.upper_bound = upper_bound
        self.asked: list[tuple[str, list[str]]] = []

    @property
    def name(self) -> str:
        return "fixed"

    @property
    def score_kind(self) -> ScoreKind:  # type: ignore[override]
        return self.kind

    def score(self, query: str, documents: Sequence[str]) -> Scores:
        self.asked.append((query, list(documents)))
        return Scores(self.raw, self.upper_bound, usage={"tokens": 7}, truncated=1)

    async def ascore(self, query: str, documents: Sequence[str]) -> Scores:
        return self.score(query, documents)


def test_documents_come_best_first_with_their_index_text_and_both_scores(call: Call) -> None:
    ranking = call(Fixed([-1.0, 2.0]).rank, "q", ["poor", "good"])
    # sigmoid(2) = 1 / (1 + e^-2) = 0.880797, sigmoid(-1) = 1 / (1 + e) = 0.268941
    good, poor = cast("list[float]", [pytest.approx(score, abs=1e-6) for score in (0.880797, 0.268941)])
    assert ranking.results == (Ranked(1, "good", good, 2.0), Ranked(0, "poor", poor, -1.0))
    assert ranking.reranked_by == "fixed"
    assert ranking.usage == {"tokens": 7}
    assert ranking.truncated == 1


def test_a_ranking_is_a_sequence_of_ranked() -> None:
    ranking = Fixed([0.0, 1.0, 2.0]).rank("q", ["a", "b", "c"])
    assert len(ranking) == 3
    assert ranking[0].document == "c"
    assert [ranked.index for ranked in ranking[1:]] == [1, 0]
    assert ranking.indices == (2, 1, 0)
    assert ranking[0] in ranking


def test_the_details_of_a_ranking_are_all_but_its_documents() -> None:
    assert Fixed([1.0, 2.0]).rank("q", ["a", "b"]).details() == {
        "reranked_by": "fixed",
        "usage": {"tokens": 7},
        "truncated": 1,
        "failures": (),
        "duplicates": {},
        "query_truncated": False,
    }


def test_equal_scores_keep_the_input_order(call: Call) -> None:
    assert call(Fixed([1.0, 2.0, 1.0, 2.0]).rank, "q", list("abcd")).indices == (1, 3, 0, 2)


def test_order_is_by_raw_score_where_the_sigmoid_saturates() -> None:
    ranking = Fixed([800.0, 900.0, -900.0, -800.0]).rank("q", list("abcd"))
    assert ranking.indices == (1, 0, 3, 2)
    assert [ranked.score for ranked in ranking] == [1.0, 1.0, 0.0, 0.0]


def test_a_score_does_not_depend_on_the_other_candidates() -> None:
    alone = Fixed([0.3]).rank("q", ["a"])[0]
    among = Fixed([0.3, 9.0, -9.0]).rank("q", ["a", "b", "c"])[1]
    assert alone == among


def test_unit_scores_stay_and_what_rounding_adds_is_clipped_only_in_score() -> None:
    ranking = Fixed([0.25, 1.0005, -0.0005], ScoreKind.UNIT).rank("q", list("abc"))
    assert [(ranked.score, ranked.raw_score) for ranked in ranking] == [(1.0, 1.0005), (0.25, 0.25), (0.0, -0.0005)]


@pytest.mark.parametrize(
    ("kind", "raw", "said"),
    [
        (ScoreKind.UNIT, [7.7, 3.9, -2.3], r"the score 7\.7, which is outside \[0, 1\]"),
        (ScoreKind.UNIT, [0.5, 0.9, -2.3], r"the score -2\.3"),
        (ScoreKind.UNIT, [0.5, 1.002, 0.1], r"the score 1\.002"),
        (ScoreKind.UNIT, [0.5, 0.9, -0.2], r"the score -0\.2"),
        (ScoreKind.COSINE, [0.5, -0.9, -1.5], r"the score -1\.5, which is outside \[-1, 1\]"),
    ],
)
def test_scores_out_of_their_kind_s_range_are_a_bad_reply(
    call: Call, kind: ScoreKind, raw: list[float], said: str
) -> None:
    with pytest.raises(
        BadReply, match=f"fixed returned {said}.*; if it is a logit, set its score_kind to ScoreKind.LOGIT"
    ):
        call(Fixed(raw, kind).rank, "q", list("abc"))


def test_a_negative_cosine_orders_by_itself_and_scores_nothing() -> None:
    ranking = Fixed([-0.2, 0.3, -0.1], ScoreKind.COSINE).rank("q", list("abc"))
    assert [(ranked.index, ranked.score) for ranked in ranking] == [(1, 0.3), (2, 0.0), (0, 0.0)]


def test_bounded_scores_are_divided_by_their_bound() -> None:
    ranking = Fixed([3.0, 6.0], ScoreKind.BOUNDED, upper_bound=12.0).rank("q", list("ab"))
    assert [ranked.score for ranked in ranking] == [0.5, 0.25]


@pytest.mark.parametrize("kind", ["logit", None, ScoreKind])
def test_a_score_kind_of_another_type_is_refused_and_not_taken_for_a_score_in_the_range(call: Call, kind: Any) -> None:
    with pytest.raises(TypeError, match=r"score_kind must be .*ScoreKind\.LOGIT.*, got .*(logit|None|ScoreKind)"):
        call(Fixed([7.3, -2.0], kind).rank, "q", ["a", "b"])


@pytest.mark.parametrize("raw", [{0: 0.9, 1: 0.1}, {0.1, 0.9}, {0: 0.9, 1: 0.1}.keys()], ids=["dict", "set", "keys"])
def test_scores_that_have_no_order_are_a_bad_reply(call: Call, raw: Any) -> None:
    with pytest.raises(BadReply, match=r"fixed returned its scores in a .*; return a list, in the order of the docu"):
        call(Fixed(raw).rank, "q", ["a", "b"])


def test_scores_are_python_floats_that_json_can_write() -> None:
    numpy = pytest.importorskip("numpy")
    ranking = Fixed(numpy.array([0.5, 1.5], dtype=numpy.float32)).rank("q", ["a", "b"])
    assert {type(value) for ranked in ranking for value in (ranked.score, ranked.raw_score)} == {float}
    assert json.loads(json.dumps([ranked.score for ranked in ranking]))


def test_nothing_to_rank_asks_nobody(call: Call) -> None:
    reranker = Fixed([])
    assert call(reranker.rank, "q", []).results == ()
    assert call(reranker.rank, "q", ["", " \n"]).indices == (0, 1)
    assert reranker.asked == []


def test_blank_documents_are_not_sent_and_come_last_without_a_score(call: Call) -> None:
    reranker = Fixed([-5.0, 5.0])
    ranking = call(reranker.rank, "q", ["", "poor", "\t", "good"])
    assert reranker.asked == [("q", ["poor", "good"])]
    assert ranking.indices == (3, 1, 0, 2)
    assert [ranked.document for ranked in ranking] == ["good", "poor", "", "\t"]
    assert [ranked.score for ranked in ranking[2:]] == [None, None]


def test_the_inputs_are_not_changed(call: Call) -> None:
    documents = ["b", "", "a"]
    call(Fixed([1.0, 2.0]).rank, "q", documents, top_n=1)
    assert documents == ["b", "", "a"]


@pytest.mark.parametrize(("top_n", "expected"), [(None, 3), (1, 1), (3, 3), (99, 3)])
def test_top_n_cuts_and_none_means_all(call: Call, top_n: int | None, expected: int) -> None:
    assert len(call(Fixed([1.0, 2.0, 3.0]).rank, "q", list("abc"), top_n=top_n)) == expected


def test_min_score_is_applied_to_the_calibrated_score_before_top_n(call: Call) -> None:
    # sigmoid(-1) = 0.269, sigmoid(0) = 0.5, sigmoid(1) = 0.731
    reranker = Fixed([-1.0, 0.0, 1.0])
    assert call(reranker.rank, "q", list("abc"), min_score=0.5).indices == (2, 1)
    assert call(reranker.rank, "q", list("abc"), min_score=0.5, top_n=1).indices == (2,)
    assert call(reranker.rank, "q", ["a", "b", "", "c"], min_score=0.0).indices == (3, 1, 0)


def test_min_keep_keeps_the_best_below_min_score(call: Call) -> None:
    reranker = Fixed([-1.0, 0.0, 1.0])
    assert call(reranker.rank, "q", list("abc"), min_score=0.9, min_keep=2).indices == (2, 1)
    assert call(reranker.rank, "q", list("abc"), min_score=0.5, min_keep=1).indices == (2, 1)
    assert call(reranker.rank, "q", list("abc"), min_score=0.9, min_keep=9, top_n=1).indices == (2,)
    with pytest.raises(ValueError, match="min_keep must be at least 0"):
        call(reranker.rank, "q", ["a"], min_keep=-1)


def test_min_score_is_not_applied_to_a_ranking_without_scores(call: Call) -> None:
    ranking = call(InputOrder().rank, "q", ["a", "", "b"], min_score=0.9)
    assert ranking.indices == (0, 2, 1)
    assert {ranked.score for ranked in ranking} == {None}


@pytest.mark.parametrize("query", ["", " ", "\n\t"])
def test_a_blank_query_is_refused(call: Call, query: str) -> None:
    with pytest.raises(ValueError, match="pass a question or keywords"):
        call(InputOrder().rank, query, ["a"])


@pytest.mark.parametrize("top_n", [0, -1])
def test_a_top_n_below_one_is_refused(call: Call, top_n: int) -> None:
    with pytest.raises(ValueError, match=f"got {top_n}; use None to get every document back"):
        call(InputOrder().rank, "q", ["a"], top_n=top_n)


@pytest.mark.parametrize("min_score", [-0.1, 1.1, math.nan, math.inf])
def test_a_min_score_off_the_scale_is_refused(call: Call, min_score: float) -> None:
    with pytest.raises(ValueError, match=r"applies to Ranked\.score, not to raw_score"):
        call(InputOrder().rank, "q", ["a"], min_score=min_score)


@pytest.mark.parametrize(
    ("query", "documents", "message"),
    [
        ("q", "one string", "wrap it in a list"),
        ("q", b"bytes", "wrap it in a list"),
        ("q", ["a", None], r"documents\[1\] must be a string, got NoneType"),
        ("q", [["a"]], r"documents\[0\] must be a string, got list"),
        (None, ["a"], "query must be a string, got NoneType"),
    ],
)
def test_arguments_of_the_wrong_type_are_refused(call: Call, query: Any, documents: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        call(InputOrder().rank, query, documents)


@pytest.mark.parametrize("top_n", [True, 1.5, "3"])
def test_a_top_n_that_is_no_integer_is_refused(call: Call, top_n: Any) -> None:
    with pytest.raises(TypeError):
        call(InputOrder().rank, "q", ["a"], top_n=top_n)


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf, None, True, "0.5"])
def test_a_score_that_is_no_finite_number_is_a_bad_reply(call: Call, score: Any) -> None:
    with pytest.raises(BadReply, match=r"fixed scored documents\[1\] .*, which is not a finite number"):
        call(Fixed([0.5, score]).rank, "q", ["a", "b"])


@pytest.mark.parametrize("raw", [[0.1], [0.1, 0.2, 0.3]])
def test_too_few_or_too_many_scores_are_a_bad_reply(call: Call, raw: list[float]) -> None:
    with pytest.raises(BadReply, match=f"fixed returned {len(raw)} scores for 2 documents"):
        call(Fixed(raw).rank, "q", ["a", "b"])


@pytest.mark.parametrize("order", [(0,), (0, 0), (0, 1, 1), (0, 5), (-1, 0)])
def test_a_reranker_that_loses_or_repeats_documents_is_found_out(call: Call, order: tuple[int, ...]) -> None:
    class Careless(Reranker):
        name = "careless"

        def _rank(self, query: str, documents: Sequence[str]) -> Ranking:
            return Ranking(tuple(Ranked(index, "") for index in order), self.name)

        async def _arank(self, query: str, documents: Sequence[str]) -> Ranking:
            return self._rank(query, documents)

    with pytest.raises(BadReply, match="careless must return each of 2 documents once, but returned indices"):
        call(Careless().rank, "q", ["a", "b"])


def test_text_that_cannot_be_encoded_is_mended_for_the_model_and_given_back_as_it_was(call: Call) -> None:
    reranker = Fixed([1.0])
    document = "half \ud83d of a pair"
    assert call(reranker.rank, "q \ud83d\ude00", [document])[0].document == document
    query, documents = reranker.asked[0]
    assert query == "q \U0001f600"
    documents[0].encode()


def test_a_span_is_in_the_document_as_it_was_passed(call: Call) -> None:
    class Finding(Reranker):
        name = "finding"

        def _rank(self, query: str, documents: Sequence[str]) -> Ranking:
            at = documents[0].index("passage")
            return Ranking((Ranked(0, documents[0], spans=((at, at + 7),)),), self.name)

        async def _arank(self, query: str, documents: Sequence[str]) -> Ranking:
            return self._rank(query, documents)

    document = "\ud83d\ude00 \ud83d \ud83d\ude00 passage \ud83d\ude00"  # pairs, which the model reads as one character
    (ranked,) = call(Finding().rank, "q", [document])
    assert ranked.document == document
    assert document[slice(*ranked.span)] == "passage"


def test_the_model_never_sees_more_than_what_was_passed(call: Call) -> None:
    reranker = Fixed([1.0, 1.0])
    call(reranker.rank, "q", ("a", "b"))
    assert reranker.asked == [("q", ["a", "b"])]


def test_a_ranking_survives_pickle_and_deepcopy() -> None:
    ranking = Fixed([1.0, 2.0]).rank("q", ["a", "b"])
    assert pickle.loads(pickle.dumps(ranking)) == ranking
    assert deepcopy(ranking) == ranking


def test_input_order_keeps_the_order_and_invents_no_scores(call: Call) -> None:
    ranking = call(InputOrder().rank, "q", ["b", "a"])
    assert ranking.results == (Ranked(0, "b"), Ranked(1, "a"))


def test_with_blocks_close_the_reranker() -> None:
    class Closing(InputOrder):
        closed = 0

        def close(self) -> None:
            self.closed += 1

    with Closing() as reranker:
        assert reranker.closed == 0
    assert reranker.closed == 1

    async def main() -> None:
        async with reranker:
            pass

    asyncio.run(main())
    assert reranker.closed == 2


def test_the_repr_says_how_to_build_it() -> None:
    assert repr(InputOrder()) == "InputOrder()"
