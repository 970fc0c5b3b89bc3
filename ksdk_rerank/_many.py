"""`rank_many`: the queries of one call, their outcomes, and how they are ranked one by one but concurrently."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import as_completed
from contextvars import copy_context
from functools import partial
from typing import Literal, TypeVar, cast, overload

from ksdk_rerank._arguments import flag, function_or_none, integer, ordered
from ksdk_rerank._request import RankRequest, checked_min_keep, checked_min_score, checked_top_n
from ksdk_rerank.concurrency.tasks import all_of
from ksdk_rerank.concurrency.worker import Worker
from ksdk_rerank.results import Ranking

__all__ = ["Many", "RanksMany", "aoutcome_of", "outcome_of"]

T = TypeVar("T")
Progress = Callable[[int, int], None]

_CONCURRENCY = 8  # as many as one call to a service that is split into several requests sends at a time


class Many:
    """The queries of one `rank_many` call, and the outcome of each.

    Attributes:
        requests: by position, the queries that the reranker has to answer. The others have only blank documents, or
            were rejected.
    """

    def __init__(
        self,
        queries: Sequence[str],
        documents: Sequence[Sequence[str]],
        top_n: int | None,
        min_score: float | None,
        min_keep: int,
        return_exceptions: bool,
        progress: Progress | None,
        name: str,
    ) -> None:
        """Check the arguments of `RanksMany.rank_many`, which documents what is raised."""
        top_n, min_score, min_keep = checked_top_n(top_n), checked_min_score(min_score), checked_min_keep(min_keep)
        pairs = _paired(queries, documents)
        self.requests: dict[int, RankRequest] = {}
        self._outcomes: list[Ranking | Exception | None] = [None] * len(pairs)
        self._return_exceptions = flag("return_exceptions", return_exceptions)
        self._progress = function_or_none("progress", progress)
        self._done = 0
        for position, (query, texts) in enumerate(pairs):
            request = outcome_of(partial(RankRequest.checked, query, texts, top_n, min_score, min_keep))
            if isinstance(request, Exception):
                self.put(position, request)
            elif request.positions:
                self.requests[position] = request
            else:
                self.put(position, request.finish(Ranking((), name)))

    @property
    def results(self) -> list[Ranking | Exception]:
        """The outcomes in the order of the queries, once all are there."""
        return cast("list[Ranking | Exception]", self._outcomes)

    def put(self, position: int, outcome: Ranking | Exception) -> None:
        """Store a query's outcome, and report progress. Raises an exception unless exceptions are to be returned."""
        if isinstance(outcome, Exception) and not self._return_exceptions:
            outcome.add_note(f"raised for queries[{position}] of rank_many")
            raise outcome
        self._outcomes[position] = outcome
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, len(self._outcomes))


