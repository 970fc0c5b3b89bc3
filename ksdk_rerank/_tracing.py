"""One OpenTelemetry span per call if OpenTelemetry is installed, otherwise a no-op.

Follows the proposal of a `rerank` operation for the GenAI semantic conventions
(https://github.com/open-telemetry/semantic-conventions-genai/issues/253, read 2026-11-23). But: only the highest and
the lowest score are recorded, and attributes that the conventions do not name are under `ksdk_rerank.`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

from ksdk_rerank.results import Failure, Ranking

try:  # here, so that the first call does not import it on the event loop
    from opentelemetry.trace import StatusCode, Tracer, get_tracer
except ImportError:
    get_tracer = None  # type: ignore[assignment]

__all__ = ["traced"]

_CAPTURE_TEXT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"  # the switch that GenAI instrumentations share


@contextmanager
def traced(
    model: str, query: str | None, candidates: int, top_n: int | None, instruction: str | None = None
) -> Iterator[Callable[[Ranking], None]]:
    """A span around one call. Pass its ranking to the function that this yields. `query` is None if there are several.

    Queries are recorded only on request, and documents never. An instruction is configuration, like the model.
    """
    tracer = _tracer()
    if tracer is None:
        yield _nothing
        return
    attributes: dict[str, str | int] = {
        "gen_ai.operation.name": "rerank",
        "gen_ai.request.model": model,
        "gen_ai.rerank.candidate.count": candidates,
    }
    if top_n is not None:
        attributes["gen_ai.rerank.top_n"] = top_n
    if instruction is not None:
        attributes["ksdk_rerank.instruction"] = instruction
    if query is not None and os.environ.get(_CAPTURE_TEXT, "").lower() in ("true", "1"):
        attributes["gen_ai.rerank.query.text"] = query
    with tracer.start_as_current_span(
        f"rerank {model}", attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield lambda ranking: span.set_attributes(_outcome(ranking))
        except BaseException as error:  # its message may quote a text, so only its class is recorded
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(StatusCode.ERROR)
            raise


@cache
def _tracer() -> Tracer | None:
    return None if get_tracer is None else get_tracer("ksdk_rerank")


def _nothing(ranking: Ranking) -> None:
    """Records nothing: OpenTelemetry is not installed."""


def _outcome(ranking: Ranking) -> dict[str, str | int | float]:
    scores = [ranked.score for ranked in ranking if ranked.score is not None]
    outcome: dict[str, str | int | float] = {
        "gen_ai.response.model": ranking.reranked_by,
        "ksdk_rerank.results": len(ranking),
        "ksdk_rerank.truncated": ranking.truncated,
        "ksdk_rerank.query_truncated": ranking.query_truncated,
        **{f"gen_ai.usage.{unit}": amount for unit, amount in ranking.usage.items()},
    }
    if scores:
        outcome |= {"ksdk_rerank.score.highest": max(scores), "ksdk_rerank.score.lowest": min(scores)}
    if ranking.failures:
        outcome["ksdk_rerank.failures"] = "; ".join(map(_brief, ranking.failures))
    return outcome


def _brief(failure: Failure) -> str:
    return f"{failure.reranker}: {failure.error}{' (skipped)' if failure.skipped else ''}"
