"""`Fallback`: tries the next reranker when one fails."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from ksdk_rerank.base import Reranker
from ksdk_rerank.compose._cool_down import CoolDown, brief, checked_cool_down
from ksdk_rerank.compose._wrapper import Wrapper, loaded_members
from ksdk_rerank.errors import RerankError
from ksdk_rerank.results import Failure, Ranking

__all__ = ["Fallback"]

_log = logging.getLogger("ksdk_rerank")


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
        self.cool_down = checked_cool_down(cool_down)
        self._members = [_Member(reranker, self.cool_down or 0.0) for reranker in self.rerankers]

    @property
    def name(self) -> str:
        return f"fallback({', '.join(reranker.name for reranker in self.rerankers)})"

    def identifying_parameters(self) -> dict[str, object]:
        return {"rerankers": self.rerankers}  # caches never keep a ranking for which it moved on

    def _rank(self, query: str, documents: Sequence[str]) -> Ranking:
        call = _Call(self._members)
        for member in call.members():
            with call.to(member):
                return call.finished(member.reranker.rank(query, documents))
        raise call.error()

    async def _arank(self, query: str, documents: Sequence[str]) -> Ranking:
        call = _Call(self._members)
        for member in call.members():
            with call.to(member):
                return call.finished(await member.reranker.arank(query, documents))
        raise call.error()

    def warm_up(self) -> None:
        call = _Call(self._members)
        for member in self._members:
            with call.warming(member):
                member.reranker.warm_up()
        call.warmed()

    async def awarm_up(self) -> None:
        call = _Call(self._members)
        for member in self._members:
            with call.warming(member):
                await member.reranker.awarm_up()
        call.warmed()


class _Member:
    """A reranker with its cool-down."""

    def __init__(self, reranker: Reranker, seconds: float) -> None:
        self.reranker = reranker
        self.cool_down = CoolDown(reranker.name, seconds)


class _Call:
    """One call or warm-up of a `Fallback`: which rerankers it tries, and why the others did not answer."""

    def __init__(self, members: Sequence[_Member]) -> None:
        self._members = members
        self._failures: dict[_Member, Failure] = {}
        self._warnings: list[str] = []
        self._last_error: tuple[_Member, RerankError] | None = None

    def members(self) -> Iterator[_Member]:
        """The rerankers to try, in order, as long as none answers."""
        for member in self._members:
            if failure := member.cool_down.skipped():
                self._failures[member] = failure
            else:
                yield member
        skipped = [member for member, failure in self._failures.items() if failure.skipped]
        if skipped:
            soonest = min(skipped, key=lambda member: member.cool_down.ends)
            del self._failures[soonest]
            yield soonest

    @contextmanager
    def to(self, member: _Member) -> Iterator[None]:
        """Around the call to one reranker: records a failure, or raises it if the next reranker must not hide it."""
        cool_down, began = member.cool_down, CoolDown.now()
        try:
            yield
        except RerankError as error:
            if not error.transient:
                cool_down.abandoned(began)
                raise
            pause = cool_down.failed(error, began)
            self._record(member, error)
            skipped = "" if pause is None else f" and is skipped for {pause:g} s"
            self._warnings.append(f"{member.reranker.name} failed ({brief(error)}){skipped}")
        except BaseException:
            cool_down.abandoned(began)
            raise
        else:
            if cool_down.answered(began):
                _log.info("%s answers again", member.reranker.name)

    @contextmanager
    def warming(self, member: _Member) -> Iterator[None]:
        """Around warming up one reranker: like `to`, but it says nothing about whether a call would be answered."""
        try:
            yield
        except RerankError as error:
            if not error.transient:
                raise
            self._record(member, error)

    def warmed(self) -> None:
        """Log which rerankers could not be warmed up. Raises the last error if none could."""
        if len(self._failures) == len(self._members):
            raise self.error()
        for failure in self._failures.values():
            _log.warning(
                "%s could not be warmed up (%s: %s); the first call to it tries again",
                failure.reranker,
                failure.error,
                failure.message,
            )

    def _record(self, member: _Member, error: RerankError) -> None:
        self._last_error = (member, error)
        self._failures[member] = Failure(member.reranker.name, type(error).__name__, str(error))

    def finished(self, ranking: Ranking) -> Ranking:
        """The `ranking` of the reranker that answered, with the reasons why the others did not."""
        if self._warnings:
            _log.warning("%s; %s answered instead", ", ".join(self._warnings), ranking.reranked_by)
        failures = [self._failures[member] for member in self._members if member in self._failures]
        return replace(ranking, failures=(*failures, *ranking.failures)) if failures else ranking

    def error(self) -> RerankError:
        """The last error, with the reasons of all other rerankers as notes."""
        assert self._last_error is not None, "at least one reranker was called"
        last, error = self._last_error
        for member in self._members:
            if member is not last:
                failure = self._failures[member]
                outcome = "was" if failure.skipped else f"failed: {failure.error}:"
                error.add_note(f"before that, {failure.reranker} {outcome} {failure.message}")
        return error
