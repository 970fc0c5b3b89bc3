"""An `Evaluation` as one HTML page that works offline. The template and its parts are in the folder `report`."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections import Counter
from dataclasses import asdict
from importlib.resources import files
from typing import Any

from ksdk_rerank._fingerprint import LIBRARY
from ksdk_rerank.evaluation.advice import arguments, heading
from ksdk_rerank.evaluation.measurements import EvaluatedReranker, Measurements, PromptSize, PromptSizes, ScoreBin
from ksdk_rerank.evaluation.tables import as_table, summary
from ksdk_rerank.knowledgesdk.search_results import SearchHit

__all__ = ["as_html"]

_SCRIPTS = ("drawing.js", "overview.js", "prompts.js", "reliability.js", "questions.js", "candidates.js", "page.js")
_LONGEST_TEXT = 2000  # characters of each document shown on the page
_MOST_DETAILED = 300  # questions shown with their candidates; the page has the numbers for all questions
_IN_SCRIPT = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"})


def as_html(evaluation: Measurements, title: str) -> str:
    """Render the page. Outside data is escaped or embedded as JSON, and is displayed as text only.

    The page's Content-Security-Policy allows its own script and style by hash. So nothing else runs or loads, even if
    the escaping missed something.
    """
    folder = files(__package__) / "report"
    style = (folder / "report.css").read_text(encoding="utf-8")
    parts = "\n".join((folder / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    script = f'\n(() => {{\n"use strict";\n{parts}}})();\n'
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; img-src data:;"
        " base-uri 'none'; form-action 'none'"
    )
    filled = {
        "policy": policy,
        "title": html.escape(title),
        "style": style,
        "table": html.escape(as_table(evaluation)),
        "library": html.escape(LIBRARY),
        "data": json.dumps(_data(evaluation)).translate(_IN_SCRIPT),
        "script": script,
    }
    page = (folder / "report.html").read_text(encoding="utf-8")
    pieces = page.split("%%")  # text, name, text, name, ...: inserted values are not searched for names again
    return "".join(filled[piece] if place % 2 else piece for place, piece in enumerate(pieces))


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _data(evaluation: Measurements) -> dict[str, Any]:
    documents: dict[tuple[str, str | None, str | None, str], int] = {}
    detailed = _most_telling(evaluation)
    queries = []
    for query in evaluation.queries:
        first = evaluation.first_stage.queries[query.id]
        ranked = [row.queries.get(query.id) for row in evaluation.rerankers]
        about: dict[str, Any] = {
            "id": query.id,
            "text": query.text,
            "values": [
                None if one is None else [_short(one.values[metric]) for metric in evaluation.metrics]
                for one in (first, *ranked)
            ],
            "detailed": query.id in detailed,
        }
        if about["detailed"]:
            about |= {
                "documents": [documents.setdefault(_document(hit), len(documents)) for hit in query.candidates],
                "scores": [_short(score) for score in first.scores],
                "grades": query.grades,
                "missed": query.missed,
                "orders": [None if one is None else one.indices for one in ranked],
                "reranked": [None if one is None else [_short(score) for score in one.scores] for one in ranked],
            }
        queries.append(about)
    return {
        "metrics": evaluation.metrics,
        "confidence": f"{100 * evaluation.confidence:.4g}\u00a0%",
        "summary": summary(evaluation),
        "keep": evaluation.keep_answers,
        "price": evaluation.price,
        "prompts": heading(evaluation),
        "rows": [_row(row) for row in (evaluation.first_stage, *evaluation.rerankers)],
        "queries": queries,
        "documents": [
            {"id": id, "title": title, "source": source, "text": text} for id, title, source, text in documents
        ],
        "skippedQueries": [[reason, count] for reason, count in Counter(evaluation.skipped_queries.values()).items()],
    }


def _most_telling(evaluation: Measurements) -> set[str]:
    """The questions shown with their candidates: all, or those whose leading metric changes most."""

    def gap(id: str) -> float:
        first = evaluation.first_stage.queries[id].values[evaluation.metrics[0]]
        values = [row.queries[id].values[evaluation.metrics[0]] for row in evaluation.rerankers if id in row.queries]
        return max((abs(value - first) for value in values), default=0.0)

    ids = [query.id for query in evaluation.queries]
    return set(sorted(ids, key=gap, reverse=True)[:_MOST_DETAILED])


def _document(hit: SearchHit) -> tuple[str, str | None, str | None, str]:
    text = hit.text if len(hit.text) <= _LONGEST_TEXT else hit.text[:_LONGEST_TEXT] + " ..."
    return hit.id, hit.title, hit.source, text


def _row(row: EvaluatedReranker) -> dict[str, Any]:
    return {
        "name": row.name,
        "metrics": [asdict(compared) for compared in row.metrics.values()],
        **(asdict(row.latency) if row.latency else dict.fromkeys(("p50", "p95", "first"))),
        "answered": len(row.queries),
        "failure": row.failure,
        "failed": len(row.failures),
        "skipped": row.skipped,
        "fallbacks": row.fallbacks,
        "truncated": row.truncated,
        "usage": list(row.usage.items()),
        "prompts": row.prompts and _prompts(row.prompts),
        "bins": [_bin(each) for each in row.bins],
        "calibration": row.calibration
        and {
            "slope": row.calibration.slope,
            "intercept": row.calibration.intercept,
            "bins": [_bin(each) for each in row.calibration.bins],
        },
    }


def _prompts(prompts: PromptSizes) -> dict[str, Any]:
    return {
        "uncut": _size(prompts.uncut),
        "smallest": _size(prompts.smallest),
        "byScore": [_size(size) for size in prompts.by_min_score],
        "byCount": [_size(size) for size in prompts.by_top_n],
    }


def _size(size: PromptSize) -> dict[str, Any]:
    return {
        "arguments": arguments(size),
        "minScore": size.min_score,
        "topN": size.top_n,
        "kept": _short(size.kept),
        "interval": size.kept_interval and [_short(end) for end in size.kept_interval],
        "tokens": _short(size.tokens),
        "documents": _short(size.documents),
    }


def _bin(each: ScoreBin) -> list[float | None]:
    return [each.low, each.high, each.documents, _short(each.score), _short(each.relevant)]


def _short(number: float | None) -> float | None:
    return None if number is None else round(number, 6)
