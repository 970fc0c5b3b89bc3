"""`RerankerContract` finds out who breaks it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from ksdk_rerank import LexicalReranker, Ranked, Ranking, ScoreKind, Scores, ScoringReranker
from ksdk_rerank.testing.contract import RerankerContract, SubclassContract


class Letters(ScoringReranker):
    """A reranker that keeps every promise: the share of letters that are an e."""

    score_kind = ScoreKind.UNIT

    def __init__(self, model: str = "e", api_key: str | None = None) -> None:
        self.model = model

    @property
    def name(self) -> str:
        return "letters"

    def score(self, query: str, documents: Sequence[str]) -> Scores:
        return Scores([document.count("e") / len(document) for document in documents])

    async def ascore(self, query: str, documents: Sequence[str]) -> Scores:
        return self.score(query, documents)


class Contract(RerankerContract):
    secrets = ("sk-12345",)


def _failing(reranker: Any, contract: Any = None) -> set[str]:
    """Which tests of the contract `reranker` fails, sync or async."""
    failed = set()
    contract = contract or Contract()
    for name, test in inspect.getmembers(contract, inspect.ismethod):
        if not name.startswith("test_"):
            continue
        for rank in (reranker.rank, lambda *args, **named: asyncio.run(reranker.arank(*args, **named))):
            fixtures = {"reranker": reranker, "rank": rank}
            try:
                test(**{argument: fixtures[argument] for argument in inspect.signature(test).parameters})
            except (Exception, pytest.fail.Exception):
                failed.add(name)
    return failed


def test_one_that_keeps_every_promise_passes() -> None:
    assert _failing(Letters()) == set()


def changed(change: Callable[[Ranking], Ranking]) -> type[Letters]:
    """A reranker that would keep every promise, if its rankings were not changed."""

    class Changed(Letters):
        def rank(self, query: str, documents: Sequence[str], **options: Any) -> Ranking:
            return change(super().rank(query, documents, **options))

        async def arank(self, query: str, documents: Sequence[str], **options: Any) -> Ranking:
            return change(await super().arank(query, documents, **options))

    return Changed


def each(change: Callable[[Ranked], Ranked]) -> Callable[[Ranking], Ranking]:
    return lambda ranking: replace(ranking, results=tuple(map(change, ranking)))


WholeNumbers = changed(each(lambda one: replace(one, score=one.score and 1)))
Inventive = changed(each(lambda one: replace(one, score=one.score or 0.0)))
Spanned = changed(each(lambda one: replace(one, spans=((0, 10**6),))))
Garbled = changed(each(lambda one: replace(one, document=one.document[::-1])))
Backwards = changed(lambda ranking: replace(ranking, results=ranking.results[::-1]))
Losing = changed(lambda ranking: replace(ranking, results=ranking.results[:3]))
Nameless = changed(lambda ranking: replace(ranking, reranked_by=""))
Costly = changed(lambda ranking: replace(ranking, usage={"calls": 1}))
Counting = changed(lambda ranking: replace(ranking, truncated=len(ranking) + 1))


class Generous(Letters):
    def rank(self, query: str, documents: Sequence[str], **options: Any) -> Ranking:
        return super().rank(query, documents)


class Tidy(Letters):
    def rank(self, query: str, documents: Sequence[str], **options: Any) -> Ranking:
        ranking = super().rank(query, documents, **options)
        documents.sort()  # type: ignore[attr-defined]
        return ranking


class Relative(Letters):
    def score(self, query: str, documents: Sequence[str]) -> Scores:
        raw = super().score(query, documents).raw
        return Scores([value - min(raw) for value in raw])


class Executed(Letters):
    async def ascore(self, query: str, documents: Sequence[str]) -> Scores:
        return await asyncio.to_thread(self.score, query, documents)


class Different(Letters):
    async def ascore(self, query: str, documents: Sequence[str]) -> Scores:
        return Scores([len(document) / 1000 for document in documents])


class Shared(Letters):
    """Keeps a call's documents where the next call finds them."""

    async def ascore(self, query: str, documents: Sequence[str]) -> Scores:
        self.documents = documents
        await asyncio.sleep(0)
        return self.score(query, self.documents[: len(documents)])


