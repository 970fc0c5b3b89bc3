"""An `Evaluation` as JSON, for scripts and dashboards."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from ksdk_rerank.evaluation.advice import advice, arguments, saved_cost
from ksdk_rerank.evaluation.measurements import EvaluatedReranker, Measurements

__all__ = ["as_json"]


def as_json(evaluation: Measurements) -> str:
    """All numbers and orders as one JSON object, with ids for documents."""
    candidates = {query.id: [hit.id for hit in query.candidates] for query in evaluation.queries}
    return json.dumps(
        {
            "metrics": evaluation.metrics,
            "confidence": evaluation.confidence,
            "keep_answers": evaluation.keep_answers,
            "price": evaluation.price,
            "tokens_estimated": evaluation.tokens_estimated,
            "first_stage": _row(evaluation, evaluation.first_stage, candidates),
            "rerankers": [_row(evaluation, row, candidates) for row in evaluation.rerankers],
            "queries": [
                {
                    "id": query.id,
                    "text": query.text,
                    "candidates": candidates[query.id],
                    "grades": query.grades,
                    "missed": query.missed,
                }
                for query in evaluation.queries
            ],
            "skipped_queries": evaluation.skipped_queries,
        },
        indent=1,
        default=dict,
    )


def _row(evaluation: Measurements, row: EvaluatedReranker, candidates: dict[str, list[str]]) -> dict[str, Any]:
    fields = dataclasses.asdict(row)
    for metric, compared in row.metrics.items():
        fields["metrics"][metric]["difference"] = compared.difference
    for query, ranked in row.queries.items():
        fields["queries"][query]["order"] = [candidates[query][index] for index in ranked.indices]
    if row.prompts is not None:
        fields["prompts"] |= {
            "advice": advice(evaluation, row),
            "arguments": arguments(row.prompts.smallest),
            "saved_tokens_per_1000_queries": 1000 * row.prompts.saved_tokens,
            "saved_cost_per_1000_queries": saved_cost(evaluation, row.prompts),
        }
    return fields
