"""`Fallback`: tries the next reranker when one fails."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from ksdk_rerank.base import Reranker
from ksdk_rerank.compose._wrapper import Wrapper, loaded_members
from ksdk_rerank.errors import RerankError
from ksdk_rerank.results import Failure, Ranking

__all__ = ["Fallback"]

_Failed = list[tuple[Reranker, RerankError]]

_log = logging.getLogger("ksdk_rerank")


class Fallback(Wrapper):
    """Calls the first reranker, and the next one if that fails through no fault of the caller.

        Fallback([CohereReranker(), "cross-encoder/ms-marco-MiniLM-L-6-v2", "input-order"])

    Args:
        rerankers: rerankers or their names, the preferred one first. With `"input-order"` last, an outage costs you the
            ordering, never the documents.

    It moves on after errors with `transient` set: time-outs, rate limits, used-up quotas, connection and server errors,
    malformed replies, and failures or overload of a local model. A wrong key, a wrong model or bad input is raised at
    once, whichever reranker comes next. So is anything that is not a `RerankError`. A cancelled call does not move on.

    The ranking comes from the reranker that answered. `reranked_by` is its name, and `failures` states why the others
    did not answer; a one-line warning goes to the logger `ksdk_rerank`. Scores are on that reranker's own scale;
    `min_score` is ignored if it gives none. If every reranker fails, the last error is raised, with the others as
    notes.

    Each reranker has its own deadline, so a call can take as long as all of them together: give the first ones short
    time-outs.
    """

    def __init__(self, rerankers: Sequence[str | Reranker]) -> None:
        self.rerankers = loaded_members(rerankers)

    @property
    def name(self) -> str:
        return f"fallback({', '.join(reranker.name for reranker in self.rerankers)})"

    def _rank(self, query: str, documents: Sequence[str]) -> Ranking:
        failed: _Failed = []
        for reranker in self.rerankers:
            try:
                return _answered(reranker.rank(query, documents), failed)
            except RerankError as error:
                _moved_on(reranker, error, failed)
        raise _exhausted(failed)

    async def _arank(self, query: str, documents: Sequence[str]) -> Ranking:
        failed: _Failed = []
        for reranker in self.rerankers:
            try:
                return _answered(await reranker.arank(query, documents), failed)
            except RerankError as error:
                _moved_on(reranker, error, failed)
        raise _exhausted(failed)


def _moved_on(reranker: Reranker, error: RerankError, failed: _Failed) -> None:
    """Record a failure, or raise it if the next reranker must not hide it."""
    if not error.transient:
        raise error
    failed.append((reranker, error))


def _answered(ranking: Ranking, failed: _Failed) -> Ranking:
    if not failed:
        return ranking
    why = ", ".join(f"{reranker.name} failed ({_brief(error)})" for reranker, error in failed)
    _log.warning("%s; %s answered instead", why, ranking.reranked_by)
    failures = [Failure(reranker.name, type(error).__name__, str(error)) for reranker, error in failed]
    return replace(ranking, failures=(*failures, *ranking.failures))


def _brief(error: RerankError) -> str:
    """The error's class and status. The message is left out: it may quote the reply, and with it a document."""
    status = getattr(error, "status", None)
    return type(error).__name__ if status is None else f"{type(error).__name__}, status {status}"


def _exhausted(failed: _Failed) -> RerankError:
    for reranker, error in failed[:-1]:
        failed[-1][1].add_note(f"before that, {reranker.name} failed: {type(error).__name__}: {error}")
    return failed[-1][1]