class Closed(Letters):
    closed = False

    def score(self, query: str, documents: Sequence[str]) -> Scores:
        if self.closed:
            raise RuntimeError("closed")
        return super().score(query, documents)

    def close(self) -> None:
        self.closed = True


class Open(Letters):
    def __init__(self) -> None:
        self.lock = __import__("threading").Lock()


class Telling(Letters):
    def __init__(self, api_key: str | None = None) -> None:
        self.api_key = api_key or "sk-12345"


class Forgetful(Letters):
    def __init__(self, size: int = 3) -> None:
        self._size = size


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        (WholeNumbers, "test_scores_are_python_floats_in_the_unit_interval_or_none"),
        (Inventive, "test_blank_documents_come_last_and_have_no_score"),
        (Backwards, "test_order_is_by_raw_score_with_ties_in_input_order_and_the_unscored_last"),
        (Backwards, "test_score_never_rises_while_raw_score_falls"),
        (Relative, "test_a_score_does_not_depend_on_the_other_candidates"),
        (Losing, "test_every_document_comes_back_once_under_its_own_index"),
        (Garbled, "test_every_document_comes_back_once_under_its_own_index"),
        (Garbled, "test_texts_of_all_kinds_come_back_unchanged"),
        (Tidy, "test_inputs_are_not_changed"),
        (Nameless, "test_name_and_reranked_by_say_whose_order_it_is"),
        (Costly, "test_nothing_to_rank_costs_nothing"),
        (Generous, "test_top_n_returns_the_best_and_all_when_there_are_fewer"),
        (Generous, "test_min_score_keeps_the_scored_documents_that_reach_it"),
        (Generous, "test_options_out_of_range_are_refused"),
        (Different, "test_sync_and_async_agree"),
        (Executed, "test_async_calls_leave_the_default_executor_alone"),
        (Shared, "test_many_async_calls_at_once_do_not_mix"),
        (Counting, "test_truncated_counts_documents"),
        (Spanned, "test_spans_lie_in_their_documents"),
        (Open, "test_it_survives_pickling"),
        (Open, "test_it_can_be_copied"),
        (Telling, "test_it_survives_pickling"),
        (Telling, "test_repr_names_its_class_and_holds_no_key"),
        (Telling, "test_parameters_are_all_arguments_but_keys"),
        (Forgetful, "test_parameters_are_all_arguments_but_keys"),
        (Closed, "test_it_can_be_used_again_after_closing"),
    ],
)
def test_one_that_breaks_a_promise_fails_its_test(broken: Callable[[], Any], expected: str) -> None:
    assert expected in _failing(broken())


def test_one_that_overrides_rank_needs_the_whole_contract() -> None:
    assert _failing(Letters(), SubclassContract()) == set()
    assert _failing(Generous(), SubclassContract()) == {"test_rank_and_arank_are_inherited"}


def test_what_a_reranker_cannot_promise_is_left_out_where_it_says_so() -> None:
    class Listwise(Contract):
        listwise = True

    skipped = Listwise()
    reranker = Relative()
    with pytest.raises(pytest.skip.Exception):
        skipped.test_a_score_does_not_depend_on_the_other_candidates(reranker.rank)


def test_a_subclass_must_say_what_is_tested() -> None:
    with pytest.raises(NotImplementedError, match="must override the fixture"):
        RerankerContract.reranker.__wrapped__(RerankerContract())  # type: ignore[attr-defined]


def test_duplicates_may_be_left_out_if_they_are_named() -> None:
    class Once(LexicalReranker):
        def _rank(self, query: str, documents: Sequence[str]) -> Ranking:
            first = {text: index for index, text in reversed(list(enumerate(documents)))}
            copies = {index: first[text] for index, text in enumerate(documents) if first[text] != index}
            return Ranking(
                tuple(Ranked(i, t) for t, i in sorted(first.items(), key=lambda i: i[1])), "x", duplicates=copies
            )

    contract = Contract()
    contract.test_repeated_documents_come_back_or_are_named_as_duplicates(Once().rank)
