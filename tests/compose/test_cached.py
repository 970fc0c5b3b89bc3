"""`Cached`: the same question about the same document is asked once."""

from __future__ import annotations

import asyncio
import json
import pickle
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ksdk_rerank import InputOrder, LexicalReranker, Reranker, ScoreKind, Scores, ScoringReranker
from ksdk_rerank._fingerprint import identity
from ksdk_rerank.compose.cached import Cached
from ksdk_rerank.compose.cascade import Cascade
from ksdk_rerank.compose.deduplicated import Deduplicated
from ksdk_rerank.compose.fallback import Fallback
from ksdk_rerank.compose.fusion import Fusion
from ksdk_rerank.compose.long_documents import LongDocuments
from ksdk_rerank.errors import RateLimited

Call = Callable[..., Any]


class Length(ScoringReranker):
    """The longer the better. It notes what it was asked, and can be held up or fail once."""

    score_kind = ScoreKind.LOGIT
    pointwise = True

    def __init__(self, model: str = "one", seconds: float = 0.0) -> None:
        self.model = model
        self.seconds = seconds
        self.asked: list[list[str]] = []
        self.errors: list[BaseException] = []
        self.closed = 0

    @property
    def name(self) -> str:
        return f"length-{self.model}"

    def _answer(self, documents: Sequence[str]) -> Scores:
        if self.errors:
            raise self.errors.pop()
        return Scores([len(text) / 10 for text in documents], usage={"units": len(documents)}, truncated=1)

    def score(self, query: str, documents: Sequence[str]) -> Scores:
        self.asked.append(list(documents))
        time.sleep(self.seconds)
        return self._answer(documents)

    async def ascore(self, query: str, documents: Sequence[str]) -> Scores:
        self.asked.append(list(documents))
        await asyncio.sleep(self.seconds)
        return self._answer(documents)

    def close(self) -> None:
        self.closed += 1


class Listwise(Length):
    pointwise = False


@pytest.mark.parametrize("store", ["/tmp/cache", dict, 5, {"a"}])
def test_a_store_that_cannot_keep_entries_is_refused(store: Any) -> None:
    with pytest.raises(TypeError, match=r"store must be a mapping such as .*DiskStore.*, got"):
        Cached("lexical", store=store)


# What is asked


def test_only_misses_are_sent_and_each_text_once(call: Call) -> None:
    leaf = Length()
    cached = Cached(leaf)
    call(cached.rank, "q", ["a", "bb"])
    ranking = call(cached.rank, "q", ["bb", "ccc", "a", "ccc"])
    assert leaf.asked == [["a", "bb"], ["ccc"]]
    assert ranking.results == Length().rank("q", ["bb", "ccc", "a", "ccc"]).results


def test_ties_stay_in_input_order_whether_known_or_new(call: Call) -> None:
    cached = Cached(Length())
    call(cached.rank, "q", ["xx", "yyy"])
    assert call(cached.rank, "q", ["new", "zz", "yyy", "xx"]).indices == (0, 2, 1, 3)


def test_usage_is_what_this_ranking_cost(call: Call) -> None:
    cached = Cached(Length())
    first = call(cached.rank, "q", ["a", "bb"])
    again = call(cached.rank, "q", ["a", "bb"])
    assert (first.usage, first.truncated) == ({"units": 2}, 1)
    assert (again.usage, again.truncated) == ({}, 0)
    assert again.results == first.results


def test_another_query_or_text_is_asked(call: Call) -> None:
    leaf = Length()
    cached = Cached(leaf)
    for query, text in (("q", "a"), ("q2", "a"), ("q", "A"), ("q", "a ")):
        call(cached.rank, query, [text])
    assert len(leaf.asked) == 4


def test_a_listwise_reranker_is_remembered_by_whole_list(call: Call) -> None:
    leaf = Listwise()
    cached = Cached(leaf)
    first = call(cached.rank, "q", ["a", "bb", "ccc"])
    again = call(cached.rank, "q", ["a", "bb", "ccc"], top_n=2)
    call(cached.rank, "q", ["a", "bb"])
    call(cached.rank, "q", ["bb", "a", "ccc"])
    assert leaf.asked == [["a", "bb", "ccc"], ["a", "bb"], ["bb", "a", "ccc"]]
    assert again.results == first.results[:2]
    assert (again.usage, again.truncated) == ({}, 1)


