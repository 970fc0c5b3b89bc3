"""`Fallback`: tries the next reranker when one fails."""

from __future__ import annotations

from collections.abc import Sequence

from ksdk_rerank._arguments import number
from ksdk_rerank.base import Reranker
from ksdk_rerank.compose._circuit_breaker import CircuitBreaker
from ksdk_rerank.compose._fallback_call import FallbackCall
from ksdk_rerank.compose._wrapper import Wrapper, loaded_members
from ksdk_rerank.results import Ranking

__all__ = ["Fallback"]


class Fallback(Wrapper):
    """Calls the first reranker, and the next one if that fails through no fault of the caller.

        Fallback([CohereReranker(), "cross-encoder/ms-marco-MiniLM-L-6-v2", "input-order"])

    Args:
        rerankers: rerankers or their names, the preferred one first. With `"input-order"` last, an outage costs you the
            ordering, never the documents.
        cool_down: seconds for which a reranker that is down is skipped. None or 0 calls it every time.

    It moves on after errors with `transient` set: timeouts, rate limits, used-up quotas, connection and server errors,
    malformed replies, and failures or overload of a local model. A wrong key, a wrong model or bad input is raised at
    once, whichever reranker comes next. So is anything that is not a `RerankError`. A cancelled call does not move on.

    A reranker counts as down after a used-up quota, a rate limit, any other error with a `retry_after`, or a timeout
    or failed connection while it answered no other call. It is then skipped for `cool_down` seconds, or for
    `retry_after` seconds, at most an hour, if the service sent that. After that, one call tries it while the others go
    on skipping it. If it answers, it is back; if it fails, it is skipped again. If no other reranker answers, a call
    also tries the skipped one whose cool-down ends first, rather than fail without trying. Each `Fallback` keeps this
    state in memory, for its own calls in this process. Copies, pickles and configurations contain only `cool_down`.

    The ranking comes from the reranker that answered. `reranked_by` is its name, and `failures` states why the others
    did not answer, with `skipped` set for those that were not called. Failures log a one-line warning to the logger
    `ksdk_rerank`, and skipping logs nothing. Scores are on that reranker's own scale; `min_score` is ignored if it
    gives none. If every reranker fails, the last error is raised, with the others as notes.

    Warming up moves on after the same errors: it warms up all rerankers, and logs which of them must wait for their
    first call. If none can be warmed up, the last error is raised, with the others as notes.

    Each reranker has its own deadline, so a call can take as long as all of them together. Give the first ones short
    timeouts.
    """

    def __init__(self, rerankers: Sequence[str | Reranker], *, cool_down: float | None = 30.0) -> None:
        self.rerankers = loaded_members(rerankers)
        self.cool_down = _checked_cool_down(cool_down)
        self._breakers = [CircuitBreaker(reranker, self.cool_down or 0.0) for reranker in self.rerankers]

    @property
    def name(self) -> str:
        return f"fallback({', '.join(reranker.name for reranker in self.rerankers)})"

    def identifying_parameters(self) -> dict[str, object]:
        return {"rerankers": self.rerankers}  # caches never keep a ranking for which it moved on

    def _rank(self, query: str, documents: Sequence[str]) -> Ranking:
        call = FallbackCall(self._breakers)
        for breaker in call.to_try():
            with call.trying(breaker):
                return call.finished(breaker.reranker.rank(query, documents))
        raise call.error()

    async def _arank(self, query: str, documents: Sequence[str]) -> Ranking:
        call = FallbackCall(self._breakers)
        for breaker in call.to_try():
            with call.trying(breaker):
                return call.finished(await breaker.reranker.arank(query, documents))
        raise call.error()

    def warm_up(self) -> None:
        call = FallbackCall(self._breakers)
        for breaker in self._breakers:
            with call.warming(breaker):
                breaker.reranker.warm_up()
        call.warmed()

    async def awarm_up(self) -> None:
        call = FallbackCall(self._breakers)
        for breaker in self._breakers:
            with call.warming(breaker):
                await breaker.reranker.awarm_up()
        call.warmed()


def _checked_cool_down(cool_down: object) -> float | None:
    if cool_down is None:
        return None
    seconds = number("cool_down", cool_down)
    if not 0 <= seconds < float("inf"):
        raise ValueError(
            f"cool_down must be a finite number of seconds, at least 0, got {cool_down!r}; None never skips"
        )
    return seconds
