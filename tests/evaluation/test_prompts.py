"""How short a prompt can be, and what a score means: sums worked by hand, and the recommendation tried out."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

pytest.importorskip("ir_measures")

from ksdk_rerank import Calibrated, Fallback, SearchHit
from ksdk_rerank.errors import ServerError
from ksdk_rerank.evaluation import EvaluatedReranker, Evaluation, PromptSizes, evaluate
from ksdk_rerank.evaluation.advice import arguments

Factory = Callable[[str, Callable[[str, Sequence[str]], Sequence[float]]], Any]

# Documents are named by their score and have as many words as tokens.
QUERIES = {"q1": "first", "q2": "second"}
TEXTS = {"q1": {"0.9": 100, "0.6": 200, "0.3": 300}, "q2": {"0.8": 50, "0.5": 50, "0.2": 300}}
CANDIDATES = {
    query: [SearchHit(f"{query} {score}", f"{score} " * words) for score, words in reversed(texts.items())]
    for query, texts in TEXTS.items()
}
GRADES = {"q1": {"q1 0.6": 1}, "q2": {"q2 0.8": 1, "q2 0.2": 1}}


def words(text: str) -> int:
    return len(text.split())


def by_name(query: str, documents: Sequence[str]) -> list[float]:
    """The logit of the score in each document's text."""
    return [math.log(score / (1 - score)) for document in documents for score in (float(document.split()[0]),)]


def evaluated(scripted: Factory, grades: Mapping[str, Mapping[str, int]] = GRADES, **options: Any) -> Evaluation:
    options = {"count_tokens": words, **options}
    return evaluate([scripted("named", by_name)], QUERIES, CANDIDATES, grades, ["MRR@10"], **options)


def sizes(row: EvaluatedReranker) -> PromptSizes:
    assert row.prompts is not None
    return row.prompts


def test_each_cut_has_the_answers_and_tokens_worked_by_hand(scripted: Factory) -> None:
    prompts = sizes(evaluated(scripted).rerankers[0])
    # Answers: the second of q1, and the first and third of q2. Tokens: 100 200 300, and 50 50 300.
    assert (prompts.uncut.kept, prompts.uncut.tokens, prompts.uncut.documents) == (1.0, 500.0, 3.0)
    by_top_n = [(cut.top_n, cut.kept, cut.tokens, cut.documents) for cut in prompts.by_top_n]
    assert by_top_n == [(1, 0.25, 75.0, 1.0), (2, 0.75, 200.0, 2.0), (3, 1.0, 500.0, 3.0)]
    by_score = {cut.min_score: (cut.kept, cut.tokens) for cut in prompts.by_min_score}
    assert by_score == {
        0.2: (1.0, 500.0),
        0.3: (0.75, 350.0),
        0.5: (0.75, 200.0),
        0.6: (0.75, 175.0),
        0.8: (0.25, 75.0),
        0.899: (0.0, 50.0),  # the sigmoid of the logit of 0.9 is a little less, and is rounded down
    }
    # A quarter of all draws of two questions lie at either end: q1 twice, q2 twice.
    assert prompts.by_top_n[0].kept_interval == (0.0, 0.5)
    assert prompts.by_top_n[0].tokens_interval == (50.0, 100.0)


@pytest.mark.parametrize(
    ("keep", "expected"),
    [
        (0.75, "min_score=0.6, top_n=None"),  # 300 + 50 tokens; top_n=2 sends 300 + 100
        (0.76, "min_score=None, top_n=None"),  # the last answer is the last of all
        (0.25, "min_score=None, top_n=1"),  # as few tokens as min_score=0.8
    ],
)
def test_the_smallest_prompt_keeps_the_share_that_is_asked_for(scripted: Factory, keep: float, expected: str) -> None:
    smallest = sizes(evaluated(scripted, keep_answers=keep).rerankers[0]).smallest
    assert arguments(smallest) == expected
    assert smallest.kept >= keep