def test_everything_on_the_ranking_of_a_wrapper_is_remembered(call: Call) -> None:
    documents = ["One fox. No fox here. Two foxes are here.", "a dog", "A dog", "a cat", ""]
    inner = Cascade(Deduplicated("lexical"), LongDocuments("lexical", window=5), keep=2)
    cached = Cached(inner)
    expected = inner.rank("two foxes", documents)
    assert any(ranked.span for ranked in expected)
    assert expected.duplicates == {2: 1}
    for _ in range(2):
        assert call(cached.rank, "two foxes", documents) == expected


def test_lexical_scores_are_not_mixed_between_lists(call: Call) -> None:
    cached = Cached(LexicalReranker())
    for documents in (["red fox", "dog"], ["red fox", "red dog"]):
        assert call(cached.rank, "red fox", documents) == LexicalReranker().rank("red fox", documents)


# How long it is remembered


def test_the_least_recently_used_are_forgotten_first(call: Call) -> None:
    leaf = Length()
    cached = Cached(leaf, max_entries=2)
    for text in ("a", "bb", "a", "ccc", "a", "bb"):
        call(cached.rank, "q", [text])
    assert leaf.asked == [["a"], ["bb"], ["ccc"], ["bb"]]


def test_a_list_counts_as_many_entries_as_documents(call: Call) -> None:
    leaf = Listwise()
    cached = Cached(leaf, max_entries=4)
    for documents in (
        ["a", "b", "c"],
        ["d"],
        ["a", "b", "c"],
        ["e", "f"],
        ["a", "b", "c"],
        list("vwxyz"),
        list("vwxyz"),
    ):
        call(cached.rank, "q", documents)
    # e and f push out d, and a b c as well; v to z are too many to be remembered at all
    assert leaf.asked == [["a", "b", "c"], ["d"], ["e", "f"], ["a", "b", "c"], list("vwxyz"), list("vwxyz")]


def test_more_documents_than_fit_are_ranked_all_the_same(call: Call) -> None:
    documents = ["x" * number for number in range(1, 30)]
    assert call(Cached(Length(), max_entries=3).rank, "q", documents).indices == tuple(range(28, -1, -1))


