"""Metrics by `ir-measures` (https://ir-measur.es): how good an order is, query by query."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ksdk_rerank.errors import MissingExtra

if TYPE_CHECKING:
    from ksdk_rerank.evaluation.judgements import Judged

__all__ = ["Measure", "measure_for"]

Measure = Callable[[Sequence[Sequence[int]]], list[dict[str, float]]]
"""One order (positions of candidates, best first) a query in; {metric: value} a query out."""


def measure_for(metrics: Sequence[str], judgements: Sequence[Judged]) -> Measure:
    """A function that measures orders of the candidates of as many queries as there are `judgements`.

    `metrics` are names of `ir-measures`, such as `"nDCG@10"`, `"MRR@10"` (the mean of its `RR@10`), `"P@1"`, `"R@5"`,
    `"AP"` or `"Success@5"`. nDCG has linear gains, as in trec_eval.

    Only the order decides: trec_eval would break ties of scores by the documents' ids, so it is given ranks instead.

    Raises:
        MissingExtra: `ir-measures` is not installed.
        ValueError: there is no such metric, or one is named twice.
    """
    try:
        import ir_measures
    except ImportError as error:
        raise MissingExtra.of("evaluate", "evaluate()") from error
    measures = _measures(metrics, ir_measures)
    # Ids of our own, so that none can hold anything that the metrics' code in C does not expect.
    ids = [{name: f"judged-{number}" for number, name in enumerate(judged.qrels)} for judged in judgements]
    qrels = {
        str(query): {ids[query][name]: grade for name, grade in judged.qrels.items()}
        for query, judged in enumerate(judgements)
    }
    evaluator = ir_measures.evaluator(list(measures), qrels)

    def measured(orders: Sequence[Sequence[int]]) -> list[dict[str, float]]:
        run = {}
        for query, (judged, order) in enumerate(zip(judgements, orders, strict=True)):
            names = judged.run(order)
            run[str(query)] = {
                f"other-{rank}" if name is None else ids[query][name]: -rank for rank, name in enumerate(names)
            }
        values = [dict.fromkeys(measures.values(), 0.0) for _ in judgements]
        for metric in evaluator.iter_calc(run):
            values[int(metric.query_id)][measures[metric.measure]] = float(metric.value)
        return values

    return measured


def _measures(metrics: Sequence[str], ir_measures: Any) -> dict[Any, str]:
    """`ir-measures`' own object for each of `metrics`, and the name it was asked for by."""
    if isinstance(metrics, str):
        raise TypeError(f"metrics must be a sequence of names, got one string; write [{metrics!r}]")
    if not metrics:
        raise ValueError('metrics is empty; name at least one, such as "nDCG@10"')
    measures: dict[Any, str] = {}
    for name in metrics:
        try:
            measure = ir_measures.parse_measure(name)
            measure.validate_params()
        except (NameError, ValueError, AssertionError, SyntaxError, TypeError) as error:
            raise ValueError(
                f"no metric is called {name!r}; use one of https://ir-measur.es, such as nDCG@10, MRR@10, P@1, R@5"
            ) from error
        if measure in measures:
            raise ValueError(f"the metrics {measures[measure]} and {name} are the same; leave one out")
        measures[measure] = name
    return measures
