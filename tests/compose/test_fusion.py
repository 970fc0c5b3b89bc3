"""`Fusion`: reciprocal rank fusion, with sums worked by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from ksdk_rerank import InputOrder, Ranked, Ranking, Reranker, ScoreKind, Scores, ScoringReranker
from ksdk_rerank.compose.deduplicated import Deduplicated
from ksdk_rerank.compose.fusion import Fusion
from ksdk_rerank.errors import RerankError

Call = Callable[..., Any]


class Order(Reranker):
    """Puts documents in the order it was told."""

    def __init__(self, order: Sequence[int]) -> None:
        self.order = order

    @property
    def name(self) -> str:
        return "order-" + "".join(map(str, self.order))

    def _rank(self, query: str, documents: Sequence[str]) -> Ranking:
        return Ranking(tuple(Ranked(index, documents[index]) for index in self.order), self.name, {"calls": 1}, 2)

    async def _arank(self, query: str, documents: Sequence[str]) -> Ranking:
        return self._rank(query, documents)


def test_the_worked_example_of_the_module_holds(call: Call) -> None:
    ranking = call(Fusion([Order([1, 0, 2]), Order([1, 2, 0])]).rank, "q", list("abc"))
    assert ranking.indices == (1, 0, 2)
    assert [ranked.raw_score for ranked in ranking] == pytest.approx([2 / 61, 1 / 62 + 1 / 63, 1 / 62 + 1 / 63])
    assert [ranked.score for ranked in ranking] == pytest.approx([1.0, 0.976062, 0.976062], abs=1e-6)


def test_weights_and_k_count(call: Call) -> None:
    ranking = call(Fusion([Order([0, 1]), Order([1, 0])], k=1, weights=[1, 3]).rank, "q", ["a", "b"])
    # a: 1/(1+1) + 3/(1+2) = 1.5; b: 1/(1+2) + 3/(1+1) = 1.8333; the most possible: 1/2 + 3/2 = 2
    assert ranking.indices == (1, 0)
    assert [ranked.raw_score for ranked in ranking] == pytest.approx([11 / 6, 3 / 2])
    assert [ranked.score for ranked in ranking] == pytest.approx([11 / 12, 3 / 4])


def test_ties_stay_in_input_order_whoever_placed_them(call: Call) -> None:
    # every document is first, second and third once; sums in another order differ in the last bit
    ranking = call(Fusion([Order([2, 0, 1]), Order([0, 1, 2]), Order([1, 2, 0])]).rank, "q", list("abc"))
    assert ranking.indices == (0, 1, 2)
    assert len({ranked.raw_score for ranked in ranking}) == 1


def test_input_order_keeps_the_first_stages_opinion(call: Call) -> None:
    documents = ["nothing", "the red fox", "red", "a red fox again"]
    alone = call(Fusion(["lexical"]).rank, "red fox", documents)
    both = call(Fusion(["lexical", InputOrder()], weights=[1, 5]).rank, "red fox", documents)
    assert alone[0].index != 0
    assert both[0].index == 0


def test_a_document_that_a_member_leaves_out_gets_nothing_from_it(call: Call) -> None:
    ranking = call(Fusion([Deduplicated(InputOrder()), InputOrder()], k=0).rank, "q", ["a", "A", "b"])
    # a: 1/1 + 1/1 = 2; A: 0 + 1/2 = 0.5; b: 1/2 + 1/3 = 0.8333
    assert [(ranked.index, ranked.raw_score) for ranked in ranking] == [
        (0, 2.0),
        (2, pytest.approx(5 / 6)),
        (1, 0.5),
    ]
    assert ranking.duplicates == {}


def test_a_document_that_all_members_leave_out_is_left_out(call: Call) -> None:
    member = Deduplicated(InputOrder())
    ranking = call(Fusion([member, member]).rank, "q", ["a", "A", "b"])
    assert ranking.indices == (0, 2)
    assert ranking.duplicates == {1: 0}


def test_usage_is_the_sum_and_truncated_the_largest_count(call: Call) -> None:
    ranking = call(Fusion([Order([0, 1]), Order([1, 0]), InputOrder()]).rank, "q", ["a", "b"])
    assert ranking.usage == {"calls": 2}
    assert ranking.truncated == 2
    assert ranking.reranked_by == "fusion(order-01, order-10, input-order)"


class Slow(ScoringReranker):
    """Takes its time, and notes what became of its calls."""

    score_kind = ScoreKind.UNIT

    def __init__(self, seconds: float, error: Exception | None = None) -> None:
        self.seconds = seconds
        self.error = error
        self.ended: list[str] = []

    @property
    def name(self) -> str:
        return "slow"

    def score(self, query: str, documents: Sequence[str]) -> Scores:
        raise NotImplementedError

    async def ascore(self, query: str, documents: Sequence[str]) -> Scores:
        try:
            await asyncio.sleep(self.seconds)
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise
        if self.error:
            raise self.error
        self.ended.append("done")
        return Scores([0.5] * len(documents))


async def test_async_members_run_at_the_same_time() -> None:
    class Meeting(Slow):
        async def ascore(self, query: str, documents: Sequence[str]) -> Scores:
            await all_ten.wait()
            return await super().ascore(query, documents)

    all_ten = asyncio.Barrier(10)  # one after another, the first would wait for ever
    async with asyncio.timeout(20):
        await Fusion([Meeting(0) for _ in range(10)]).arank("q", ["a"])


async def test_the_first_error_is_raised_and_ends_the_other_calls() -> None:
    other = Slow(60)
    with pytest.raises(RerankError, match="load another"):
        await Fusion([other, Slow(0, RerankError("broken; load another"))]).arank("q", ["a"])
    assert other.ended == ["cancelled"]


async def test_cancelling_cancels_every_member() -> None:
    members = [Slow(60), Slow(60)]
    call = asyncio.ensure_future(Fusion(members).arank("q", ["a"]))
    await asyncio.sleep(0.01)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert [member.ended for member in members] == [["cancelled"], ["cancelled"]]
    assert len(asyncio.all_tasks()) == 1


@pytest.mark.parametrize(
    ("rerankers", "options", "message"),
    [
        ([], {}, "at least one"),
        (["lexical"], {"k": -1}, "at least 0"),
        (["lexical"], {"k": float("nan")}, "at least 0"),
        (["lexical"], {"weights": [1, 2]}, "pass one for each"),
        (["lexical"], {"weights": [0]}, "leave unwanted rerankers out"),
    ],
)
def test_wrong_arguments_are_refused(rerankers: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Fusion(rerankers, **options)


def test_a_single_name_is_refused() -> None:
    with pytest.raises(TypeError, match="wrap it in a list"):
        Fusion("lexical")