def test_entries_are_asked_for_again_after_their_time(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("ksdk_rerank.compose._cache_entries.time.time", lambda: now)
    leaf = Length()
    cached = Cached(leaf, ttl=60)
    for now in (1000.0, 1059.9, 1060.1, 1061.0):  # noqa: B007 - the clock reads it
        call(cached.rank, "q", ["a"])
    assert len(leaf.asked) == 2


def test_closing_forgets_what_is_in_memory_and_closes_the_reranker(call: Call) -> None:
    leaf = Length()
    cached = Cached(leaf)
    call(cached.rank, "q", ["a"])
    call(cached.close)
    call(cached.rank, "q", ["a"])
    assert len(leaf.asked) == 2
    assert leaf.closed == 1


# Stores


def test_a_store_is_shared_by_equal_rerankers_only(call: Call) -> None:
    store: dict[str, str] = {}
    leaves = [Length(), Length(), Length("two"), Listwise()]
    for leaf in leaves:
        call(Cached(leaf, store=store).rank, "q", ["a", "bb"])
    assert [len(leaf.asked) for leaf in leaves] == [1, 0, 1, 1]


def test_a_store_holds_neither_text_nor_query_nor_pickles(call: Call) -> None:
    store: dict[str, str] = {}
    for leaf in (Length(), Listwise()):
        call(Cached(leaf, store=store).rank, "secret question", ["secret document", "secret other"])
    assert len(store) == 3
    for key, entry in store.items():
        assert set(key) <= set("0123456789abcdef")
        assert "secret" not in entry
        json.loads(entry)


def test_a_diskcache_outlives_the_reranker_and_pickles_nothing(call: Call, tmp_path: Path) -> None:
    diskcache = pytest.importorskip("diskcache")
    leaves = [Length(), Length()]
    for leaf in leaves:
        with diskcache.Cache(tmp_path / "cache") as store:
            assert call(Cached(leaf, store=store).rank, "q", ["a", "bb"]).indices == (1, 0)
            assert len(store) == 2
    assert [len(leaf.asked) for leaf in leaves] == [1, 0]
    with closing(sqlite3.connect(tmp_path / "cache" / "cache.db")) as database:
        rows = database.execute("SELECT typeof(key), typeof(value), mode FROM Cache").fetchall()
    assert rows == [("text", "text", 1)] * 2  # 1 is text as it is; 4 would be a pickle


def entry(**changed: Any) -> str:
    """An entry about the text "a", with something `changed`."""
    sound = {"written": 0, "results": [[0, 0.5, 1.0, []]], "reranked_by": "x", "truncated": 0, "duplicates": []}
    return json.dumps({**sound, "query_truncated": False, "usage": {}, "seconds": 0.0, "first": False, **changed})


@pytest.mark.parametrize(
    "garbage",
    [
        "",
        "not json",
        b"\x80\x04N.",
        17,
        "[]",
        "{}",
        entry(results=[]),
        entry(results=[[0, float("nan"), 1.0, []]]),
        entry(results=[[5, 0.5, 1.0, []]]),
        entry(results=[[0, 7, "x", None]]),
        "[" * 100_000,
        '{"written": ' * 100_000,
        b"\xff\xfe{\x00}\x00",
        object(),
        {"written": 0},
        entry(results=[[0, 0.5, float("inf"), []]]),
        entry(results=[[0, 1.5, 1.0, []]]),
        entry(results=[[-1, 0.5, 1.0, []]]),
        entry(results=[[False, 0.5, 1.0, []]]),
        entry(results=[[0.0, 0.5, 1.0, []]]),
        entry(results=[["0", 0.5, 1.0, []]]),
        entry(results=[[10**30, 0.5, 1.0, []]]),
        entry(results=[[0, 0.5, 1.0, [[0, 99]]]]),
        entry(results=[[0, 0.5, 1.0, [[0]]]]),
        entry(results=[[0, 0.5, 1.0, [], None]]),
        entry(results=[[0, 0.5, 1.0, []], [1, 0.5, 1.0, []]]),
        entry(results=[[0, 0.5, 1.0, []]] * 2),
        entry(results=[], duplicates=[[0, 0]]),
        entry(results=[[0, 0.5, 1.0, []]], duplicates=[[0, 0]]),
        entry(truncated=float("inf")),
        entry(truncated=-1),
        entry(truncated="1"),
        entry(reranked_by=None),
        entry(query_truncated="no"),
        entry(query_truncated=0),
        entry(reranked_by=["x"]),
    ],
)
def test_what_is_no_entry_is_asked_for_again(call: Call, garbage: Any) -> None:
    for leaf in (Length(), Listwise()):
        store: dict[str, Any] = {}
        cached = Cached(leaf, store=store)
        first = call(cached.rank, "q", ["a"])
        for key in store:
            store[key] = garbage
        assert call(cached.rank, "q", ["a"]).results == first.results
        assert len(leaf.asked) == 2


@pytest.mark.parametrize("ttl", [1, 10**9])
@pytest.mark.parametrize("written", ["now", None, float("nan"), float("inf"), 10**400, -1, [], True])
def test_an_entry_of_an_odd_time_is_asked_for_again(call: Call, ttl: float, written: object) -> None:
    leaf, store = Length(), dict[str, str]()
    cached = Cached(leaf, store=store, ttl=ttl)
    call(cached.rank, "q", ["a"])
    for key in store:
        store[key] = entry(written=written)
    call(cached.rank, "q", ["a"])
    assert len(leaf.asked) == 2


def test_duplicates_that_repeat_each_other_are_no_entry(call: Call) -> None:
    leaf, store = Listwise(), dict[str, str]()
    cached = Cached(leaf, store=store)
    call(cached.rank, "q", ["a", "bb", "ccc"])
    for key in store:
        store[key] = entry(duplicates=[[1, 2], [2, 1]])
    assert call(cached.rank, "q", ["a", "bb", "ccc"]).indices == (2, 1, 0)


def test_an_entry_that_is_sound_is_taken(call: Call) -> None:
    leaf, store = Length(), dict[str, str]()
    cached = Cached(leaf, store=store)
    call(cached.rank, "q", ["a"])
    for key in store:
        store[key] = entry()
    assert call(cached.rank, "q", ["a"])[0].score == 0.5
    assert len(leaf.asked) == 1


async def test_a_store_is_never_touched_on_the_event_loop() -> None:
    class Disk(dict[str, str]):
        def get(self, key: str, default: Any = None) -> Any:
            threads.append(threading.current_thread())
            return super().get(key, default)

        def __setitem__(self, key: str, value: str) -> None:
            threads.append(threading.current_thread())
            super().__setitem__(key, value)

    threads: list[threading.Thread] = []
    await Cached(Length(), store=Disk()).arank("q", ["a"])
    assert len(threads) == 3
    assert threading.main_thread() not in threads


class Failing(dict[str, str]):
    """Raises `error` when read or written, or both."""

    def __init__(self, error: BaseException, *, reads: bool = True, writes: bool = True) -> None:
        self.error, self.reads, self.writes = error, reads, writes
        self.touched = 0

    def get(self, key: str, default: Any = None) -> Any:
        self.touched += 1
        if self.reads:
            raise self.error
        return super().get(key, default)

    def __setitem__(self, key: str, value: str) -> None:
        self.touched += 1
        if self.writes:
            raise self.error
        super().__setitem__(key, value)


class RedisLikeError(Exception):
    pass


STORE_ERRORS = [
    OSError("no space left on device"),
    sqlite3.OperationalError("database is locked"),
    sqlite3.DatabaseError("file is not a database"),
    pickle.UnpicklingError("invalid load key"),
    KeyError("secret text"),
    TimeoutError("the service did not answer"),
    RedisLikeError("secret text"),
    RecursionError("maximum recursion depth exceeded"),
    MemoryError(),
]


@pytest.mark.parametrize("error", STORE_ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(("reads", "writes"), [(True, False), (False, True), (True, True)])
def test_an_error_of_a_store_costs_no_answer_and_is_told_once_without_a_text(
    call: Call, caplog: pytest.LogCaptureFixture, error: Exception, reads: bool, writes: bool
) -> None:
    for leaf in (Length(), Listwise()):
        caplog.clear()
        cached = Cached(leaf, store=Failing(error, reads=reads, writes=writes))
        for _ in range(2):
            assert call(cached.rank, "secret text", ["a", "bb"]).indices == (1, 0)
        assert leaf.asked == [["a", "bb"]] * 2
        (record,) = caplog.records
        assert (record.name, record.levelname) == ("ksdk_rerank", "WARNING")
        assert "Failing" in record.getMessage()
        assert type(error).__name__ in record.getMessage()
        assert "secret" not in record.getMessage()


def test_an_entry_that_cannot_be_read_does_not_hide_the_others(call: Call) -> None:
    class Partly(dict[str, str]):
        def get(self, key: str, default: Any = None) -> Any:
            if key == damaged:
                raise pickle.UnpicklingError("invalid load key")
            return super().get(key, default)

    leaf, store, damaged = Length(), Partly(), ""
    cached = Cached(leaf, store=store)
    call(cached.rank, "q", ["a", "bb", "ccc"])
    damaged = list(store)[1]
    assert call(cached.rank, "q", ["a", "bb", "ccc"]).indices == (2, 1, 0)
    assert leaf.asked == [["a", "bb", "ccc"], ["bb"]]


def test_a_store_that_is_down_is_not_tried_for_every_document(call: Call) -> None:
    store = Failing(TimeoutError("the service did not answer"))
    call(Cached(Length(), store=store).rank, "q", ["x" * number for number in range(1, 100)])
    assert store.touched == 9  # three times reading, reading again when it is our turn, and writing


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), asyncio.CancelledError()])
def test_an_interruption_within_a_store_is_one(error: BaseException) -> None:
    with pytest.raises(type(error)):
        Cached(Length(), store=Failing(error)).rank("q", ["a"])


