"""Computes `ir-measures` metrics (https://ir-measur.es) for each query's order."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ksdk_rerank.errors import MissingExtra
from ksdk_rerank.evaluation.metric_names import parsed

if TYPE_CHECKING:
    from ksdk_rerank.evaluation.qrels import QueryJudgements

__all__ = ["Measure", "measure_for"]

Measure = Callable[[Mapping[str, Sequence[int]]], dict[str, dict[str, float]]]
"""Takes an order of candidates (their positions, best first) for each query id; returns {query id: {metric: value}}."""

_Grades = dict[str, dict[str, int]]

_LEVELS = 1_000_000
"""The highest grade passed to trec_eval, which allocates eight bytes for each grade up to the highest
(form_res_rels.c)."""

_LEVELS_OF_NDCG = 10_000
"""The same for nDCG, whose time grows with the square of the highest grade: .05 s per query at this limit, minutes at
a million."""

_HIGHEST_OF_GDEVAL = 4
"""MAX_JUDGMENT in gdeval.pl, https://trec.nist.gov/data/web/10/gdeval.pl, read 2026-11-26 as in ir-measures 0.4.3."""

_TINY_GRADES: _Grades = {"0": {"a": 2, "b": 0, "c": 1}, "1": {"d": 1}, "2": {"e": 0}, "3": {"f": 1}}
_TINY_RUN: _Grades = {"0": {"a": 0, "x": -1, "b": -2}, "1": {"x": 0}, "2": {"e": 0, "x": -1}, "3": {}}


def measure_for(metrics: Sequence[str], judgements: Mapping[str, QueryJudgements]) -> Measure:
    """A function that computes `metrics` for orders of the candidates of the queries in `judgements`.

    `metrics` are `ir-measures` names, such as `"nDCG@10"`, `"MRR@10"` (the mean of its `RR@10`), `"P@1"`, `"R@5"`,
    `"AP"` or `"Success@5"`. nDCG has linear gains, as in trec_eval. Parameters are checked first, because trec_eval's C
    code aborts the process on a bad one. Each metric is then tried on a tiny example.

    Only the order matters. trec_eval would break ties in scores by document id, so it gets ranks instead of scores.

    Raises:
        MissingExtra: `ir-measures` is not installed.
        ValueError: a metric does not exist, cannot be computed here, or is named twice.
    """
    try:
        import ir_measures
    except ImportError as error:
        raise MissingExtra.of("evaluate", "evaluate()") from error
    measures = _measures(metrics, ir_measures)
    for name, measure in measures.items():
        _values(name, _evaluator(name, measure, _TINY_GRADES, ir_measures), _TINY_RUN)
    # Generated ids, because the metrics' C code may not expect everything that a user's id can contain.
    queries = {query: str(number) for number, query in enumerate(judgements)}
    ids = {
        query: {name: f"judged-{number}" for number, name in enumerate(judged.qrels)}
        for query, judged in judgements.items()
    }
    qrels = {
        queries[query]: {ids[query][name]: grade for name, grade in judged.qrels.items()}
        for query, judged in judgements.items()
    }
    # One evaluator per metric: in a shared one, ir-measures lets one metric's gains or level leak into another.
    evaluators = {name: _evaluator(name, measure, qrels, ir_measures) for name, measure in measures.items()}

    def measured(orders: Mapping[str, Sequence[int]]) -> dict[str, dict[str, float]]:
        run = {}
        for query, judged in judgements.items():
            names = judged.credited(orders.get(query, ()))
            run[queries[query]] = {
                f"other-{rank}" if name is None else ids[query][name]: -rank for rank, name in enumerate(names)
            }
        values = {name: _values(name, evaluator, run) for name, evaluator in evaluators.items()}
        return {query: {name: of.get(queries[query], 0.0) for name, of in values.items()} for query in orders}

    return measured


def _evaluator(name: str, measure: Any, qrels: _Grades, ir_measures: Any) -> Any:
    """The evaluator for `measure`; a one-line `ValueError` if there is none."""
    gains = measure.params.get("gains")
    if gains is not None:  # applied here, so that the gains can be scaled
        measure = type(measure)(**{key: value for key, value in measure.params.items() if key != "gains"})
        qrels = {query: {id: gains.get(grade, grade) for id, grade in of.items()} for query, of in qrels.items()}
    if measure.NAME == "ERR" or measure.params.get("dcg") == "exp-log2":
        highest = max((grade for of in qrels.values() for grade in of.values()), default=0)
        if highest > _HIGHEST_OF_GDEVAL:
            raise ValueError(
                f"the metric {name} accepts grades up to {_HIGHEST_OF_GDEVAL}, but one of yours is {highest};"
                " use another metric, such as nDCG@10"
            )
    try:
        return ir_measures.evaluator([measure], _scaled(measure, qrels))
    except Exception as error:  # ir-measures' providers may raise anything
        raise _impossible(name, error) from error


def _scaled(measure: Any, qrels: _Grades) -> _Grades:
    """`qrels` with grades small enough for trec_eval; the metrics stay the same to about four decimals.

    nDCG is a ratio, so all grades of a query are divided by the same number, and rounding affects only the fourth
    decimal. trec_eval's other metrics only test whether a grade is at least `rel`, so higher grades are capped.
    """
    if measure.NAME == "Compat":  # trec_eval does not compute this one
        return qrels
    scaled = {}
    for query, grades in qrels.items():
        highest = max(grades.values(), default=0)
        if measure.NAME == "nDCG" and highest > _LEVELS_OF_NDCG:
            scaled[query] = {
                id: max(round(grade / highest * _LEVELS_OF_NDCG), min(grade, 1)) for id, grade in grades.items()
            }
        else:
            scaled[query] = {id: min(grade, _LEVELS) for id, grade in grades.items()}
    return scaled


def _values(name: str, evaluator: Any, run: Mapping[str, Mapping[str, int]]) -> dict[str, float]:
    """The metric's value for each query; a one-line `ValueError` if it cannot be computed."""
    try:
        values = {metric.query_id: float(metric.value) for metric in evaluator.iter_calc(run)}
    except Exception as error:  # as above
        found = {query: ranks for query, ranks in run.items() if ranks}
        if isinstance(error, ZeroDivisionError) and len(found) < len(run):  # some divide by the document count
            return _values(name, evaluator, found)
        raise _impossible(name, error) from error
    return {query: value if math.isfinite(value) else 0.0 for query, value in values.items()}  # 0 / 0 counts as 0


def _impossible(name: str, error: Exception) -> ValueError:
    reason = " ".join(str(error).split())
    return ValueError(f"the metric {name} cannot be computed here ({type(error).__name__}: {reason:.300})")


def _measures(metrics: Sequence[str], ir_measures: Any) -> dict[str, Any]:
    """The `ir-measures` object for each of `metrics`, by the name given."""
    if isinstance(metrics, str):
        raise TypeError(f"metrics must be a sequence of names, got one string; write [{metrics!r}]")
    if not metrics:
        raise ValueError('metrics is empty; name at least one, such as "nDCG@10"')
    measures: dict[str, Any] = {}
    for name in metrics:
        measure = parsed(name, ir_measures)
        if twin := next((other for other, known in measures.items() if known == measure), None):
            raise ValueError(f"the metrics {twin} and {name} are the same; remove one")
        measures[name] = measure
    return measures
