"""`FallbackCall`: what one call of a `Fallback` knows of its rerankers."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from ksdk_rerank.compose._circuit_breaker import CircuitBreaker, brief
from ksdk_rerank.errors import RerankError
from ksdk_rerank.results import Failure, Ranking

__all__ = ["FallbackCall"]

_log = logging.getLogger("ksdk_rerank")


class FallbackCall:
    """One call or warm-up of a `Fallback`: which rerankers it tries, and why the others did not answer."""

    def __init__(self, breakers: Sequence[CircuitBreaker]) -> None:
        self._breakers = breakers
        self._failures: dict[CircuitBreaker, Failure] = {}
        self._warnings: list[str] = []
        self._last_error: tuple[CircuitBreaker, RerankError] | None = None

    def to_try(self) -> Iterator[CircuitBreaker]:
        """The rerankers to try, in order, as long as none answers."""
        for breaker in self._breakers:
            if failure := breaker.skipped():
                self._failures[breaker] = failure
            else:
                yield breaker
        skipped = [breaker for breaker, failure in self._failures.items() if failure.skipped]
        if skipped:
            soonest = min(skipped, key=lambda breaker: breaker.ends)
            del self._failures[soonest]
            yield soonest

    @contextmanager
    def trying(self, breaker: CircuitBreaker) -> Iterator[None]:
        """Around the call to one reranker: records a failure, or raises it if the next reranker must not hide it."""
        began = breaker.now()
        try:
            yield
        except BaseException as error:
            if not (isinstance(error, RerankError) and error.transient):
                breaker.abandoned(began)
                raise
            pause = breaker.failed(error, began)
            self._record(breaker, error)
            skipped = "" if pause is None else f" and is skipped for {pause:g} s"
            self._warnings.append(f"{breaker.reranker.name} failed ({brief(error)}){skipped}")
        else:
            if breaker.answered(began):
                _log.info("%s answers again", breaker.reranker.name)

    def finished(self, ranking: Ranking) -> Ranking:
        """The `ranking` of the reranker that answered, with the reasons why the others did not."""
        if self._warnings:
            _log.warning("%s; %s answered instead", ", ".join(self._warnings), ranking.reranked_by)
        failures = [self._failures[breaker] for breaker in self._breakers if breaker in self._failures]
        return replace(ranking, failures=(*failures, *ranking.failures)) if failures else ranking

    @contextmanager
    def warming(self, breaker: CircuitBreaker) -> Iterator[None]:
        """Around warming up one reranker: like `trying`, but it says nothing about whether a call would be answered."""
        try:
            yield
        except RerankError as error:
            if not error.transient:
                raise
            self._record(breaker, error)

    def warmed(self) -> None:
        """Log which rerankers could not be warmed up. Raises the last error if none could."""
        if len(self._failures) == len(self._breakers):
            raise self.error()
        for failure in self._failures.values():
            _log.warning(
                "%s could not be warmed up (%s: %s); the first call to it tries again",
                failure.reranker,
                failure.error,
                failure.message,
            )

    def error(self) -> RerankError:
        """The last error, with the reasons of all other rerankers as notes."""
        assert self._last_error is not None, "at least one reranker was called"
        last, error = self._last_error
        for breaker in self._breakers:
            if breaker is not last:
                failure = self._failures[breaker]
                outcome = "was" if failure.skipped else f"failed: {failure.error}:"
                error.add_note(f"before that, {failure.reranker} {outcome} {failure.message}")
        return error

    def _record(self, breaker: CircuitBreaker, error: RerankError) -> None:
        self._last_error = (breaker, error)
        self._failures[breaker] = Failure(breaker.reranker.name, type(error).__name__, str(error))