# Whose entries they are


def test_identity_covers_class_name_and_parameters_all_the_way_down() -> None:
    class Client:
        def __str__(self) -> str:
            return "client"

    rerankers: list[Reranker] = [
        LexicalReranker(),
        LexicalReranker(k1=1.5),
        LexicalReranker(b=1),
        InputOrder(),
        Length(),
        Listwise(),
        Length("two"),
        Length(Client()),  # type: ignore[arg-type]
        Cascade("lexical", Length()),
        Cascade("lexical", Length("two")),
        Cascade("lexical", Length(), keep=5),
        Fusion(["lexical", Length()]),
        Fusion([Length(), "lexical"]),
        Fusion(["lexical", Length()], weights=[1, 2]),
        LongDocuments(Length(), window=3),
    ]
    identities = [identity(reranker, "unknown") for reranker in rerankers]
    assert len(set(identities)) == len(rerankers)
    assert identities == [identity(reranker, "unknown") for reranker in rerankers]
    assert "0x" not in "".join(identities), "no address, which another object may have tomorrow"


def test_one_that_keeps_an_argument_to_itself_shares_a_store_with_nobody() -> None:
    class Secretive(Length):
        def __init__(self, size: int, api_key: str = "") -> None:
            super().__init__()
            self._size = size

    leaves = [Secretive(1), Secretive(2)]
    store: dict[str, str] = {}
    for leaf in leaves:
        Cached(leaf, store=store).rank("q", ["a"])
    assert [len(leaf.asked) for leaf in leaves] == [1, 1]


