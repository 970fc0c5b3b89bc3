"""`rank_many`: many queries in one call, of any reranker."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import pytest

from ksdk_rerank import LexicalReranker, Ranking, ScoreKind, Scores, ScoringReranker

Call = Callable[..., Any]

tenant: ContextVar[str] = ContextVar("tenant", default="nobody")


class Meeting(ScoringReranker):
    """Scores only once as many queries are there as were expected, and fails on the query "bad"."""

    score_kind = ScoreKind.LOGIT
    name = "meeting"

    def __init__(self, expected: int = 1) -> None:
        self.asked: list[str] = []
        self.present: list[str] = []
        self.most = 0
        self.tenants: set[str] = set()
        self._in_threads, self._in_tasks = threading.Barrier(expected), asyncio.Barrier(expected)

    def score(self, query: str, documents: Sequence[str]) -> Scores:
        with self._here(query):
            self._in_threads.wait(timeout=10)
        return self._scores(query, documents)

    async def ascore(self, query: str, documents: Sequence[str]) -> Scores:
        with self._here(query):
            await self._in_tasks.wait()
        return self._scores(query, documents)

    @contextmanager
    def _here(self, query: str) -> Iterator[None]:
        self.asked.append(query)
        self.tenants.add(tenant.get())
        self.present.append(query)
        self.most = max(self.most, len(self.present))
        try:
            yield
        finally:
            self.present.pop()

    def _scores(self, query: str, documents: Sequence[str]) -> Scores:
        if query == "bad":
            raise RuntimeError("cannot read this")
        return Scores([float(len(document)) for document in documents])


def indices(rankings: Sequence[Ranking]) -> list[tuple[int, ...]]:
    return [ranking.indices for ranking in rankings]


def test_each_query_is_ranked_against_its_own_documents_in_the_order_given(call: Call) -> None:
    documents = [["a fox", "a key"], ["fox", "a key", "red fox"]]
    rankings = call(LexicalReranker().rank_many, ["key", "fox"], documents, top_n=1)
    assert [[hit.document for hit in ranking] for ranking in rankings] == [["a key"], ["fox"]]


def test_no_more_queries_are_ranked_at_a_time_than_allowed_and_no_fewer(call: Call) -> None:
    reranker, seen = Meeting(expected=3), []
    rankings = call(
        reranker.rank_many,
        [f"query {number}" for number in range(9)],
        [["a", "bb"]] * 9,
        max_concurrency=3,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert indices(rankings) == [(1, 0)] * 9
    assert reranker.most == 3
    assert seen == [(done, 9) for done in range(1, 10)]


def test_a_failing_query_fails_the_call_and_a_note_names_it(call: Call) -> None:
    reranker = Meeting()
    with pytest.raises(RuntimeError, match="cannot read this") as caught:
        call(reranker.rank_many, ["good", "bad", "good", "good", "good"], [["a"]] * 5, max_concurrency=1)
    assert caught.value.__notes__ == ["raised for queries[1] of rank_many"]


def test_with_return_exceptions_a_failure_is_that_of_its_query_alone(call: Call) -> None:
    good, bad, blank, typeless = call(
        Meeting().rank_many,
        ["good", "bad", " ", "good"],
        [["a", "bb"], ["a"], ["a"], ["a", None]],
        return_exceptions=True,
        max_concurrency=1,
    )
    assert good.indices == (1, 0)
    assert [type(error) for error in (bad, blank, typeless)] == [RuntimeError, ValueError, TypeError]


def test_queries_with_nothing_to_rank_ask_nobody(call: Call) -> None:
    reranker = Meeting()
    assert call(reranker.rank_many, [], []) == []
    assert indices(call(reranker.rank_many, ["q", "q"], [[], [" ", ""]])) == [(), (0, 1)]
    assert reranker.asked == []


def test_every_query_runs_in_the_context_of_the_caller(call: Call) -> None:
    reranker, token = Meeting(), tenant.set("acme")
    call(reranker.rank_many, ["q", "q"], [["a"]] * 2, max_concurrency=1)
    tenant.reset(token)
    assert reranker.tenants == {"acme"}


@pytest.mark.parametrize(
    ("queries", "documents", "error", "said"),
    [
        ("query", [["a"]], TypeError, "call rank"),
        (["query"], ["a"], TypeError, r"pass \[documents\] \* len\(queries\)"),
        (["q", "q"], [["a"]], ValueError, "got 2 queries and 1 sequences of documents"),
    ],
)
def test_queries_and_documents_that_do_not_match_are_refused_at_once(
    call: Call, queries: Any, documents: Any, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        call(Meeting().rank_many, queries, documents, return_exceptions=True)


async def test_cancelling_it_cancels_every_query_in_progress() -> None:
    both = asyncio.Barrier(3)

    class Waiting(Meeting):
        async def ascore(self, query: str, documents: Sequence[str]) -> Scores:
            with self._here(query):
                await both.wait()
                await asyncio.Event().wait()
            raise AssertionError("nobody sets the event")

    reranker = Waiting()
    task = asyncio.ensure_future(reranker.arank_many(["q"] * 5, [["a"]] * 5, max_concurrency=2))
    await both.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (reranker.present, len(reranker.asked)) == ([], 2)
