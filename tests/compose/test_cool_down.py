"""A `Fallback` skips a reranker that is down, tries it again after a while, and says so."""

from __future__ import annotations

import asyncio
import logging
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from ksdk_rerank import Fallback, Ranking, Reranker, errors, from_config, to_config
from ksdk_rerank.rerankers.input_order import InputOrder

Call = Callable[..., Any]


class Service(InputOrder):
    """Raises what is in `errors`, one after the other, then answers. Asynchronous calls wait until they may go on."""

    def __init__(self, name: str, *errors: Exception) -> None:
        self._name = name
        self.errors = list(errors)
        self.calls = 0
        self.may_go_on: asyncio.Event | None = None

    @property
    def name(self) -> str:
        return self._name

    def _rank(self, query: str, documents: Sequence[str]) -> Ranking:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return super()._rank(query, documents)

    async def _arank(self, query: str, documents: Sequence[str]) -> Ranking:
        if (gate := self.may_go_on) is not None:
            await gate.wait()
        return self._rank(query, documents)


@dataclass
class Clock:
    now: float = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()

    def passing() -> float:
        clock.now += 0.001  # as a real clock does between two readings
        return clock.now

    monkeypatch.setattr("ksdk_rerank.compose._circuit_breaker.monotonic", passing)
    return clock


def limited(retry_after: float | None = None) -> errors.RateLimited:
    return errors.RateLimited("too many requests", status=429, retry_after=retry_after)


def asked(reranker: Reranker, call: Call | None = None) -> Ranking:
    ranking: Ranking = call(reranker.rank, "q", ["a", "b"]) if call else reranker.rank("q", ["a", "b"])
    return ranking