def test_how_something_is_remembered_does_not_matter_to_an_outer_cache() -> None:
    plain, stored = Cached(Length()), Cached(Length(), max_entries=5, store=dict[str, str]())
    assert identity(LongDocuments(plain), "u") == identity(LongDocuments(stored), "u")


# Several callers at once


def _in_threads(count: int, work: Callable[[int], Any]) -> list[Any]:
    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(work, range(count)))


@pytest.mark.parametrize("leaf", [Length(seconds=0.2), Listwise(seconds=0.2)])
def test_threads_that_ask_the_same_at_once_share_one_call(leaf: Length) -> None:
    cached = Cached(leaf)
    rankings = _in_threads(8, lambda _: cached.rank("q", ["a", "bb"]))
    assert leaf.asked == [["a", "bb"]]
    assert {ranking.indices for ranking in rankings} == {(1, 0)}
    assert sorted(ranking.usage.get("units", 0) for ranking in rankings) == [0, 0, 0, 0, 0, 0, 0, 2]


@pytest.mark.parametrize("kind", [Length, Listwise])
async def test_tasks_that_ask_the_same_at_once_share_one_call(kind: type[Length]) -> None:
    leaf = kind(seconds=0.05)
    cached = Cached(leaf, store=dict[str, str]())
    rankings = await asyncio.gather(*(cached.arank("q", ["a", "bb"]) for _ in range(8)))
    assert leaf.asked == [["a", "bb"]]
    assert {ranking.indices for ranking in rankings} == {(1, 0)}


def test_callers_that_overlap_send_only_what_nobody_else_is_asking() -> None:
    leaf = Length(seconds=0.2)
    cached = Cached(leaf)

    def one(number: int) -> tuple[int, ...]:
        time.sleep(number * 0.05)
        return cached.rank("q", ["x" * (number + 1), "x" * (number + 2), "x" * (number + 3)]).indices

    assert _in_threads(3, one) == [(2, 1, 0)] * 3
    assert leaf.asked == [["x", "xx", "xxx"], ["xxxx"], ["xxxxx"]]


async def test_a_task_waits_for_a_thread_that_asks_already() -> None:
    leaf = Length(seconds=0.2)
    cached = Cached(leaf)
    thread = threading.Thread(target=lambda: cached.rank("q", ["a"]))
    thread.start()
    await asyncio.sleep(0.05)
    assert (await cached.arank("q", ["a"])).indices == (0,)
    thread.join()
    assert len(leaf.asked) == 1


async def test_a_blocking_call_on_the_event_loop_does_not_wait_for_a_task_of_that_loop() -> None:
    leaf = Length(seconds=0.01)
    cached = Cached(leaf)
    task = asyncio.ensure_future(cached.arank("q", ["a"]))
    await asyncio.sleep(0)
    assert cached.rank("q", ["a"]).indices == (0,)  # would never return, if it waited for the task
    assert (await task).indices == (0,)
    assert len(leaf.asked) == 2


