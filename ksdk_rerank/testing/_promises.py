"""`Promises`: the part of `RerankerContract` that a subclass of `Reranker` can break without overriding `rank`.

Messages of assertions are clear even without pytest's rewriting.
"""

from __future__ import annotations

import asyncio
import copy
import inspect
import json
import math
import pickle
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar, NoReturn, cast

import pytest

from ksdk_rerank.base import Reranker
from ksdk_rerank.results import Ranked, Ranking

__all__ = ["Promises", "Rank", "by_scores"]

Rank = Callable[..., Ranking]


class _ForbiddenExecutor(ThreadPoolExecutor):
    """A default executor that fails when used: it belongs to the application, not to rerankers."""

    def submit(self, *args: object, **kwargs: object) -> NoReturn:
        raise AssertionError("the event loop's default executor was used; it belongs to the application")


def by_scores(ranking: Ranking) -> tuple[list[Ranked], list[Ranked]]:
    """Split the results into those with a raw score and those without."""
    scored = [ranked for ranked in ranking if ranked.raw_score is not None]
    return scored, [ranked for ranked in ranking if ranked.raw_score is None]


def _check_complete(ranking: Ranking, documents: Sequence[str]) -> None:
    """Check that each document is ranked once or listed as a duplicate, and that every index is valid."""
    places = [*ranking.indices, *ranking.duplicates]
    assert all(type(index) is int for index in places), f"an index is not an int: {places}"
    assert sorted(places) == list(range(len(documents))), f"indices {sorted(places)} for {len(documents)} documents"
    for ranked in ranking:
        assert ranked.document == documents[ranked.index], f"index {ranked.index} has the wrong text: {ranked}"
    for copied, kept in ranking.duplicates.items():
        assert kept in ranking.indices, f"documents[{copied}] is listed as a duplicate of {kept}, which is missing"


