"""`calibrated`: scores that are shares of relevant documents."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from ksdk_rerank import Calibrated, Reranker, ScoreKind, Scores, ScoringReranker, calibrated
from ksdk_rerank.compose._platt import fit

# Of a hundred documents scored 0.9, half are relevant; of a hundred scored 0.5, one in ten is.
TOO_SURE = [(0.9, n < 50) for n in range(100)] + [(0.5, n < 10) for n in range(100)]


class Written(ScoringReranker):
    """Scores a document by the number that it is."""

    score_kind = ScoreKind.UNIT
    name = "written"

    def score(self, query: str, documents: Sequence[str]) -> Scores:
        return Scores([float(document) for document in documents])

    async def ascore(self, query: str, documents: Sequence[str]) -> Scores:
        return self.score(query, documents)


def judgements(pairs: Sequence[tuple[float, bool]]) -> Mapping[str, Mapping[str, int]]:
    """One query for each pair, because a query's documents differ."""
    return {f"query {n}": {f"{score}": int(relevant)} for n, (score, relevant) in enumerate(pairs)}


def test_a_score_becomes_the_share_of_relevant_documents(call: Callable[..., Any]) -> None:
    reranker = calibrated(Written(), judgements(TOO_SURE))
    ranking = call(reranker.rank, "q", ["0.5", "0.9", " "])
    # Platt's targets, 61/62 and 1/142, move the shares a little: 0.5 * 61/62 + 0.5/142 = 0.495, and 0.105.
    assert [hit.score for hit in ranking] == [pytest.approx(0.4955, abs=1e-4), pytest.approx(0.1047, abs=1e-4), None]
    assert [(hit.index, hit.raw_score) for hit in ranking] == [(1, 0.9), (0, 0.5), (2, None)]
    assert ranking.reranked_by == reranker.name == "calibrated(written)"
    assert [hit.index for hit in call(reranker.rank, "q", ["0.5", "0.9"], min_score=0.2)] == [1]


def test_the_fit_finds_the_numbers_that_made_the_judgements() -> None:
    chance = random.Random(0)
    logits = [chance.gauss(-1, 3) for _ in range(20_000)]
    drawn = [(1 / (1 + math.exp(-x)), chance.random() < 1 / (1 + math.exp(2 - 0.6 * x))) for x in logits]
    assert fit(drawn) == pytest.approx((0.6, -2.0), abs=0.05)


def test_perfectly_separated_scores_give_finite_numbers() -> None:
    slope, intercept = fit([(0.0, False), (0.2, False), (0.7, True), (1.0, True)])
    assert 0 < slope < 10
    assert abs(intercept) < 10


def test_documents_below_zero_are_not_judged() -> None:
    graded = {**judgements(TOO_SURE), "more": {"0.9": -1, "0.95": -1}}
    assert repr(calibrated(Written(), graded)) == repr(calibrated(Written(), judgements(TOO_SURE)))


@pytest.mark.parametrize(
    ("reranker", "pairs", "message"),
    [
        (Written(), [(0.9, True)], "got 1 relevant and 0 not relevant; judge what a search returns"),
        ("input-order", TOO_SURE, "scored documents of both kinds, got 0 relevant"),
        (Written(), [(0.9, False), (0.1, True)], "not higher than those of 1 others"),
        (Written(), [(0.4, True), (0.4, False)], "not higher than those of 1 others"),
        (Written(), [(0.7312666217932412, True)] * 2 + [(0.7312666217932412, False)], "not higher than those of 1 "),
    ],
)
def test_judgements_that_tell_nothing_are_refused(
    reranker: str | Reranker, pairs: Sequence[tuple[float, bool]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        calibrated(reranker, judgements(pairs))


def test_other_forms_and_numbers_are_refused() -> None:
    for wrong in (["0.9"], {"query": ["0.9"]}):
        with pytest.raises(TypeError, match="judgements must be a mapping, "):
            calibrated("lexical", wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="the grade of 'text' must be a number, got 'yes'; write 1"):
        calibrated("lexical", {"query": {"text": "yes"}})  # type: ignore[dict-item]
    for slope, intercept in ((0.0, 0.0), (-1.0, 0.0), (math.inf, 0.0), (math.nan, 0.0), (1.0, math.nan)):
        with pytest.raises(ValueError, match=r"finite, got .*; calibrated\(\) finds it"):
            Calibrated("lexical", slope=slope, intercept=intercept)
