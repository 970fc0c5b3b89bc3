"""`evaluate`: sums worked by hand, and what happens at the edges."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest

pytest.importorskip("ir_measures")

from ksdk_rerank import LexicalReranker, Reranker, Scores, SearchHit, load_reranker
from ksdk_rerank.compose.fallback import Fallback
from ksdk_rerank.errors import (
    InferenceFailed,
    InvalidEnvironment,
    MissingExtra,
    QuotaExceeded,
    RateLimited,
    ServerError,
    Unauthorized,
    UnsupportedModel,
)
from ksdk_rerank.evaluation import Evaluation, Latency, contenders, evaluate
from ksdk_rerank.evaluation.bootstrap import intervals

Factory = Callable[[str, Callable[[str, Sequence[str]], Sequence[float]]], Any]

QUERIES = {"q1": "first", "q2": "second"}
CANDIDATES = {
    "q1": [SearchHit("a", "text a", score=3.0), SearchHit("b", "text b"), SearchHit("c", "text c")],
    "q2": [SearchHit("d", "text d"), SearchHit("e", "text e")],
}
GRADES = {"q1": {"b": 1}, "q2": {"d": 2, "x": 1}}  # x was not found


def reverse(query: str, documents: Sequence[str]) -> list[float]:
    return [float(position) for position in range(len(documents))]


def fail(error: Exception, *queries: str) -> Callable[[str, Sequence[str]], list[float]]:
    def answer(query: str, documents: Sequence[str]) -> list[float]:
        if not queries or query in queries:
            raise error
        return reverse(query, documents)

    return answer


def without_times(evaluation: Evaluation) -> Any:
    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: strip(v) for k, v in value.items() if k not in ("seconds", "latency")}
        return [strip(item) for item in value] if isinstance(value, list) else value

    return strip(json.loads(evaluation.to_json()))


def test_the_metrics_are_those_worked_by_hand(scripted: Factory) -> None:
    result = evaluate([scripted("reverse", reverse)], QUERIES, CANDIDATES, GRADES)
    # q1, first stage a b c, b relevant: RR 1/2, DCG 1/log2(3), ideal 1. Reversed, c b a: the same.
    # q2, first stage d e, d of grade 2 and x (missed) of 1: RR 1, DCG 2, ideal 2 + 1/log2(3). Reversed: RR 1/2, DCG
    # 2/log2(3).
    second = 1 / math.log2(3)
    ideal = 2 + second
    first, row = result.first_stage, result.rerankers[0]
    assert first.queries["q1"].values == pytest.approx({"nDCG@10": second, "MRR@10": 0.5, "P@1": 0.0, "R@5": 1.0})
    assert first.queries["q2"].values == pytest.approx({"nDCG@10": 2 / ideal, "MRR@10": 1.0, "P@1": 1.0, "R@5": 0.5})
    assert row.queries["q1"].values == pytest.approx(first.queries["q1"].values)
    assert row.queries["q2"].values == pytest.approx(
        {"nDCG@10": 2 * second / ideal, "MRR@10": 0.5, "P@1": 0.0, "R@5": 0.5}
    )
    compared = row.metrics["MRR@10"]
    assert (compared.value, compared.first_stage, compared.difference) == (0.5, 0.75, -0.25)
    assert (compared.wins, compared.losses, compared.ties) == (0, 1, 1)
    assert compared.interval == (-0.5, 0.0)  # a quarter of all draws lie at either end
    assert row.queries["q2"].indices == (1, 0)
    assert row.usage == {"total_tokens": 20.0}
    assert [query.grades for query in result.queries] == [(0, 1, 0), (2, 0)]
    assert result.queries[1].missed == ("x",)


def test_metrics_know_which_documents_are_judged_to_be_irrelevant(scripted: Factory) -> None:
    # First stage a b c: a is judged irrelevant, b relevant, c not judged. Reversed: c b a.
    # bpref of one relevant and one irrelevant document: 1 where the relevant one comes first, else 0.
    result = evaluate(
        [scripted("reverse", reverse)],
        {"q1": "first"},
        {"q1": CANDIDATES["q1"]},
        {"q1": {"a": 0, "b": 1}},
        ["Judged@2", "Bpref", "RR"],
    )
    assert result.first_stage.queries["q1"].values == {"Judged@2": 1.0, "Bpref": 0.0, "RR": 0.5}
    assert result.rerankers[0].queries["q1"].values == {"Judged@2": 0.5, "Bpref": 1.0, "RR": 0.5}
    assert (result.queries[0].grades, result.queries[0].missed) == ((0, 1, 0), ())


def test_an_answer_counts_once_whatever_the_number_of_its_sections(scripted: Factory) -> None:
    candidates = {"q1": [SearchHit(str(n), f"t{n}", source=s) for n, s in enumerate(["b.md", "a.md#1", "a.md#2"])]}
    result = evaluate([scripted("r", reverse)], {"q1": "q"}, candidates, {"q1": ["a"]}, ["R@1", "R@5", "nDCG@10"])
    assert result.first_stage.queries["q1"].values == pytest.approx({"R@1": 0, "R@5": 1, "nDCG@10": 1 / math.log2(3)})
    assert result.rerankers[0].queries["q1"].values == pytest.approx({"R@1": 1, "R@5": 1, "nDCG@10": 1})


def test_equal_scores_keep_the_first_stage_order_whatever_the_ids(scripted: Factory) -> None:
    for ids in (["a", "z"], ["z", "a"]):  # trec_eval alone would put z first
        candidates = {"q": [SearchHit(id, f"t{id}") for id in ids]}
        result = evaluate([scripted("same", lambda _, d: [0.0] * len(d))], {"q": "q"}, candidates, {"q": {ids[0]: 1}})
        assert result.rerankers[0].metrics["P@1"].value == 1.0


def test_titles_are_read_above_the_text_unless_told_otherwise(scripted: Factory) -> None:
    read: list[Sequence[str]] = []

    def listen(query: str, documents: Sequence[str]) -> list[float]:
        read.append(documents)
        return [0.0] * len(documents)

    candidates = {"q": [SearchHit("1", "text", title="Title"), SearchHit("2", "bare")]}
    for titles in (True, False):
        evaluate([scripted("r", listen)], {"q": "q"}, candidates, {"q": ["1"]}, titles=titles)
    assert read == [["Title\ntext", "bare"], ["text", "bare"]]


def test_the_same_input_gives_the_same_numbers(scripted: Factory) -> None:
    queries = {f"q{n}": f"query {n}" for n in range(12)}
    candidates = {id: [SearchHit(f"{id}-{n}", f"text {id} {n}") for n in range(5)] for id in queries}
    judgements = {id: {f"{id}-{n % 5}": 1} for n, id in enumerate(queries)}
    results = [evaluate([scripted("r", reverse)], queries, candidates, judgements, resamples=200) for _ in range(2)]
    assert without_times(results[0]) == without_times(results[1])
    other = evaluate([scripted("r", reverse)], queries, candidates, judgements, resamples=200, seed=1)
    assert other.rerankers[0].metrics["MRR@10"].interval != results[0].rerankers[0].metrics["MRR@10"].interval


def test_a_clear_gain_has_an_interval_above_zero(scripted: Factory) -> None:
    queries = {f"q{n}": f"query {n}" for n in range(20)}
    candidates = {id: [SearchHit(f"{id}-{n}", f"text {id} {n}") for n in range(3)] for id in queries}
    result = evaluate([scripted("r", reverse)], queries, candidates, {id: [f"{id}-2"] for id in queries})
    interval = result.rerankers[0].metrics["nDCG@10"].interval
    assert interval == pytest.approx((0.5, 0.5))  # from 1/log2(4) to 1, every time


def test_one_query_has_no_interval(scripted: Factory) -> None:
    result = evaluate([scripted("r", reverse)], {"q1": "q"}, {"q1": CANDIDATES["q1"]}, {"q1": ["b"]})
    assert result.rerankers[0].metrics["P@1"].interval is None
    assert "1 query, 3 candidates" in result.table()
    alone = evaluate([scripted("r", reverse)], {"q": "q"}, {"q": [SearchHit("a", "t")]}, {"q": ["a"]})
    assert alone.table().startswith("1 query, 1 candidate at most; ")
    assert intervals([], confidence=0.95, resamples=10, seed=0) == []


def test_a_query_with_nothing_relevant_is_left_out_and_not_asked(scripted: Factory) -> None:
    reranker = scripted("r", reverse)
    queries = {**QUERIES, "q3": "third", "q4": "fourth", "q5": "fifth"}
    grades = {**GRADES, "q3": {"a": 0}, "q4": {}}
    result = evaluate([reranker], queries, {**CANDIDATES, "q3": CANDIDATES["q1"]}, grades)
    assert result.skipped_queries == {"q3": "nothing is relevant", "q4": "not judged", "q5": "not judged"}
    assert reranker.asked == ["first", "second"]
    assert "left out, not judged: q4, q5 (2)" in result.table()


def test_a_query_without_candidates_scores_0_and_is_not_asked(scripted: Factory) -> None:
    reranker = scripted("r", reverse)
    result = evaluate([reranker], QUERIES, {"q1": CANDIDATES["q1"]}, GRADES)
    assert result.first_stage.metrics["MRR@10"].value == 0.25
    assert result.rerankers[0].queries["q2"].values["nDCG@10"] == 0.0
    assert reranker.asked == ["first"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"judgements": {}}, "no query has a relevant document"),
        ({"judgements": {"q1": {"b": 0}}}, "no query has a relevant document"),
        ({"candidates": {}}, "no judged query has candidates"),
        ({"judgements": {**GRADES, "q9": {"a": 1}}}, "judgements: the query 'q9' is not among the queries; use"),
        ({"candidates": {**CANDIDATES, "q8": [], "q9": []}}, r"candidates: the query 'q8' is not .* \(and 1 more\)"),
        ({"candidates": {"q1": [SearchHit("a", "t")] * 2}}, "'q1' has the candidate 'a' twice; remove one"),
        ({"queries": {**QUERIES, "q3": " "}}, "the query 'q3' is blank"),
        ({"metrics": ["nDCG@ten"]}, "unknown metric 'nDCG@ten'.* such as nDCG@10"),
        ({"metrics": ["P"]}, "the metric P needs a value for cutoff"),
        ({"metrics": []}, "metrics is empty"),
        ({"metrics": ["MRR@10", "RR@10"]}, "MRR@10 and RR@10 are the same"),
        ({"rerankers": []}, "no reranker to evaluate"),
        ({"rerankers": ["lexical", "lexical"]}, "lexical is listed twice; remove one"),
        ({"rerankers": ["nope"]}, "no reranker is called 'nope'"),
        ({"confidence": 95}, "confidence must be between 0 and 1"),
        ({"resamples": 0}, "resamples must be at least 1"),
    ],
)
def test_what_cannot_be_right_is_found_out_before_anything_is_asked(
    scripted: Factory, changed: dict[str, Any], message: str
) -> None:
    reranker = scripted("r", reverse)
    given: dict[str, Any] = {
        "rerankers": [reranker],
        "queries": QUERIES,
        "candidates": CANDIDATES,
        "judgements": GRADES,
    }
    with pytest.raises(ValueError, match=message):
        evaluate(**{**given, **changed})
    assert reranker.asked == []


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rerankers": "lexical"}, r"write \['lexical'\]"),
        ({"metrics": "P@1"}, r"write \['P@1'\]"),
        ({"judgements": {"q1": "b"}}, r"write \['b'\]"),
    ],
)
def test_one_text_where_several_belong_is_a_type_error(changed: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"rerankers": ["lexical"], "queries": QUERIES, "candidates": CANDIDATES}
    with pytest.raises(TypeError, match=message):
        evaluate(**{**given, "judgements": GRADES, **changed})


def test_a_reranker_that_fails_is_a_row_that_says_why(scripted: Factory) -> None:
    refused = scripted("refused", fail(Unauthorized("the key is wrong; copy it again")))
    broken = scripted("broken", fail(RuntimeError("boom")))
    result = evaluate([refused, "cohere:rerank-v3.5", broken, "lexical"], QUERIES, CANDIDATES, GRADES)
    row = {row.name: row for row in result.rerankers}
    assert row["refused"].failure == "Unauthorized: the key is wrong; copy it again"
    assert (row["refused"].metrics, row["refused"].latency, row["refused"].skipped) == ({}, None, 1)
    assert row["broken"].failure == "RuntimeError: boom"
    assert len(row["broken"].failures) == 2
    assert "no Cohere API key" in str(row["cohere:rerank-v3.5"].failure)
    assert row["lexical"].failure is None
    assert row["lexical"].metrics
    table = result.table()
    assert "refused: 1 failed, 1 skipped after that: Unauthorized: the key is wrong" in table
    assert json.loads(result.to_json())["rerankers"][0]["failures"]["q1"]["error"] == "Unauthorized"


def test_a_failure_of_one_query_compares_the_others_with_the_first_stage_on_the_same(scripted: Factory) -> None:
    reranker = scripted("r", fail(RateLimited("wait a little"), "first"))
    row = evaluate([reranker], QUERIES, CANDIDATES, GRADES).rerankers[0]
    assert list(row.failures) == ["q1"]
    assert (row.metrics["MRR@10"].value, row.metrics["MRR@10"].first_stage) == (0.5, 1.0)
    assert row.skipped == 0


def test_a_service_that_is_down_is_not_asked_on_and_on(scripted: Factory) -> None:
    queries = {f"q{n}": f"query {n}" for n in range(10)}
    candidates = {id: [SearchHit(id, f"text {id}")] for id in queries}
    reranker = scripted("r", fail(RateLimited("wait")))
    row = evaluate([reranker], queries, candidates, {id: [id] for id in queries}).rerankers[0]
    assert (len(reranker.asked), len(row.failures), row.skipped) == (3, 3, 7)


@pytest.mark.parametrize(
    ("error", "asked"),
    [
        (QuotaExceeded("pay first"), 1),
        (InvalidEnvironment("HTTPS_PROXY is malformed"), 1),
        (UnsupportedModel("two logits"), 1),
        (InferenceFailed("out of memory"), 4),
        (ServerError("down"), 4),
    ],
)
def test_what_no_other_query_would_mend_is_asked_once(scripted: Factory, error: Exception, asked: int) -> None:
    queries = {f"q{n}": f"query {n}" for n in range(4)}
    candidates = {id: [SearchHit(id, f"text {id}")] for id in queries}
    reranker = scripted("r", fail(error, "query 0", "query 2"))
    evaluate([reranker], queries, candidates, {id: [id] for id in queries})
    assert len(reranker.asked) == asked


def test_a_fallback_that_answers_is_counted(scripted: Factory) -> None:
    reranker = Fallback([scripted("down", fail(RateLimited("wait"))), LexicalReranker()])
    result = evaluate([reranker], QUERIES, CANDIDATES, GRADES)
    assert result.rerankers[0].fallbacks == 2
    assert "2 answered by a fallback" in result.table()


def test_rerankers_of_one_name_are_told_apart(scripted: Factory) -> None:
    names = [
        row.name for row in evaluate([LexicalReranker(), LexicalReranker(k1=2)], QUERIES, CANDIDATES, GRADES).rerankers
    ]
    assert names == ["LexicalReranker()", "LexicalReranker(k1=2)"]
    mine: dict[str, str | Reranker] = {"mine": LexicalReranker(), "yours": "input-order"}
    assert [row.name for row in evaluate(mine, QUERIES, CANDIDATES, GRADES).rerankers] == ["mine", "yours"]


def test_what_we_load_is_closed_and_what_is_given_is_left_open(
    scripted: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[str] = []
    monkeypatch.setattr(Reranker, "close", lambda self: closed.append(self.name))
    evaluate([scripted("given", reverse), "lexical"], QUERIES, CANDIDATES, GRADES)
    assert closed == ["lexical"]


@pytest.mark.parametrize(
    ("names", "changed"),
    [
        (["lexical", "nope"], {}),
        (["lexical", "input-order"], {"candidates": {}}),
        (["lexical", "input-order"], {"metrics": ["nope"]}),
        (["lexical", "input-order"], {"progress": lambda *_: sys.exit("interrupted")}),
    ],
)
def test_what_we_load_is_closed_whatever_fails(
    names: list[str], changed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[Reranker] = []
    closed: list[Reranker] = []

    def load(name: str) -> Reranker:
        loaded.append(load_reranker(name))
        return loaded[-1]

    monkeypatch.setattr(contenders, "load_reranker", load)
    monkeypatch.setattr(Reranker, "close", lambda self: closed.append(self))
    with pytest.raises((ValueError, SystemExit)):
        evaluate(**{"rerankers": names, "queries": QUERIES, "candidates": CANDIDATES, "judgements": GRADES, **changed})
    assert sorted(map(id, closed)) == sorted(map(id, loaded))


def test_times_leave_the_first_call_out() -> None:
    # of 1..20 the 10th and the 19th, by nearest rank
    assert Latency.of([float(n) for n in range(20, 0, -1)], 99.0) == Latency(10.0, 19.0, 99.0)
    assert Latency.of([], 2.0) == Latency(2.0, 2.0, 2.0)
    assert Latency.of([], None) is None


def test_the_first_call_is_the_first_that_is_made(scripted: Factory) -> None:
    queries = {"q0": "nothing is found", **QUERIES}
    row = evaluate([scripted("r", reverse)], queries, CANDIDATES, {"q0": {"z": 1}, **GRADES}).rerankers[0]
    assert row.latency is not None
    assert row.latency.first == row.queries["q1"].seconds
    assert row.latency.p50 == row.latency.p95 == row.queries["q2"].seconds


def test_the_interval_is_that_of_the_worked_example() -> None:
    assert intervals([[0.0, 1.0]], confidence=0.95, resamples=2000, seed=0) == [(0.0, 1.0)]
    assert intervals([[0.25] * 9, [0.0] * 9], confidence=0.9, resamples=50, seed=3) == [(0.25, 0.25), (0.0, 0.0)]


def test_progress_is_told_after_each_query(scripted: Factory) -> None:
    told: list[tuple[str, int, int]] = []
    evaluate(
        [scripted("r", reverse)],
        QUERIES,
        CANDIDATES,
        GRADES,
        progress=lambda name, done, of: told.append((name, done, of)),
    )
    assert told == [("r", 1, 2), ("r", 2, 2)]


def test_without_ir_measures_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ir_measures", None)
    with pytest.raises(MissingExtra, match=r'pip install "ksdk-rerank\[evaluate\]"'):
        evaluate(["lexical"], QUERIES, CANDIDATES, GRADES)


def test_scores_of_the_first_stage_may_be_of_any_kind(scripted: Factory) -> None:
    np = pytest.importorskip("numpy")
    hits = [SearchHit("a", "text a", score=np.float32(0.5)), SearchHit("b", "text b", score=math.nan)]
    result = evaluate([scripted("r", reverse)], {"q": "q"}, {"q": hits}, {"q": ["a"]})
    assert json.loads(result.to_json())["first_stage"]["queries"]["q"]["scores"] == [0.5, None]
    assert '"scores": [0.5, null]' in result.to_html()


def test_the_table_is_plain_text(scripted: Factory) -> None:
    lines = evaluate([scripted("reverse", reverse)], QUERIES, CANDIDATES, GRADES).table().splitlines()
    assert lines[0] == "2 queries, 3 candidates at most; difference: nDCG@10 against the first stage"
    assert lines[2].split()[:5] == ["reranker", "nDCG@10", "MRR@10", "P@1", "R@5"]
    assert lines[4].split() == ["first", "stage", "0.696", "0.750", "0.500", "0.750"]
    assert lines[5].split()[:6] == ["reverse", "0.555", "0.500", "0.000", "0.750", "-0.140"]
    assert "reverse: used 20 total_tokens" in lines


def test_large_sums_are_told_in_full(scripted: Factory) -> None:
    result = evaluate([scripted("r", reverse)], QUERIES, CANDIDATES, GRADES)
    row = dataclasses.replace(result.rerankers[0], usage={"total_tokens": 1234567.0, "search_units": 0.5})
    table = dataclasses.replace(result, rerankers=(row,)).table()
    assert "r: used 1,234,567 total_tokens, 0.5 search_units" in table.splitlines()


def test_what_a_service_says_does_not_steer_a_terminal(scripted: Factory) -> None:
    refused = scripted("re\x1b[2Jfused", fail(Unauthorized("wrong key\x1b]0;owned\x07, says the service")))
    table = evaluate([refused], QUERIES, CANDIDATES, GRADES).table()
    assert "\x1b" not in table
    assert "\x07" not in table
    assert "re [2Jfused" in table


class Instructed(LexicalReranker):
    """Stands in for a model with a prompt: reverses the candidates if told to."""

    def __init__(self, instruction: str | None = None) -> None:
        super().__init__()
        self.instruction = instruction

    def score(self, query: str, documents: Sequence[str]) -> Scores:
        return Scores([0.5] * len(documents) if self.instruction is None else reverse(query, documents), 9.0)


def test_two_instructions_of_one_model_are_two_rows_in_the_cache_too() -> None:
    store: dict[str, str] = {}
    for rerankers in (
        {"plain": Instructed(), "strict": Instructed("reverse")},
        {"plain": Instructed(), "strict": Instructed("reverse")},
    ):
        plain, strict = evaluate(rerankers, QUERIES, CANDIDATES, GRADES, store=store).rerankers
        assert (plain.queries["q2"].indices, strict.queries["q2"].indices) == ((0, 1), (1, 0))
    names = [row.name for row in evaluate([Instructed(), Instructed("a")], QUERIES, CANDIDATES, GRADES).rerankers]
    assert names == ["Instructed()", "Instructed(instruction='a')"]


def test_a_configuration_has_a_label_and_an_instruction_without_a_place_is_the_reason_of_a_row_without_numbers() -> (
    None
):
    pytest.importorskip("onnxruntime")
    config = {"class": "CrossEncoderReranker", "parameters": {"model": "embedded", "instruction": "Prefer news"}}
    [row] = evaluate({"strict": config}, QUERIES, CANDIDATES, GRADES).rerankers
    assert (row.name, row.metrics, row.skipped) == ("strict", {}, 1)
    assert "embedded has no place for one" in row.failures["q1"].message
