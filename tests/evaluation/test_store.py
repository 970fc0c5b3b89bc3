"""`DiskStore`: nothing is asked twice, and nothing is in it that should not be."""

from __future__ import annotations

import copy
import json
import os
import pickle
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import NoneType
from typing import Any

import pytest

pytest.importorskip("ir_measures")

from ksdk_rerank import JinaReranker, LexicalReranker, SearchHit, models
from ksdk_rerank.compose._cache_entries import Entry
from ksdk_rerank.errors import RateLimited, Unauthorized
from ksdk_rerank.evaluation import DiskStore, evaluate
from ksdk_rerank.evaluation.run import run
from ksdk_rerank.results import Failure
from ksdk_rerank.testing import LocalServer, Reply, Request

Factory = Callable[[str, Callable[[str, Sequence[str]], Sequence[float]]], Any]

QUERIES = {f"q{n}": f"query {n}" for n in range(4)}
CANDIDATES = {id: [SearchHit(f"{id}-{n}", f"secret text {id} {n}") for n in range(3)] for id in QUERIES}
ANSWERS = {id: [f"{id}-1"] for id in QUERIES}


def lengths(query: str, documents: Sequence[str]) -> list[float]:
    return [float(len(document)) for document in documents]


def times_asked(reranker: Any, store: Any, query: str = "q", documents: Sequence[str] = ("x",)) -> int:
    """How many calls it takes to rank `documents`: none if `store` has the ranking."""
    list(run(reranker, [(query, documents)], store))
    return len(reranker.asked)


def test_nothing_is_asked_twice_and_the_numbers_stay(scripted: Factory, tmp_path: Path) -> None:
    rows = []
    for times_asked in (4, 0):
        reranker = scripted("mine", lengths)
        with DiskStore(tmp_path) as store:
            rows.append(evaluate([reranker], QUERIES, CANDIDATES, ANSWERS, store=store).rerankers[0])
        assert len(reranker.asked) == times_asked
    assert rows[0] == rows[1]  # times and usage too: they are those of the calls that were made


def test_it_goes_on_where_it_stopped(scripted: Factory, tmp_path: Path) -> None:
    def stops(query: str, documents: Sequence[str]) -> list[float]:
        if query == "query 2":
            raise KeyboardInterrupt
        return lengths(query, documents)

    with DiskStore(tmp_path) as store, pytest.raises(KeyboardInterrupt):
        evaluate([scripted("mine", stops)], QUERIES, CANDIDATES, ANSWERS, store=store)
    reranker = scripted("mine", lengths)
    with DiskStore(tmp_path) as store:
        evaluate([reranker], QUERIES, CANDIDATES, ANSWERS, store=store)
    assert reranker.asked == ["query 2", "query 3"]


def test_failures_are_asked_again(scripted: Factory, tmp_path: Path) -> None:
    def fails(query: str, documents: Sequence[str]) -> list[float]:
        raise RateLimited("wait")

    with DiskStore(tmp_path) as store:
        evaluate([scripted("mine", fails)], QUERIES, CANDIDATES, ANSWERS, store=store)
        reranker = scripted("mine", lengths)
        assert evaluate([reranker], QUERIES, CANDIDATES, ANSWERS, store=store).rerankers[0].failure is None
    assert len(reranker.asked) == 4


def test_what_is_known_counts_even_where_nothing_more_is_asked(scripted: Factory, tmp_path: Path) -> None:
    def refuses(query: str, documents: Sequence[str]) -> list[float]:
        raise Unauthorized("the key is wrong")

    questions = [(text, ["x", "xx"]) for text in QUERIES.values()]
    with DiskStore(tmp_path) as store:
        list(run(scripted("mine", lengths), questions[::3], store))
        reranker = scripted("mine", refuses)
        outcomes = list(run(reranker, questions, store))
    assert reranker.asked == ["query 1"]
    assert [type(outcome) for outcome in outcomes] == [Entry, Failure, NoneType, Entry]


