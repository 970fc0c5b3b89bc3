"""Metrics by `ir-measures` (https://ir-measur.es): how good an order is, query by query."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ksdk_rerank.errors import MissingExtra
from ksdk_rerank.evaluation.measures import parsed

if TYPE_CHECKING:
    from ksdk_rerank.evaluation.qrels import Judged

__all__ = ["Measure", "measure_for"]

Measure = Callable[[Sequence[Sequence[int]]], list[dict[str, float]]]
"""One order (positions of candidates, best first) a query in; {metric: value} a query out."""

_Grades = dict[str, dict[str, int]]

_LEVELS = 1_000_000
"""The highest grade that trec_eval is given: it takes eight bytes for each one up to it (form_res_rels.c)."""

_LEVELS_OF_NDCG = 10_000
"""The same for nDCG, whose time grows with the square of it: .05 s a query at this one, minutes at a million."""

_HIGHEST_OF_GDEVAL = 4
"""MAX_JUDGMENT in gdeval.pl, https://trec.nist.gov/data/web/10/gdeval.pl, read 2026-11-26 as in ir-measures 0.4.3."""

_TINY_GRADES: _Grades = {"0": {"a": 2, "b": 0, "c": 1}, "1": {"d": 1}, "2": {"e": 0}, "3": {"f": 1}}
_TINY_RUN: _Grades = {"0": {"a": 0, "x": -1, "b": -2}, "1": {"x": 0}, "2": {"e": 0, "x": -1}, "3": {}}


def measure_for(metrics: Sequence[str], judgements: Sequence[Judged]) -> Measure:
    """A function that measures orders of the candidates of as many queries as there are `judgements`.

    `metrics` are names of `ir-measures`, such as `"nDCG@10"`, `"MRR@10"` (the mean of its `RR@10`), `"P@1"`, `"R@5"`,
    `"AP"` or `"Success@5"`. nDCG has linear gains, as in trec_eval. Each is tried on a tiny example first, with
    parameters that are known to be safe: the code in C ends the process when it dislikes one.

    Only the order decides: trec_eval would break ties of scores by the documents' ids, so it is given ranks instead.

    Raises:
        MissingExtra: `ir-measures` is not installed.
        ValueError: there is no such metric, it cannot be calculated here, or one is named twice.
    """
    try:
        import ir_measures
    except ImportError as error:
        raise MissingExtra.of("evaluate", "evaluate()") from error
    measures = _measures(metrics, ir_measures)
    for name, measure in measures.items():
        _values(name, _evaluator(name, measure, _TINY_GRADES, ir_measures), _TINY_RUN)
    # Ids of our own, so that none can hold anything that the metrics' code in C does not expect.
    ids = [{name: f"judged-{number}" for number, name in enumerate(judged.qrels)} for judged in judgements]
    qrels = {
        str(query): {ids[query][name]: grade for name, grade in judged.qrels.items()}
        for query, judged in enumerate(judgements)
    }
    # One evaluator for each: together, ir-measures lets the gains or the level of one slip into another.
    evaluators = {name: _evaluator(name, measure, qrels, ir_measures) for name, measure in measures.items()}

    def measured(orders: Sequence[Sequence[int]]) -> list[dict[str, float]]:
        run = {}
        for query, (judged, order) in enumerate(zip(judgements, orders, strict=True)):
            names = judged.run(order)
            run[str(query)] = {
                f"other-{rank}" if name is None else ids[query][name]: -rank for rank, name in enumerate(names)
            }
        values = {name: _values(name, evaluator, run) for name, evaluator in evaluators.items()}
        return [{name: of.get(str(query), 0.0) for name, of in values.items()} for query in range(len(judgements))]

    return measured


def _evaluator(name: str, measure: Any, qrels: _Grades, ir_measures: Any) -> Any:
    """What calculates `measure`; a `ValueError` in one line if nothing can."""
    gains = measure.params.get("gains")
    if gains is not None:  # applied here, so that the gains can be scaled
        measure = type(measure)(**{key: value for key, value in measure.params.items() if key != "gains"})
        qrels = {query: {id: gains.get(grade, grade) for id, grade in of.items()} for query, of in qrels.items()}
    if measure.NAME == "ERR" or measure.params.get("dcg") == "exp-log2":
        highest = max((grade for of in qrels.values() for grade in of.values()), default=0)
        if highest > _HIGHEST_OF_GDEVAL:
            raise ValueError(
                f"the metric {name} takes grades up to {_HIGHEST_OF_GDEVAL}, and one of yours is {highest};"
                " use another metric, such as nDCG@10"
            )
    try:
        return ir_measures.evaluator([measure], _scaled(measure, qrels))
    except Exception as error:  # of its providers, which raise what they like
        raise _impossible(name, error) from error


def _scaled(measure: Any, qrels: _Grades) -> _Grades:
    """`qrels` with grades that trec_eval can take, which change nothing that can be seen.

    nDCG is a ratio, so all gains of a query are divided alike, and what is lost is in the fourth decimal. All other
    metrics of trec_eval only ask whether a grade is at least `rel`.
    """
    return {query: _scaled_query(measure, of) for query, of in qrels.items()}


def _scaled_query(measure: Any, grades: Mapping[str, int]) -> dict[str, int]:
    highest = max(grades.values(), default=0)
    if measure.NAME == "nDCG" and highest > _LEVELS_OF_NDCG:
        return {id: max(round(grade / highest * _LEVELS_OF_NDCG), min(grade, 1)) for id, grade in grades.items()}
    if measure.NAME == "Compat":  # which is not trec_eval's
        return dict(grades)
    return {id: min(grade, _LEVELS) for id, grade in grades.items()}


def _values(name: str, evaluator: Any, run: Mapping[str, Mapping[str, int]]) -> dict[str, float]:
    """The value of each query; a `ValueError` in one line if there is none."""
    try:
        values = {metric.query_id: float(metric.value) for metric in evaluator.iter_calc(run)}
    except Exception as error:  # as above
        found = {query: ranks for query, ranks in run.items() if ranks}
        if isinstance(error, ZeroDivisionError) and len(found) < len(run):  # some divide by the number of documents
            return _values(name, evaluator, found)
        raise _impossible(name, error) from error
    return {query: value if math.isfinite(value) else 0.0 for query, value in values.items()}  # 0 of 0 is 0


def _impossible(name: str, error: Exception) -> ValueError:
    said = " ".join(str(error).split())
    return ValueError(f"the metric {name} cannot be calculated here ({type(error).__name__}: {said:.300})")


def _measures(metrics: Sequence[str], ir_measures: Any) -> dict[str, Any]:
    """`ir-measures`' own object for each of `metrics`, by the name it was asked for by."""
    if isinstance(metrics, str):
        raise TypeError(f"metrics must be a sequence of names, got one string; write [{metrics!r}]")
    if not metrics:
        raise ValueError('metrics is empty; name at least one, such as "nDCG@10"')
    measures: dict[str, Any] = {}
    for name in metrics:
        measure = parsed(name, ir_measures)
        if twin := next((other for other, known in measures.items() if known == measure), None):
            raise ValueError(f"the metrics {twin} and {name} are the same; leave one out")
        measures[name] = measure
    return measures