class RanksMany(ABC):
    """Adds `rank_many` and `arank_many` to a class that can answer one query."""

    @property
    @abstractmethod
    def name(self) -> str: ...

    @abstractmethod
    def _ranked(self, request: RankRequest) -> Ranking:
        """Answer one query."""

    @abstractmethod
    async def _aranked(self, request: RankRequest) -> Ranking:
        """Like `_ranked`, natively asynchronous."""

    @overload
    def rank_many(
        self,
        queries: Sequence[str],
        documents: Sequence[Sequence[str]],
        *,
        top_n: int | None = None,
        min_score: float | None = None,
        min_keep: int = 0,
        return_exceptions: Literal[False] = False,
        max_concurrency: int = _CONCURRENCY,
        progress: Progress | None = None,
    ) -> list[Ranking]: ...
    @overload
    def rank_many(
        self,
        queries: Sequence[str],
        documents: Sequence[Sequence[str]],
        *,
        top_n: int | None = None,
        min_score: float | None = None,
        min_keep: int = 0,
        return_exceptions: bool,
        max_concurrency: int = _CONCURRENCY,
        progress: Progress | None = None,
    ) -> list[Ranking | Exception]: ...
    def rank_many(
        self,
        queries: Sequence[str],
        documents: Sequence[Sequence[str]],
        *,
        top_n: int | None = None,
        min_score: float | None = None,
        min_keep: int = 0,
        return_exceptions: bool = False,
        max_concurrency: int = _CONCURRENCY,
        progress: Progress | None = None,
    ) -> Sequence[Ranking | Exception]:
        """Rank many queries, each with its own documents.

        A local cross-encoder scores all pairs in shared batches of similar length. Every other reranker ranks several
        queries at a time.

        Args:
            queries: the search texts.
            documents: one sequence of candidates per query. If all queries have the same, pass
                `[documents] * len(queries)`.
            top_n: maximum number of documents per query; None returns all.
            min_score: see `rank`.
            min_keep: see `rank`.
            return_exceptions: whether a query that fails gets its exception as its result. If False, the first
                exception is raised, and the queries that have not started are dropped.
            max_concurrency: how many queries are ranked at a time. A local cross-encoder ignores it.
            progress: called after each query with the number of queries done and the total. Shared batches finish
                several queries at a time.

        Returns:
            The rankings, in the order of `queries`.

        Raises:
            TypeError: `queries` is a single string, `documents` is a sequence of strings, or either is a set or a
                mapping.
            ValueError: there are not as many sequences of documents as queries, or a number is out of range.
            Exception: whatever `rank` raises for a query, unless `return_exceptions` is set. A note names the query.
        """
        many = Many(queries, documents, top_n, min_score, min_keep, return_exceptions, progress, self.name)
        self._rank_many(many, integer("max_concurrency", max_concurrency))
        return many.results

    @overload
    async def arank_many(
        self,
        queries: Sequence[str],
        documents: Sequence[Sequence[str]],
        *,
        top_n: int | None = None,
        min_score: float | None = None,
        min_keep: int = 0,
        return_exceptions: Literal[False] = False,
        max_concurrency: int = _CONCURRENCY,
        progress: Progress | None = None,
    ) -> list[Ranking]: ...
    @overload
    async def arank_many(
        self,
        queries: Sequence[str],
        documents: Sequence[Sequence[str]],
        *,
        top_n: int | None = None,
        min_score: float | None = None,
        min_keep: int = 0,
        return_exceptions: bool,
        max_concurrency: int = _CONCURRENCY,
        progress: Progress | None = None,
    ) -> list[Ranking | Exception]: ...
    async def arank_many(
        self,
        queries: Sequence[str],
        documents: Sequence[Sequence[str]],
        *,
        top_n: int | None = None,
        min_score: float | None = None,
        min_keep: int = 0,
        return_exceptions: bool = False,
        max_concurrency: int = _CONCURRENCY,
        progress: Progress | None = None,
    ) -> Sequence[Ranking | Exception]:
        """Like `rank_many`, without blocking the event loop. Cancelling it cancels every query in progress."""
        many = Many(queries, documents, top_n, min_score, min_keep, return_exceptions, progress, self.name)
        await self._arank_many(many, integer("max_concurrency", max_concurrency))
        return many.results

    def _rank_many(self, many: Many, max_concurrency: int) -> None:
        """Answer all of `many.requests`."""
        worker = Worker("ksdk-rerank-many", max_concurrency)
        try:
            calls = {
                worker.submit(partial(copy_context().run, outcome_of, partial(self._ranked, request))): position
                for position, request in many.requests.items()
            }
            for call in as_completed(calls):
                many.put(calls[call], call.result())
        finally:
            worker.close(cancel=True)

    async def _arank_many(self, many: Many, max_concurrency: int) -> None:
        """Like `_rank_many`, natively asynchronous."""
        waiting = iter(many.requests.items())

        async def one_after_another() -> None:
            for position, request in waiting:
                many.put(position, await aoutcome_of(self._aranked(request)))

        await all_of(one_after_another() for _ in range(min(max_concurrency, len(many.requests))))


def outcome_of(call: Callable[[], T]) -> T | Exception:
    """What `call` returns, or the exception that it raises."""
    try:
        return call()
    except Exception as error:
        return error


async def aoutcome_of(call: Awaitable[T]) -> T | Exception:
    """Like `outcome_of`, of something to await."""
    try:
        return await call
    except Exception as error:
        return error


def _paired(queries: Iterable[str], documents: Iterable[Sequence[str]]) -> list[tuple[str, Sequence[str]]]:
    """Each query with its documents."""
    if isinstance(queries, (str, bytes)):
        raise TypeError("queries must be a sequence of strings, got one string; wrap it in a list, or call rank")
    queries = ordered("queries", queries)
    documents = [] if isinstance(documents, (str, bytes)) else ordered("documents", documents)
    if any(isinstance(texts, (str, bytes)) for texts in documents):
        raise TypeError(
            "documents must be one sequence of strings per query, got a sequence of strings; if all queries have the"
            " same documents, pass [documents] * len(queries)"
        )
    if len(queries) != len(documents):
        raise ValueError(
            f"got {len(queries)} queries and {len(documents)} sequences of documents; pass one sequence per query"
        )
    return list(zip(queries, documents, strict=True))
