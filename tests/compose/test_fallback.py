"""`Fallback`: moves on where that helps, says so, and hides nothing else."""

from __future__ import annotations

import asyncio
import logging
import pickle
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from ksdk_rerank import (
    Cascade,
    Fallback,
    Fusion,
    LexicalReranker,
    Ranked,
    Ranking,
    Reranker,
    Scores,
    ScoringReranker,
    errors,
)
from ksdk_rerank.scores import ScoreKind
from ksdk_rerank.testing.contract import SubclassContract

Call = Callable[..., Any]

DOCUMENTS = ["the colour of pianos", " ", "keys rotate daily", "pianos have keys"]


class Failing(Reranker):
    """Raises what it was made with, and counts."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self.calls = 0
        self.closed = 0
        self.warmed = 0

    @property
    def name(self) -> str:
        return f"failing-{type(self.error).__name__}"

    def _rank(self, query: str, documents: Sequence[str]) -> Ranking:
        self.calls += 1
        raise self.error

    async def _arank(self, query: str, documents: Sequence[str]) -> Ranking:
        return self._rank(query, documents)

    def warm_up(self) -> None:
        self.warmed += 1
        raise self.error

    async def awarm_up(self) -> None:
        self.warm_up()

    def close(self) -> None:
        self.closed += 1


class Warm(Failing):
    """Can be warmed up."""

    def warm_up(self) -> None:
        self.warmed += 1


class Short(Reranker):
    """Ranks one document too few."""

    name = "short"

    def _rank(self, query: str, documents: Sequence[str]) -> Ranking:
        return Ranking(tuple(Ranked(index, text) for index, text in enumerate(documents[1:])), self.name)

    async def _arank(self, query: str, documents: Sequence[str]) -> Ranking:
        return self._rank(query, documents)


class Nan(ScoringReranker):
    """Scores that are none."""

    name = "nan"
    score_kind = ScoreKind.LOGIT

    def score(self, query: str, documents: Sequence[str]) -> Scores:
        return Scores([float("nan")] * len(documents))

    async def ascore(self, query: str, documents: Sequence[str]) -> Scores:
        return self.score(query, documents)


TRANSIENT: list[errors.RerankError] = [
    errors.RateLimited("slow down", status=429),
    errors.ServerError("down", status=503),
    errors.ConnectionFailed("no route"),
    errors.TimedOut("too slow"),
    errors.BadReply("what is this", status=200),
]
LASTING: list[BaseException] = [
    errors.Unauthorized("wrong key", status=401),
    errors.BadRequest("bad input", status=422),
    errors.NotFound("no such model", status=404),
    errors.Redirected("elsewhere", status=301),
    errors.SearchUnavailable("off"),
    errors.MissingKey("no key"),
    errors.MissingExtra("not installed"),
    errors.ModelNotFound("no such folder"),
    errors.UnsupportedModel("two logits"),
    ValueError("wrong"),
    RuntimeError("a bug"),
]


class TestContract(SubclassContract):
    listwise = True  # as BM25 is

    @pytest.fixture
    def reranker(self) -> Reranker:
        return Fallback([Failing(TRANSIENT[0]), "lexical"])


@pytest.mark.parametrize("error", TRANSIENT, ids=lambda error: type(error).__name__)
def test_it_moves_on_where_the_service_failed(
    call: Call, error: errors.RerankError, caplog: pytest.LogCaptureFixture
) -> None:
    first = Failing(error)
    ranking = call(Fallback([first, "lexical"], cool_down=0).rank, "how do keys rotate", DOCUMENTS, top_n=2)
    expected = LexicalReranker().rank("how do keys rotate", DOCUMENTS, top_n=2)
    assert ranking.results == expected.results
    assert ranking.reranked_by == "lexical"
    assert [(f.reranker, f.error, f.message) for f in ranking.failures] == [
        (first.name, type(error).__name__, str(error))
    ]
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("ksdk_rerank", logging.WARNING)
    status = f", status {error.status}" if isinstance(error, errors.ServiceError) and error.status else ""
    assert record.getMessage() == f"{first.name} failed ({type(error).__name__}{status}); lexical answered instead"


@pytest.mark.parametrize("error", LASTING, ids=lambda error: type(error).__name__)
def test_it_does_not_hide_what_another_reranker_cannot_mend(
    call: Call, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(type(error)) as raised:
        call(Fallback([Failing(error), "lexical"]).rank, "keys", DOCUMENTS)
    assert raised.value is error
    assert caplog.records == []


@pytest.mark.parametrize("broken", [Short(), Nan()], ids=["short", "nan"])
def test_a_reranker_that_loses_a_document_or_a_number_has_failed(call: Call, broken: Reranker) -> None:
    ranking = call(Fallback([broken, "input-order"]).rank, "keys", DOCUMENTS)
    assert ranking.indices == (0, 2, 3, 1)
    assert [failure.error for failure in ranking.failures] == ["BadReply"]


def test_nothing_is_said_where_nothing_failed(call: Call, caplog: pytest.LogCaptureFixture) -> None:
    second = Failing(TRANSIENT[0])
    ranking = call(Fallback(["lexical", second]).rank, "keys", DOCUMENTS)
    assert (ranking.failures, second.calls, caplog.records) == ((), 0, [])


def test_unscored_results_are_not_cut_by_min_score(call: Call) -> None:
    ranking = call(Fallback([Failing(TRANSIENT[0]), "input-order"]).rank, "keys", DOCUMENTS, min_score=0.9)
    assert ranking.indices == (0, 2, 3, 1)
    assert [ranked.score for ranked in ranking] == [None] * 4


def test_scored_results_are(call: Call) -> None:
    ranking = call(Fallback([Failing(TRANSIENT[0]), "lexical"]).rank, "keys rotate", DOCUMENTS, min_score=0.3)
    assert ranking.indices == (2,)


def test_if_all_fail_the_last_error_comes_with_the_others(call: Call, caplog: pytest.LogCaptureFixture) -> None:
    last = errors.ServerError("down as well", status=500)
    fallback = Fallback([Failing(errors.RateLimited("slow down")), Failing(errors.TimedOut("too slow")), Failing(last)])
    with pytest.raises(errors.ServerError, match="down as well") as raised:
        call(fallback.rank, "keys", DOCUMENTS)
    assert raised.value is last
    assert raised.value.__notes__ == [
        "before that, failing-RateLimited failed: RateLimited: slow down",
        "before that, failing-TimedOut failed: TimedOut: too slow",
    ]
    assert caplog.records == []


def test_one_inside_another_keeps_all_reasons(call: Call) -> None:
    inner = Fallback([Failing(errors.TimedOut("too slow")), "input-order"])
    ranking = call(Fallback([Failing(errors.RateLimited("slow down")), inner]).rank, "keys", DOCUMENTS)
    assert [failure.error for failure in ranking.failures] == ["RateLimited", "TimedOut"]
    assert ranking.reranked_by == "input-order"


async def test_a_cancelled_call_asks_nobody_else() -> None:
    class Waiting(Failing):
        async def _arank(self, query: str, documents: Sequence[str]) -> Ranking:
            await asyncio.sleep(30)
            raise AssertionError

    second = Failing(TRANSIENT[0])
    task = asyncio.ensure_future(Fallback([Waiting(TRANSIENT[0]), second]).arank("keys", DOCUMENTS))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert second.calls == 0


def test_no_documents_ask_nobody(call: Call) -> None:
    first = Failing(TRANSIENT[0])
    assert len(call(Fallback([first]).rank, "keys", [" "])) == 1
    assert first.calls == 0


def test_members_may_be_names_and_are_closed_with_it() -> None:
    member = Failing(TRANSIENT[0])
    with Fallback([member, "input-order"]) as fallback:
        assert fallback.name == "fallback(failing-RateLimited, input-order)"
    assert member.closed == 1
    assert pickle.loads(pickle.dumps(Fallback(["lexical", "input-order"]))).name == "fallback(lexical, input-order)"


def unreachable() -> errors.HubUnreachable:
    return errors.HubUnreachable("not in the cache, and the hub did not answer")


@pytest.mark.parametrize("at", [0, 1])
def test_what_cannot_be_warmed_up_at_the_moment_is_logged_and_stops_nothing(
    call: Call, at: int, caplog: pytest.LogCaptureFixture
) -> None:
    members: list[Failing] = [Warm(TRANSIENT[0]), Warm(TRANSIENT[0])]
    members.insert(at, Failing(unreachable()))
    call(Cascade("lexical", Fallback(members)).warm_up)
    assert [member.warmed for member in members] == [1, 1, 1]
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("ksdk_rerank", logging.WARNING)
    assert record.getMessage() == (
        "failing-HubUnreachable could not be warmed up (HubUnreachable: not in the cache, and the hub did not answer);"
        " the first call to it tries again"
    )


@pytest.mark.parametrize("error", LASTING, ids=lambda error: type(error).__name__)
def test_warming_up_raises_what_every_call_to_a_member_would_raise(call: Call, error: BaseException) -> None:
    with pytest.raises(type(error)) as raised:
        call(Fallback([Warm(TRANSIENT[0]), Failing(error)]).warm_up)
    assert raised.value is error


def test_if_nothing_can_be_warmed_up_the_last_error_comes_with_the_others(call: Call) -> None:
    last = unreachable()
    fallback = Fallback([Failing(errors.InferenceFailed("no memory")), Failing(last)])
    with pytest.raises(errors.HubUnreachable) as raised:
        call(fallback.warm_up)
    assert raised.value is last
    assert raised.value.__notes__ == ["before that, failing-InferenceFailed failed: InferenceFailed: no memory"]


def test_warming_up_neither_begins_nor_ends_a_cool_down(call: Call) -> None:
    down = Failing(errors.ConnectionFailed("no route"))
    fallback = Fallback([down, "lexical"])
    call(fallback.warm_up)
    assert not call(fallback.rank, "keys", DOCUMENTS).failures[0].skipped
    call(fallback.warm_up)
    assert call(fallback.rank, "keys", DOCUMENTS).failures[0].skipped


@pytest.mark.parametrize("wrap", [lambda a: Cascade("lexical", a), lambda a: Fusion(["lexical", a])])
def test_a_wrapper_that_cannot_do_without_a_member_raises_its_error_when_warmed_up(
    call: Call, wrap: Callable[[Reranker], Reranker]
) -> None:
    with pytest.raises(errors.HubUnreachable):
        call(wrap(Failing(unreachable())).warm_up)


@pytest.mark.parametrize("wrong", ["lexical", LexicalReranker()])
def test_one_reranker_alone_is_not_a_list(wrong: Any) -> None:
    with pytest.raises(TypeError, match="wrap it in a list"):
        Fallback(wrong)


def test_an_empty_list_is_refused() -> None:
    with pytest.raises(ValueError, match="list at least one"):
        Fallback([])