def test_the_recommended_arguments_do_in_rank_what_was_measured(scripted: Factory) -> None:
    chance = random.Random(0)
    queries = {f"q{n}": f"query {n}" for n in range(30)}
    candidates, grades = {}, {}
    for id in queries:
        scores = [round(chance.betavariate(0.5, 1.5), 6) for _ in range(12)]
        candidates[id] = [SearchHit(f"{n}", f"{score:.6f} " * chance.randint(1, 9)) for n, score in enumerate(scores)]
        grades[id] = {f"{n}": int(chance.random() < score) for n, score in enumerate(scores)} | {"0": 1}

    def knows(query: str, documents: Sequence[str]) -> list[float]:
        return [float(document.split()[0]) * 20 - 10 for document in documents]

    reranker = scripted("knows", knows)
    result = evaluate([reranker], queries, candidates, grades, ["MRR@10"], count_tokens=words, resamples=50)
    prompts = sizes(result.rerankers[0])

    def tried(min_score: float | None, top_n: int | None) -> tuple[float, float]:
        kept = tokens = 0.0
        for id, query in queries.items():
            texts = [hit.text for hit in candidates[id]]
            cut = reranker.rank(query, texts, min_score=min_score, top_n=top_n)
            kept += sum(grades[id][f"{hit.index}"] for hit in cut) / sum(grades[id].values())
            tokens += sum(words(hit.document) for hit in cut)
        return kept / len(queries), tokens / len(queries)

    smallest = prompts.smallest
    assert smallest.tokens < prompts.uncut.tokens
    for cut in (smallest, *prompts.by_min_score[::9], *prompts.by_top_n[::5]):
        assert tried(cut.min_score, cut.top_n) == pytest.approx((cut.kept, cut.tokens))
    thresholds = [None, *(cut.min_score for cut in prompts.by_min_score)]
    others = [tried(threshold, top_n) for threshold in thresholds for top_n in (None, 2, 4, 6, 8, 10)]
    assert smallest.kept >= 0.95
    assert smallest.tokens <= min(tokens for kept, tokens in others if kept >= 0.95)


def test_an_answer_with_several_sections_is_kept_by_the_first(scripted: Factory) -> None:
    hits = [SearchHit(f"{n}", f"{score} text", source=f"keys.md#{n}") for n, score in enumerate((0.2, 0.8))]
    result = evaluate([scripted("named", by_name)], {"q": "query"}, {"q": hits}, {"q": ["keys"]}, ["P@1"])
    assert sizes(result.rerankers[0]).by_top_n[0].kept == 1.0
    assert arguments(sizes(result.rerankers[0]).smallest) == "min_score=None, top_n=1"


def test_lists_without_scores_are_cut_by_top_n_alone(scripted: Factory) -> None:
    result = evaluate(["input-order"], QUERIES, CANDIDATES, GRADES, ["MRR@10"], keep_answers=0.5, count_tokens=words)
    for row in (result.first_stage, *result.rerankers):
        assert sizes(row).by_min_score == ()
        assert (arguments(sizes(row).smallest), sizes(row).smallest.tokens) == ("min_score=None, top_n=2", 425.0)
        assert (row.bins, row.calibration) == ((), None)


def test_no_relevant_candidate_for_what_was_answered_means_no_prompt(scripted: Factory) -> None:
    def fails_on_second(query: str, documents: Sequence[str]) -> list[float]:
        if query == "second":
            raise RuntimeError("no")
        return by_name(query, documents)

    grades = {"q1": {"elsewhere": 1}, "q2": {"q2 0.8": 1}}
    result = evaluate([scripted("fails", fails_on_second)], QUERIES, CANDIDATES, grades, ["MRR@10"])
    assert result.rerankers[0].prompts is None
    assert result.first_stage.prompts is not None
    assert "fails: 1 failed" in result.table()


