"""Children of a process whose threads are busy: none may wait for a lock that only the parent can give back."""

from __future__ import annotations

import gc
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
import weakref
from pathlib import Path

import pytest

import ksdk_rerank
from ksdk_rerank.concurrency import locks
from ksdk_rerank.concurrency.locks import Lock
from ksdk_rerank.testing import LocalServer, Reply, Request

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

PROGRAM = """
import asyncio
import os
import signal
import sys
import threading
import time
import warnings

import ksdk_rerank as k
from ksdk_rerank.evaluation import DiskStore

warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: forking with threads
url, folder, store = sys.argv[1:]
RERANKERS = {
    "lexical": k.LexicalReranker(),
    "cached": k.Cached("lexical", max_entries=50),
    "cached lists": k.Cached(k.Cascade("lexical", "lexical", keep=2), max_entries=50),
    "stored": k.Cached("lexical", store=DiskStore(store)),
    "windows": k.LongDocuments(k.Cached("lexical")),
    "deduplicated": k.Deduplicated("lexical"),
    "local": k.CrossEncoderReranker(folder, backend="onnx"),
    "tei": k.TEIReranker(url),
}
documents = ["the key " * n for n in range(1, 9)]


def asked(reranker, number):
    return len(reranker.rank(f"the key {number}", documents))


def awaited(reranker, number):
    return len(asyncio.run(reranker.arank(f"the key {number}", documents)))


def hammer(reranker, start, stop):
    number = start
    while not stop.is_set():
        awaited(reranker, number % 60) if number % 5 == 0 else asked(reranker, number % 60)
        number += 4


for name, reranker in RERANKERS.items():
    expected = asked(reranker, 0), awaited(reranker, 0)
    stop = threading.Event()
    threads = [threading.Thread(target=hammer, args=(reranker, start, stop), daemon=True) for start in range(4)]
    for thread in threads:
        thread.start()
    children = []
    for number in range(20 if name.startswith("cached") else 8):
        child = os.fork()
        if not child:
            signal.alarm(20)
            right = (asked(reranker, number), awaited(reranker, number + 1)) == expected
            os._exit(0 if right else 1)
        children.append(child)
    failed = sum(os.waitpid(child, 0)[1] != 0 for child in children)
    stop.set()
    for thread in threads:
        thread.join()
    print(name, failed, flush=True)
os._exit(0)
"""


def fork() -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: forking with threads
        return os.fork()


def answer(request: Request) -> Reply:
    return Reply.json([{"index": index, "score": 0.5} for index in range(len(json.loads(request.body)["texts"]))])


NAMES = ["lexical", "cached", "cached lists", "stored", "windows", "deduplicated", "local", "tei"]


def test_every_child_of_a_busy_process_gets_its_answers(tiny_bert: str, tmp_path: Path) -> None:
    with LocalServer(answer) as server:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, server.url, tiny_bert, str(tmp_path)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TOKENIZERS_PARALLELISM": "false"},
            capture_output=True,
            text=True,
            timeout=240,
        )
    assert (done.stdout, done.stderr) == ("".join(f"{name} 0\n" for name in NAMES), "")


def test_a_fork_waits_for_a_lock_and_the_childs_is_free() -> None:
    lock, held, go_on, order = Lock(), threading.Event(), threading.Event(), []

    def hold() -> None:
        with lock:
            held.set()
            go_on.wait(0.05)
            order.append("let go")

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    child = fork()
    order.append("forked")
    if not child:
        os._exit(0 if lock.inner.acquire(timeout=1) else 1)
    thread.join()
    assert order == ["let go", "forked"]
    assert os.waitpid(child, 0)[1] == 0
    with lock:  # and the parent's is free again
        pass


def test_a_lock_that_is_held_for_long_does_not_hold_up_a_fork_and_is_free_in_the_child() -> None:
    lock = Lock()
    with lock:
        child = fork()  # would never return if it waited for the lock
        if not child:
            os._exit(0 if lock.inner.acquire(timeout=1) else 1)
        assert lock.inner.locked()
    assert os.waitpid(child, 0)[1] == 0


def test_threads_may_fork_at_the_same_time() -> None:
    locks = [Lock() for _ in range(50)]
    children: list[int] = []

    def forks() -> None:
        for _ in range(2):
            child = fork()
            if not child:
                os._exit(0 if all(lock.inner.acquire(timeout=1) for lock in locks) else 1)
            children.append(child)

    threads = [threading.Thread(target=forks) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 8
    assert not any(lock.inner.locked() for lock in locks)


def test_a_child_that_is_forked_during_the_very_first_calls_gets_its_answer() -> None:
    program = """if True:
        import os, signal, threading, warnings
        from ksdk_rerank import Cached, LexicalReranker

        warnings.simplefilter("ignore", DeprecationWarning)
        reranker = Cached(LexicalReranker())
        for _ in range(4):
            threading.Thread(target=reranker.rank, args=("key", ["a key", "b"]), daemon=True).start()
        child = os.fork()
        if not child:
            signal.alarm(20)
            os._exit(0 if len(reranker.rank("key", ["a key", "b"])) == 2 else 1)
        print(os.waitpid(child, 0)[1], flush=True)
        os._exit(0)
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_a_fork_waits_until_other_threads_have_imported_what_a_child_may_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow_to_import.py").write_text("import time\ntime.sleep(0.2)\nvalue = 1\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    importing = threading.Thread(target=lambda: __import__("slow_to_import"))
    importing.start()
    while "slow_to_import" not in sys.modules:
        time.sleep(0.001)
    child = fork()
    if not child:
        signal.alarm(10)
        os._exit(0 if __import__("slow_to_import").value == 1 else 1)
    assert os.waitpid(child, 0)[1] == 0
    importing.join()
    del sys.modules["slow_to_import"]


def test_a_lock_is_forgotten_with_its_owner() -> None:
    before = len(locks._locks)
    lock = Lock()
    gone = weakref.ref(lock)
    del lock
    gc.collect()
    assert gone() is None
    assert len(locks._locks) <= before


def test_every_lock_in_the_library_is_one_that_a_fork_finds_free() -> None:
    root = Path(ksdk_rerank.__file__).parent
    # The worker's is of one process, and a child has another.
    own = {root / "concurrency" / "locks.py", root / "concurrency" / "worker.py"}
    packages = (root, root.parent / "langchain_ksdk_rerank", root.parent / "llamaindex_ksdk_rerank")
    # functools.cached_property has one until Python 3.12.
    pattern = re.compile(r"threading\.(R?Lock|Condition|(Bounded)?Semaphore)\(|from threading import|cached_property")
    found = [
        f"{path.relative_to(root.parent)}:{number}"
        for package in packages
        for path in package.rglob("*.py")
        if path not in own
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line) and "_not_warned" not in line  # nobody waits for that one
    ]
    assert found == []