def test_what_is_known_says_nothing_of_a_service_that_is_down(scripted: Factory, tmp_path: Path) -> None:
    def fails(query: str, documents: Sequence[str]) -> list[float]:
        raise RateLimited("wait")

    questions = [(f"query {n}", ["x", "xx"]) for n in range(10)]
    with DiskStore(tmp_path) as store:
        list(run(scripted("mine", lengths), questions[::2], store))
        reranker = scripted("mine", fails)
        outcomes = list(run(reranker, questions, store))
    assert reranker.asked == ["query 1", "query 3", "query 5"]
    assert [type(outcome) for outcome in outcomes] == [Entry, Failure] * 3 + [Entry, NoneType] * 2


def test_another_query_text_or_parameter_is_another_question(scripted: Factory, tmp_path: Path) -> None:
    with DiskStore(tmp_path) as store:
        for label, query, documents in [
            ("a", "q", ["x", "y"]),
            ("a", "q", ["xy", ""]),
            ("a", "q2", ["x", "y"]),
            ("b", "q", ["x", "y"]),
            ("a", "q", ["y", "x"]),
        ]:
            assert times_asked(scripted(label, lengths), store, query, documents) == 1
            assert times_asked(scripted(label, lengths), store, query, documents) == 0


@pytest.mark.parametrize("file", ["model.safetensors", "onnx/model.onnx"])
def test_a_model_folder_that_changes_is_asked_again(
    scripted: Factory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setattr(models, "_HERE", tmp_path)
    model = tmp_path / "embedded"
    (model / file).parent.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    for name in (str(model), "~/embedded", "embedded"):
        with DiskStore(tmp_path / "cache") as store:
            for content in ("old", "other one"):
                (model / file).write_text(content)
                assert [times_asked(scripted(name, lengths), store) for _ in range(2)] == [1, 0]


def test_a_folder_that_holds_no_model_does_not_matter(scripted: Factory, tmp_path: Path) -> None:
    with DiskStore(tmp_path / "cache") as store:
        for calls in (1, 0):
            (tmp_path / f"something {calls}").write_text("else")
            assert times_asked(scripted(str(tmp_path), lengths), store) == calls


def test_without_reading_everything_is_asked_and_kept(scripted: Factory, tmp_path: Path) -> None:
    for read, times_asked in ((True, 4), (False, 4), (True, 0)):
        reranker = scripted("mine", lengths)
        with DiskStore(tmp_path, read=read) as store:
            evaluate([reranker], QUERIES, CANDIDATES, ANSWERS, store=store)
        assert len(reranker.asked) == times_asked


def entry(**changed: Any) -> str:
    """An entry about one document, with something `changed`."""
    sound = {"written": 0, "results": [[0, 0.5, 1.0, []]], "reranked_by": "x", "truncated": 0, "duplicates": []}
    return json.dumps({**sound, "query_truncated": False, "usage": {}, "seconds": 1.0, "first": False, **changed})


def test_an_entry_that_is_sound_counts_with_its_time(scripted: Factory, tmp_path: Path) -> None:
    class Known:
        def get(self, key: str, /) -> object:
            return entry(usage={"tokens": 7}, seconds=2.5, first=True)

        def __setitem__(self, key: str, entry: str, /) -> None:
            raise AssertionError("nothing is new")

    [answer] = run(reranker := scripted("mine", lengths), [("q", ["x"])], Known())
    assert reranker.asked == []
    assert isinstance(answer, Entry)
    assert (answer.ranking.usage, answer.seconds, answer.first) == ({"tokens": 7}, 2.5, True)


@pytest.mark.parametrize(
    "entry",
    [
        None,
        3,
        "no",
        "[]",
        entry(results="a"),
        entry(results=[[7, 0.5, 1.0, []]]),
        entry(results=[[0, "high", 1.0, []]]),
        entry(results=[[0, 0.5, 1.0, []]] * 2),
        entry(results=[[0, float("inf"), 1.0, []]]),
        entry(seconds=float("nan")),
        entry(seconds=-1.0),
        entry(seconds=None),
        entry(usage={"tokens": float("nan")}),
        entry(truncated=-1),
        "[" * 100_000,
        b"\xff\xfe",
        object(),
    ],
)
def test_an_entry_that_is_none_of_ours_is_asked_again(scripted: Factory, entry: object) -> None:
    class Rubbish:
        def get(self, key: str, /) -> object:
            return entry

        def __setitem__(self, key: str, entry: str, /) -> None:
            pass

    assert times_asked(scripted("mine", lengths), Rubbish()) == 1


def test_it_holds_no_key_and_no_text_of_what_was_ranked(tmp_path: Path) -> None:
    class Service(LocalServer):
        def answer(self, request: Request) -> Reply:
            count = len(request.json()["documents"])  # type: ignore[index]
            return Reply.json({"results": [{"index": n, "relevance_score": 0.5} for n in range(count)], "usage": {}})

    with Service() as server, DiskStore(tmp_path) as store:
        for key in ("jina_verysecretkey", "jina_anothersecretkey"):
            reranker = JinaReranker("jina-model", api_key=key, base_url=server.url)
            row = evaluate([reranker], QUERIES, CANDIDATES, ANSWERS, store=store).rerankers[0]
            assert row.failure is None
            assert len(server.requests) == len(QUERIES)  # the second key asks nothing again
    content = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert content
    assert b"secretkey" not in content
    assert b"secret text" not in content


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_the_folder_is_for_this_user_alone(tmp_path: Path) -> None:
    with DiskStore(tmp_path / "a" / "b") as store:
        store["key"] = "entry"
        assert store.get("key") == "entry"
        del store["key"]
        assert store.get("key") is None
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700


def test_a_file_that_is_no_database_is_explained(tmp_path: Path) -> None:
    (tmp_path / "answers.sqlite3").write_text("no database, but long enough to look like one" * 50)
    with (
        DiskStore(tmp_path) as store,
        pytest.raises(OSError, match=r"cannot be used as a cache .*; name another folder"),
    ):
        store.get("key")


@pytest.mark.parametrize(
    ("damage", "warnings"),
    [
        (lambda sound: b"no database" * 500, 1),
        (lambda sound: sound[:60], 1),
        (lambda sound: sound[:4096] + b"\xff" * (len(sound) - 4096), 1),
        (lambda sound: sound[:4096], 1),
        (lambda sound: b"", 0),  # what SQLite takes for a new file
    ],
)
def test_a_damaged_file_costs_the_answers_in_it_and_one_warning(
    scripted: Factory,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[bytes], bytes],
    warnings: int,
) -> None:
    file = tmp_path / "answers.sqlite3"
    with DiskStore(tmp_path) as store:
        evaluate([scripted("mine", lengths)], QUERIES, CANDIDATES, ANSWERS, store=store)
    file.write_bytes(damage(file.read_bytes()))
    rerankers = [scripted("mine", lengths), scripted("other", lengths)]
    with DiskStore(tmp_path) as store:
        result = evaluate(rerankers, QUERIES, CANDIDATES, ANSWERS, store=store)
    assert [(len(row.queries), row.failure) for row in result.rerankers] == [(4, None), (4, None)]
    assert [len(reranker.asked) for reranker in rerankers] == [4, 4]
    assert len(caplog.records) == warnings
    for record in caplog.records:
        assert f"the cache store DiskStore failed: {file} cannot be used as a cache (" in record.getMessage()
        assert "name another folder" in record.getMessage()