def test_a_task_left_behind_on_a_stopped_loop_holds_nobody_up() -> None:
    leaf = Length(seconds=0.01)
    cached = Cached(leaf)
    loop = asyncio.new_event_loop()

    async def leave() -> asyncio.Task[Any]:
        task = asyncio.ensure_future(cached.arank("q", ["a"]))
        await asyncio.sleep(0)
        return task

    task = loop.run_until_complete(leave())
    assert cached.rank("q", ["a"]).indices == (0,)
    assert asyncio.run(cached.arank("q", ["b"])).indices == (0,)
    assert loop.run_until_complete(task).indices == (0,)
    loop.close()


async def test_if_the_call_fails_the_others_ask_for_themselves() -> None:
    leaf = Length(seconds=0.05)
    leaf.errors = [RateLimited("too many requests; wait a second")]
    cached = Cached(leaf)
    outcomes = await asyncio.gather(*(cached.arank("q", ["a"]) for _ in range(3)), return_exceptions=True)
    assert isinstance(outcomes[0], RateLimited)
    assert [outcome.indices for outcome in outcomes[1:] if not isinstance(outcome, BaseException)] == [(0,), (0,)]
    assert len(leaf.asked) == 3


def test_if_the_call_fails_in_one_thread_the_others_ask_for_themselves() -> None:
    leaf = Length(seconds=0.1)
    leaf.errors = [RateLimited("too many requests; wait a second")]
    cached = Cached(leaf)

    def one(_: int) -> str:
        try:
            return str(cached.rank("q", ["a"]).indices)
        except RateLimited:
            return "failed"

    assert sorted(_in_threads(3, one)) == ["(0,)", "(0,)", "failed"]
    assert len(leaf.asked) == 3


async def test_if_the_call_is_cancelled_one_of_the_others_takes_over() -> None:
    leaf = Length(seconds=0.1)
    cached = Cached(leaf)
    tasks = [asyncio.ensure_future(cached.arank("q", ["a"])) for _ in range(4)]
    await asyncio.sleep(0.01)
    tasks[0].cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(outcomes[0], asyncio.CancelledError)
    assert [outcome.indices for outcome in outcomes[1:] if not isinstance(outcome, BaseException)] == [(0,)] * 3
    assert len(leaf.asked) == 2


async def test_one_who_waits_can_be_cancelled_without_the_others() -> None:
    leaf = Length(seconds=0.1)
    cached = Cached(leaf)
    tasks = [asyncio.ensure_future(cached.arank("q", ["a"])) for _ in range(3)]
    await asyncio.sleep(0.01)
    tasks[1].cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(outcome, asyncio.CancelledError) for outcome in outcomes] == [False, True, False]
    assert len(leaf.asked) == 1


def test_errors_are_not_remembered(call: Call) -> None:
    leaf = Length()
    leaf.errors = [RateLimited("too many requests; wait a second")]
    cached = Cached(leaf)
    with pytest.raises(RateLimited):
        call(cached.rank, "q", ["a"])
    assert call(cached.rank, "q", ["a"]).indices == (0,)


def test_a_ranking_for_which_a_fallback_moved_on_is_not_remembered(call: Call) -> None:
    preferred = Length()
    preferred.errors = [RateLimited("too many requests; wait a second")]
    cached = Cached(Fallback([preferred, InputOrder()], cool_down=None))
    assert call(cached.rank, "q", ["a", "bb"]).reranked_by == "input-order"
    assert call(cached.rank, "q", ["a", "bb"]).reranked_by == "length-one"
    assert call(cached.rank, "q", ["a", "bb"]).reranked_by == "length-one"
    assert len(preferred.asked) == 2


# The rest


def test_pickling_keeps_the_arguments_and_not_the_entries() -> None:
    cached = Cached(LexicalReranker(), max_entries=7, ttl=5)
    cached.rank("secret", ["a secret"])
    pickled = pickle.dumps(cached)
    assert repr(pickle.loads(pickled)) == repr(cached) == "Cached(LexicalReranker(), max_entries=7, ttl=5)"
    assert len(pickled) < 300


def test_repr_does_not_list_the_store() -> None:
    store = {"key": "entry"}
    assert repr(Cached("lexical", store=store)).endswith("ttl=None, store=<dict>)")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_entries": 0}, "leave Cached out"),
        ({"ttl": 0}, "positive, finite number of seconds"),
        ({"ttl": float("inf")}, "use None to keep"),
    ],
)
def test_wrong_arguments_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Cached("lexical", **options)