@pytest.mark.parametrize(
    "error", [limited(), errors.QuotaExceeded("spent"), errors.TimedOut("late"), errors.ConnectionFailed("refused")]
)
def test_a_reranker_that_is_down_is_skipped_and_then_tried_again(
    call: Call, clock: Clock, error: errors.RerankError, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    down = Service("down", error)
    fallback = Fallback([down, "input-order"])
    asked(fallback, call)
    skipping = asked(fallback, call)
    [failure] = skipping.failures
    assert (skipping.reranked_by, down.calls) == ("input-order", 1)
    assert (failure.reranker, failure.error, failure.skipped) == ("down", type(error).__name__, True)
    assert failure.message.startswith("skipped for another 30.0 s after ")
    clock.now += 30
    back = asked(fallback, call)
    assert (back.reranked_by, back.failures) == ("down", ())
    assert asked(fallback, call).reranked_by == "down"
    first, last = caplog.messages  # nothing for the call that skipped it
    assert first.endswith(" and is skipped for 30 s; input-order answered instead")
    assert last == "down answers again"


def test_the_wait_that_the_service_asks_for_takes_the_place_of_the_usual_one(clock: Clock) -> None:
    overloaded = errors.ServerError("busy", status=503, retry_after=5)
    long, short = Service("long", limited(120)), Service("short", overloaded)
    fallback = Fallback([long, short, "input-order"])
    asked(fallback)
    clock.now += 4
    assert asked(fallback).reranked_by == "input-order"
    clock.now += 2
    assert asked(fallback).reranked_by == "short"
    clock.now += 100
    assert asked(fallback).reranked_by == "short"
    clock.now += 20
    assert asked(fallback).reranked_by == "long"


def test_a_service_that_asks_for_an_absurd_wait_is_tried_again_within_the_hour(clock: Clock) -> None:
    fallback = Fallback([Service("down", limited(1_764_244_800)), "input-order"])  # the time, not a wait
    assert asked(fallback).reranked_by == "input-order"
    clock.now += 3600
    assert asked(fallback).reranked_by == "down"


def test_errors_that_say_nothing_about_the_next_call_skip_nothing(clock: Clock) -> None:
    passing = [errors.ServerError("500"), errors.BadReply("?"), errors.InferenceFailed("!"), errors.Overloaded("full")]
    service = Service("service", *passing)
    fallback = Fallback([service, "input-order"])
    assert [asked(fallback).failures[0].skipped for _ in passing] == [False] * 4
    assert asked(fallback).reranked_by == "service"


async def test_a_time_out_beside_calls_that_are_answered_skips_nothing(clock: Clock) -> None:
    service = Service("service", errors.TimedOut("late"))
    service.may_go_on = asyncio.Event()
    fallback = Fallback([service, "input-order"])
    late = asyncio.ensure_future(fallback.arank("q", ["a"]))
    await asyncio.sleep(0)
    gate, service.may_go_on = service.may_go_on, None
    service.errors, times_out = [], service.errors
    await fallback.arank("q", ["a"])
    service.errors = times_out
    gate.set()
    assert [failure.error for failure in (await late).failures] == ["TimedOut"]
    assert asked(fallback).reranked_by == "service"


async def test_only_one_call_at_a_time_tries_it_from_whatever_thread_or_loop(clock: Clock) -> None:
    service = Service("service", limited(), limited())
    fallback = Fallback([service, "input-order"])
    asked(fallback)
    clock.now += 31
    service.may_go_on = asyncio.Event()
    trial = asyncio.ensure_future(fallback.arank("q", ["a"]))
    await asyncio.sleep(0)
    others = await asyncio.gather(
        *(fallback.arank("q", ["a"]) for _ in range(20)),
        *(asyncio.to_thread(asked, fallback) for _ in range(5)),
        asyncio.to_thread(lambda: asyncio.run(fallback.arank("q", ["a"]))),
    )
    assert {other.failures[0].message for other in others} == {
        "skipped while one call tries it after RateLimited, status 429"
    }
    service.may_go_on.set()
    assert [failure.skipped for failure in (await trial).failures] == [False]  # the trial failed, too
    assert service.calls == 2
    assert asked(fallback).failures[0].message.startswith("skipped for another 30.0 s")
    clock.now += 31
    assert asked(fallback).reranked_by == "service"


async def test_a_trial_that_shows_nothing_leaves_it_to_the_next_call(clock: Clock) -> None:
    service = Service("service", limited(), errors.BadRequest("a word the service rejects"))
    fallback = Fallback([service, "input-order"])
    asked(fallback)
    clock.now += 31
    service.may_go_on = asyncio.Event()
    cancelled = asyncio.ensure_future(fallback.arank("q", ["a"]))
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.gather(cancelled, return_exceptions=True)
    with pytest.raises(errors.BadRequest):
        asked(fallback)
    assert asked(fallback).reranked_by == "service"


async def test_a_forked_child_does_not_wait_for_its_parent_s_trial(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service("service", limited())
    fallback = Fallback([service, "input-order"])
    asked(fallback)
    clock.now += 31
    service.may_go_on = asyncio.Event()
    trial = asyncio.ensure_future(fallback.arank("q", ["a"]))
    await asyncio.sleep(0)
    assert asked(fallback).reranked_by == "input-order"
    monkeypatch.setattr("ksdk_rerank.compose._circuit_breaker.os.getpid", lambda: -1)  # as in a child
    assert asked(fallback).reranked_by == "service"
    service.may_go_on.set()
    await trial


def test_if_nothing_else_answers_the_one_that_is_back_first_is_tried_anyway(clock: Clock) -> None:
    later, sooner = Service("later", limited(60)), Service("sooner", limited(20), limited(10))
    broken = Service("broken", *(errors.ServerError("broken", status=500) for _ in range(9)))
    fallback = Fallback([later, sooner, broken])
    with pytest.raises(errors.ServerError):
        asked(fallback)
    with pytest.raises(errors.RateLimited) as raised:
        asked(fallback)
    first, second = raised.value.__notes__
    assert first.startswith("before that, later was skipped for another 60.0 s after RateLimited, status 429")
    assert second == "before that, broken failed: ServerError: broken"
    answered = asked(fallback)
    assert (answered.reranked_by, [f.reranker for f in answered.failures]) == ("sooner", ["later", "broken"])
    assert (later.calls, sooner.calls) == (1, 3)


@pytest.mark.parametrize("off", [None, 0])
def test_it_can_be_switched_off(clock: Clock, off: float | None) -> None:
    service = Service("service", limited(60), errors.TimedOut("late"))
    fallback = Fallback([service, "input-order"], cool_down=off)
    assert [asked(fallback).reranked_by for _ in range(3)] == ["input-order", "input-order", "service"]


@pytest.mark.parametrize("wrong", [-1, float("inf"), float("nan"), "30", True])
def test_what_is_no_number_of_seconds_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="cool_down must be"):
        Fallback(["lexical"], cool_down=wrong)


def test_each_fallback_learns_for_itself_and_copies_carry_only_the_configuration(clock: Clock) -> None:
    service = Service("service", limited())
    fallback = Fallback([service, "input-order"], cool_down=5)
    asked(fallback)
    assert asked(Fallback([service, "input-order"])).reranked_by == "service"
    assert asked(pickle.loads(pickle.dumps(fallback))).reranked_by == "service"
    assert asked(fallback).reranked_by == "input-order"
    config = to_config(Fallback(["lexical"], cool_down=5))
    assert config["parameters"] == {"rerankers": [to_config(from_config({"class": "LexicalReranker"}))], "cool_down": 5}