class Promises:
    """What a subclass can break even if it inherits `rank` and `arank`. `RerankerContract` explains the attributes."""

    query: ClassVar[str] = "How often are the signing keys rotated?"
    documents: ClassVar[Sequence[str]] = (
        "The cafeteria is closed on public holidays.",
        "Signing keys are rotated every ninety days, and old keys stay valid for a week.",
        "To rotate a key at once, open the security page.",
        "Pianos have eighty-eight keys.",
        "Invoices are sent on the first of the month.",
    )
    deterministic: ClassVar[bool] = True
    listwise: ClassVar[bool] = False
    tolerance: ClassVar[float] = 1e-4
    secrets: ClassVar[Sequence[str]] = ()
    key_arguments: ClassVar[Sequence[str]] = ("api_key", "token")

    @pytest.fixture
    def reranker(self) -> Reranker:
        """The reranker under test."""
        raise NotImplementedError(f"{type(self).__name__} must override the fixture `reranker`")

    @pytest.fixture(params=["sync", "async"])
    def rank(self, request: pytest.FixtureRequest, reranker: Reranker) -> Rank:
        """`reranker.rank`, then the same through `reranker.arank`."""
        if request.param == "sync":
            return reranker.rank
        return lambda *args, **options: asyncio.run(reranker.arank(*args, **options))

    # Promise 1: scores

    def test_scores_are_python_floats_in_the_unit_interval_or_none(self, rank: Rank) -> None:
        for ranked in rank(self.query, self.documents):
            for value in (ranked.score, ranked.raw_score):
                assert value is None or type(value) is float, f"a score is a {type(value)}, not a float: {ranked}"
                assert value is None or math.isfinite(value), f"a score is not a finite number: {ranked}"
            assert ranked.score is None or 0.0 <= ranked.score <= 1.0, f"score is outside [0, 1]: {ranked}"
            assert (ranked.score is None) == (ranked.raw_score is None), f"only one of the scores is None: {ranked}"
            json.dumps([ranked.score, ranked.raw_score])

    def test_order_is_by_raw_score_with_ties_in_input_order_and_the_unscored_last(self, rank: Rank) -> None:
        ranking = rank(self.query, [*self.documents, *self.documents])
        scored, unscored = by_scores(ranking)
        keys = [(-cast(float, ranked.raw_score), ranked.index) for ranked in scored]
        assert keys == sorted(keys), f"not in order of raw_score, or ties not in input order: {keys}"
        assert ranking.results == (*scored, *unscored), "documents without a score come before some with one"

    def test_score_never_rises_while_raw_score_falls(self, rank: Rank) -> None:
        scored, _ = by_scores(rank(self.query, self.documents))
        scores = [cast(float, ranked.score) for ranked in scored]
        assert scores == sorted(scores, reverse=True), f"score and raw_score disagree: {scored}"

    def test_a_score_does_not_depend_on_the_other_candidates(self, rank: Rank) -> None:
        if self.listwise or not self.deterministic:
            pytest.skip("listwise or not deterministic, by its own declaration")
        together = {ranked.index: ranked for ranked in rank(self.query, self.documents)}
        for index, document in enumerate(self.documents):
            (alone,) = rank(self.query, [document])
            self._check_scores(alone, together[index])

    # Promises 2 and 4: nothing lost, nothing mixed up

    def test_every_document_comes_back_once_under_its_own_index(self, rank: Rank) -> None:
        _check_complete(rank(self.query, self.documents), self.documents)

    def test_repeated_documents_come_back_or_are_named_as_duplicates(self, rank: Rank) -> None:
        documents = [*self.documents, *self.documents]
        _check_complete(rank(self.query, documents), documents)

    def test_texts_of_all_kinds_come_back_unchanged(self, rank: Rank) -> None:
        documents = ["naïve café 🔑", "鍵は九十日ごとに。", "<b>a\tb\r\n</b> \x00", "?!", "a half \ud83d", "x"]
        _check_complete(rank("キー 🔑 \ud83d", documents), documents)

    # Promise 3: scores name their reranker

    def test_name_and_reranked_by_say_whose_order_it_is(self, reranker: Reranker, rank: Rank) -> None:
        for name in (reranker.name, rank(self.query, self.documents).reranked_by):
            assert isinstance(name, str) and name, f"{name!r} is not a name"  # noqa: PT018

    # Promise 5: edges

    def test_blank_documents_come_last_and_have_no_score(self, rank: Rank) -> None:
        documents = ["", *self.documents, " \n\t"]
        ranking = rank(self.query, documents)
        _check_complete(ranking, documents)
        last = (Ranked(0, ""), Ranked(len(documents) - 1, " \n\t"))
        assert ranking[-2:] == last, f"expected {last} at the end, got {ranking[-2:]}"

    # Promises 8 and 13: asynchronous calls, event loops and threads

    def test_sync_and_async_agree(self, reranker: Reranker) -> None:
        documents = [*self.documents, ""]
        self._check_same(reranker.rank(self.query, documents), asyncio.run(reranker.arank(self.query, documents)))

    def test_async_calls_leave_the_default_executor_alone(self, reranker: Reranker) -> None:
        async def main() -> Ranking:
            asyncio.get_running_loop().set_default_executor(_ForbiddenExecutor())
            return await reranker.arank(self.query, self.documents)

        _check_complete(asyncio.run(main()), self.documents)

    def test_many_async_calls_at_once_do_not_mix(self, reranker: Reranker) -> None:
        async def main() -> list[Ranking]:
            return await asyncio.gather(*(reranker.arank(self.query, part) for part in self._parts()))

        self._check_parts(reranker, asyncio.run(main()))

    def test_many_queries_in_one_call_get_what_each_gets_alone(self, reranker: Reranker) -> None:
        queries = [self.query] * len(self._parts())
        self._check_parts(reranker, reranker.rank_many(queries, self._parts()))
        self._check_parts(reranker, asyncio.run(reranker.arank_many(queries, self._parts())))

    def test_warming_up_leaves_it_usable(self, reranker: Reranker) -> None:
        reranker.warm_up()
        asyncio.run(reranker.awarm_up())
        _check_complete(reranker.rank(self.query, self.documents), self.documents)

    def test_a_cancelled_call_ends_and_leaves_the_reranker_usable(self, reranker: Reranker) -> None:
        async def main() -> None:
            call = asyncio.ensure_future(reranker.arank(self.query, self.documents))
            await asyncio.sleep(0)
            call.cancel()
            (outcome,) = await asyncio.gather(call, return_exceptions=True)
            assert isinstance(outcome, (asyncio.CancelledError, Ranking)), f"cancelling raised {outcome!r}"

        asyncio.run(main())
        _check_complete(reranker.rank(self.query, self.documents), self.documents)

    def test_threads_and_their_event_loops_may_share_it(self, reranker: Reranker) -> None:
        def one(item: tuple[int, Sequence[str]]) -> Ranking:
            if item[0] % 2:
                return asyncio.run(reranker.arank(self.query, item[1]))
            return reranker.rank(self.query, item[1])

        with ThreadPoolExecutor(8) as threads:
            self._check_parts(reranker, list(threads.map(one, enumerate(self._parts()))))

    # Promise 10: truncation is counted

    def test_truncated_counts_documents(self, rank: Rank) -> None:
        assert rank(self.query, self.documents).truncated == 0, "short documents were cut"
        documents = [*self.documents, "The keys of the door are under the mat. " * 2_000]
        ranking = rank(self.query, documents)
        _check_complete(ranking, documents)
        assert type(ranking.truncated) is int, f"truncated is a {type(ranking.truncated)}"
        assert 0 <= ranking.truncated <= len(documents), f"{ranking.truncated} of {len(documents)} documents cut"

    def test_spans_lie_in_their_documents(self, rank: Rank) -> None:
        for ranked in rank(self.query, [*self.documents, "Some sentences. Keys are rotated. " * 500]):
            for start, end in ranked.spans:
                assert 0 <= start < end <= len(ranked.document), f"{ranked.spans} of {len(ranked.document)} characters"

    # Promise 14: its state is its configuration

    def test_it_survives_pickling(self, reranker: Reranker) -> None:
        reranker.rank(self.query, self.documents)  # opens weights or connections, which must not be pickled
        pickled = pickle.dumps(reranker)
        for secret in self.secrets:
            assert secret.encode() not in pickled, "the pickle holds a key"
        with pickle.loads(pickled) as twin:
            assert repr(twin) == repr(reranker)
            self._check_same(twin.rank(self.query, self.documents), reranker.rank(self.query, self.documents))

    def test_it_can_be_copied(self, reranker: Reranker) -> None:
        with copy.deepcopy(reranker) as twin:
            assert repr(twin) == repr(reranker)
            self._check_same(twin.rank(self.query, self.documents), reranker.rank(self.query, self.documents))

    def test_repr_names_its_class_and_holds_no_key(self, reranker: Reranker) -> None:
        assert type(reranker).__name__ in repr(reranker), f"repr is {reranker!r}"
        for secret in self.secrets:
            assert secret not in repr(reranker), "repr holds a key"

    def test_parameters_are_all_arguments_but_keys(self, reranker: Reranker) -> None:
        # Caches tell rerankers apart by `parameters()`. If an argument is missing, they return another model's scores.
        missing = set(inspect.signature(type(reranker)).parameters) - {*reranker.parameters(), *self.key_arguments}
        assert not missing, f"not in parameters(): {missing}; keep each in an attribute of its name"
        for secret in self.secrets:
            assert secret not in repr(reranker.parameters()), "parameters() hold a key"

    def test_it_can_be_used_again_after_closing(self, reranker: Reranker) -> None:
        first = reranker.rank(self.query, self.documents)
        reranker.close()
        reranker.close()
        self._check_same(reranker.rank(self.query, self.documents), first)

        async def main() -> Ranking:
            await reranker.aclose()
            async with reranker:
                return await reranker.arank(self.query, self.documents)

        self._check_same(asyncio.run(main()), first)

    # Comparing results

    def _parts(self) -> list[Sequence[str]]:
        """Sixteen lists of documents in different lengths and orders."""
        count = len(self.documents)
        return [[self.documents[(shift + i) % count] for i in range(1 + shift % count)] for shift in range(16)]

    def _check_parts(self, reranker: Reranker, rankings: Sequence[Ranking]) -> None:
        for part, ranking in zip(self._parts(), rankings, strict=True):
            _check_complete(ranking, part)
            self._check_same(ranking, reranker.rank(self.query, part))

    def _check_same(self, one: Ranking, other: Ranking) -> None:
        """Check for the same documents; if the reranker is deterministic, also for the same order, scores and spans."""
        assert sorted(one.indices) == sorted(other.indices)
        if self.deterministic:
            assert one.indices == other.indices, f"orders differ: {one} and {other}"
            for a, b in zip(one, other, strict=True):
                self._check_scores(a, b)
                assert a.spans == b.spans, f"spans differ: {a} and {b}"

    def _check_scores(self, one: Ranked, other: Ranked) -> None:
        """Check that scores are equal within `tolerance`, relative or absolute, or both None."""
        for a, b in ((one.score, other.score), (one.raw_score, other.raw_score)):
            assert (a is None) == (b is None), f"{a} and {b}"
            if a is not None and b is not None:
                assert math.isclose(a, b, rel_tol=self.tolerance, abs_tol=self.tolerance), f"{a} and {b}"