def test_the_text_and_the_json_say_it_in_one_sentence_and_one_line_to_paste(scripted: Factory) -> None:
    result = evaluated(scripted, keep_answers=0.75, price=4, confidence=0.9)
    sentence = (
        "named: 175 of 500 tokens per question keep 75 % (50 % to 100 %) of the answers, and save 325,000 tokens per"
        " 1,000 questions, which cost 1.30"
    )
    lines = result.table().splitlines()
    assert lines[-5:] == [
        "Smallest prompts that keep 75 % of the answers in the whole list:",
        "first stage: 425 of 500 tokens per question keep 75 % (50 % to 100 %) of the answers, and save 75,000 tokens"
        " per 1,000 questions, which cost 0.30",
        "    min_score=None, top_n=2",
        sentence,
        "    min_score=0.6, top_n=None",
    ]
    written = json.loads(result.to_json())
    assert (written["keep_answers"], written["price"], written["tokens_estimated"]) == (0.75, 4, False)
    prompts = written["rerankers"][0]["prompts"]
    assert (prompts["advice"], prompts["arguments"]) == (sentence, "min_score=0.6, top_n=None")
    assert prompts["saved_tokens_per_1000_queries"] == 325_000
    assert prompts["saved_cost_per_1000_queries"] == pytest.approx(1.3)
    assert len(prompts["by_min_score"]) == 6
    everything = evaluated(scripted, keep_answers=1).table().splitlines()
    assert everything[-2] == "named: needs the whole list, 500 tokens per question"


def test_tokens_are_estimated_unless_counted_and_that_is_told(scripted: Factory) -> None:
    result = evaluated(scripted, count_tokens=None)
    assert result.tokens_estimated
    assert "in the whole list, tokens estimated:" in result.table()
    assert sizes(result.rerankers[0]).uncut.tokens == 500.0  # "0.9 " is four ASCII characters
    with pytest.raises(ValueError, match="the result of count_tokens must be at least 0 tokens, got -1"):
        evaluated(scripted, count_tokens=lambda text: -1)


def test_a_share_or_price_out_of_range_is_refused(scripted: Factory) -> None:
    for keep in (0, 1.1, math.nan):
        with pytest.raises(ValueError, match=r"keep_answers must be above 0 and at most 1, .*; 0.95 keeps 95 %"):
            evaluated(scripted, keep_answers=keep)
    for price in (-1, math.inf, math.nan):
        with pytest.raises(ValueError, match=r"price must be at least 0 and finite, .* a million tokens"):
            evaluated(scripted, price=price)


def test_scores_are_binned_and_fitted_to_shares(scripted: Factory) -> None:
    # 40 documents scored 0.9, of which 10 are relevant, and 40 scored 0.25, of which 2 are.
    hits = [SearchHit(f"{n}", f"{0.9 if n < 40 else 0.25} {n}") for n in range(80)]
    grades = {f"{n}": 1 for n in (*range(10), 40, 41)}
    reranker = scripted("named", by_name)
    row = evaluate([reranker], {"q": "query"}, {"q": hits}, {"q": grades}, ["P@1"]).rerankers[0]
    assert row.calibration is not None
    bins = [(each.low, each.high, each.documents, each.relevant) for each in row.bins]
    assert bins == [(0.2, 0.3, 40, 0.05), (0.9, 1.0, 40, 0.25)]
    # With Platt's targets, 13/14 and 1/70: 10/40 * 13/14 + 30/40 / 70 = 0.243, and 0.060.
    low, high = row.calibration.bins
    assert (low.relevant, high.relevant) == (0.05, 0.25)
    assert (low.score, high.score) == pytest.approx((0.060, 0.243), abs=1e-3)
    fitted = Calibrated(reranker, slope=row.calibration.slope, intercept=row.calibration.intercept)
    assert fitted.rank("query", ["0.9 x"])[0].score == pytest.approx(high.score)


def test_what_another_reranker_scored_is_not_fitted(scripted: Factory) -> None:
    def down(query: str, documents: Sequence[str]) -> list[float]:
        raise ServerError("down", service="acme", status=503)

    fallback = Fallback([scripted("down", down), scripted("named", by_name)])
    row = evaluate([fallback], QUERIES, CANDIDATES, GRADES, ["MRR@10"]).rerankers[0]
    assert (row.fallbacks, row.bins, row.calibration) == (2, (), None)
    assert row.prompts is not None