_TAKES_PART = """
import sys, time
from pathlib import Path
from ksdk_rerank.evaluation import DiskStore
folder, name, number = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
(folder / f"ready-{name}").touch()
while len(list(folder.glob("ready-*"))) < number:
    time.sleep(0.001)
for turn in range(10):
    with DiskStore(folder / "cache") as store:
        store[f"{name} {turn}"] = name
        assert store.get(f"{name} {turn}") == name
        store["everybody's"] = name
"""


def test_processes_that_open_it_at_the_same_moment_wait_for_each_other(tmp_path: Path) -> None:
    number = 3
    command = [sys.executable, "-c", _TAKES_PART, str(tmp_path)]
    running = [
        subprocess.Popen([*command, str(name), str(number)], stderr=subprocess.PIPE, text=True)
        for name in range(number)
    ]
    assert [(process.communicate(timeout=120)[1], process.returncode) for process in running] == [("", 0)] * number
    with DiskStore(tmp_path / "cache") as store:
        assert [store.get(f"{name} {turn}") for name in range(number) for turn in range(10)] == [
            str(name) for name in range(number) for _ in range(10)
        ]


def test_a_process_that_is_writing_is_waited_for(tmp_path: Path) -> None:
    with DiskStore(tmp_path) as store:
        store["old"] = "entry"
    other = sqlite3.connect(tmp_path / "answers.sqlite3", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    ends = threading.Timer(0.2, other.execute, ["COMMIT"])
    ends.start()
    with DiskStore(tmp_path) as store:
        store["new"] = "entry"
        assert store.get("new") == "entry"
    ends.join()
    other.close()


def in_a_child(work: Callable[[], None]) -> None:
    """Run `work` in a forked process, which may then give up what it may do."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0


def read_but_not_write(folder: Path) -> None:
    with DiskStore(folder) as store:
        assert store.get("old") == "entry"
        with pytest.raises(OSError, match=r"cannot be used as a cache .*; name another folder"):
            store["new"] = "entry" * 100_000
        assert store.get("old") == "entry"
        assert store.get("new") is None


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not fork")
@pytest.mark.parametrize("closed", [True, False])
def test_a_cache_that_may_only_be_read_is_read(closed: bool) -> None:
    with tempfile.TemporaryDirectory() as outer:  # tmp_path is within a folder of this user's own
        folder = Path(outer, "cache")
        folder.mkdir()
        store = DiskStore(folder)
        store["old"] = "entry"
        if closed:  # otherwise its log is still beside it
            store.close()
        for path in (*folder.iterdir(), folder, Path(outer)):
            path.chmod(0o555 if path.is_dir() else 0o444)

        def work() -> None:
            if os.geteuid() == 0:
                os.setuid(65534)  # root may write everything
            read_but_not_write(folder)

        in_a_child(work)
        store.close()
        Path(outer).chmod(0o755)
        folder.chmod(0o755)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limits")
def test_a_cache_on_a_full_disk_is_read(tmp_path: Path) -> None:
    import resource

    with DiskStore(tmp_path) as store:
        store["old"] = "entry"

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # every write fails, as on a full disk
        read_but_not_write(tmp_path)

    in_a_child(work)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not fork")
def test_a_forked_child_opens_the_file_for_itself(tmp_path: Path) -> None:
    with DiskStore(tmp_path) as store:
        store["old"] = "entry"

        def work() -> None:
            assert store.get("old") == "entry"
            store["from the child"] = "entry"

        in_a_child(work)
        store["from the parent"] = "entry"
        assert store.get("from the child") == "entry"


def test_by_default_it_is_in_the_users_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("platformdirs")
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    with DiskStore() as store:
        store["key"] = "entry"
    [file] = tmp_path.rglob("answers.sqlite3")
    assert "ksdk-rerank" in file.parts
    assert repr(store) == "DiskStore()"


def test_cached_takes_one_as_its_store(tmp_path: Path) -> None:
    from ksdk_rerank.compose.cached import Cached

    with DiskStore(tmp_path) as store:
        rankings = [Cached(LexicalReranker(), store=store).rank("tea", ["green tea", "coffee"]) for _ in range(2)]
    assert rankings[0].indices == rankings[1].indices == (0, 1)


@pytest.mark.parametrize("copied", [lambda store: pickle.loads(pickle.dumps(store)), copy.deepcopy])
def test_a_copy_opens_the_same_file_for_itself(copied: Callable[[DiskStore], DiskStore], tmp_path: Path) -> None:
    with DiskStore(tmp_path) as store:
        store["key"] = "entry"
        with copied(store) as twin:
            assert twin.get("key") == "entry"
    with copied(DiskStore(tmp_path, read=False)) as blind:
        assert blind.get("key") is None
