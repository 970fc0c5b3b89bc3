"""`Worker`: one piece of work after another, off the event loop, in order, and never lost."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from functools import partial

import pytest

from ksdk_rerank.concurrency.worker import Worker

Held = tuple[Worker, Future[str], threading.Event]


@pytest.fixture
def held() -> Iterator[Held]:
    """A worker with one thread that is busy until the event is set."""
    worker, begun, go_on = Worker("test"), threading.Event(), threading.Event()

    def work() -> str:
        begun.set()
        assert go_on.wait(30)
        return "held"

    future = worker.submit(work)
    assert begun.wait(30)
    yield worker, future, go_on
    go_on.set()
    worker.drain()


def threads_of(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(name)]


def test_work_is_done_in_the_order_it_came(held: Held) -> None:
    worker, _, go_on = held
    done: list[int] = []
    futures = [worker.submit(partial(done.append, n)) for n in range(20)]
    go_on.set()
    for future in futures:
        future.result(30)
    assert done == list(range(20))


def test_an_error_is_the_callers(held: Held) -> None:
    worker, _, go_on = held
    go_on.set()
    with pytest.raises(ZeroDivisionError):
        worker.run(lambda: 1 / 0)
    assert worker.run(lambda: 1) == 1


def test_a_cancelled_await_leaves_the_queue(held: Held) -> None:
    worker, _, go_on = held
    done: list[str] = []

    async def main() -> None:
        task = asyncio.create_task(worker.arun(lambda: done.append("cancelled")))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    go_on.set()
    worker.run(lambda: done.append("next"))
    assert done == ["next"]


def test_threads_start_as_they_are_needed_and_no_more_than_allowed() -> None:
    worker, all_there = Worker("test-many", threads=3), threading.Barrier(4)
    for _ in range(5):
        worker.run(lambda: None)
    assert len(threads_of("test-many")) == 1
    futures = [worker.submit(lambda: all_there.wait(30)) for _ in range(3)]
    all_there.wait(30)
    for future in futures:
        future.result(30)
    waiting = [worker.submit(lambda: time.sleep(0.01)) for _ in range(20)]
    assert len(threads_of("test-many")) == 3
    for slept in waiting:
        slept.result(30)
    worker.drain()
    assert threads_of("test-many") == []


@pytest.mark.parametrize("cancel", [False, True])
def test_close_finishes_what_has_begun_and_what_waits_unless_told_to_cancel_that(held: Held, cancel: bool) -> None:
    worker, begun, go_on = held
    waiting = worker.submit(lambda: "waited")
    worker.close(cancel=cancel)
    assert worker.run(lambda: "again") == "again"  # on a new thread
    go_on.set()
    assert begun.result(30) == "held"
    if cancel:
        with pytest.raises(CancelledError):
            waiting.result(30)
    else:
        assert waiting.result(30) == "waited"


def test_drain_waits_for_what_work_submits_in_its_turn() -> None:
    worker, done = Worker("test-drain"), []

    def again(left: int) -> None:
        done.append(left)
        if left:
            worker.submit(lambda: again(left - 1))

    worker.submit(lambda: again(5))
    worker.drain()
    assert done == [5, 4, 3, 2, 1, 0]


def test_the_threads_of_a_forgotten_worker_end() -> None:
    worker = Worker("test-forgotten")
    worker.run(lambda: None)
    del worker
    gc.collect()
    deadline = time.monotonic() + 30
    while threads_of("test-forgotten") and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threads_of("test-forgotten") == []


def test_an_idle_thread_keeps_nothing_of_what_it_did_alive() -> None:
    class Big:
        pass

    def find(one: Big, among: dict[Big, int]) -> int:
        return among[one]

    worker, big = Worker("test-idle"), Big()
    gone = weakref.ref(big)
    worker.run(partial(find, big, {big: 1}))
    with pytest.raises(KeyError):
        worker.run(partial(find, big, {}))
    del big
    deadline = time.monotonic() + 30
    while gone() is not None and time.monotonic() < deadline:
        time.sleep(0.01)
        gc.collect()
    assert gone() is None
    worker.drain()


def test_where_python_starts_no_thread_the_caller_does_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")  # as Python 3.12.1 says

    monkeypatch.setattr(threading.Thread, "start", refuse)
    worker = Worker("test-refused")
    assert worker.run(threading.get_ident) == threading.get_ident()
    assert asyncio.run(worker.arun(lambda: 2)) == 2
    worker.drain()


@pytest.mark.parametrize("busy", ["short", "long"])
def test_a_program_ends_quietly_while_daemon_threads_are_busy(busy: str) -> None:
    code = f"""if True:
        import threading, time
        from ksdk_rerank.concurrency import worker as module
        module._EXIT_PATIENCE, module._EXIT_PAUSE = 1.0, 0.5
        worker, begun = module.Worker("test"), threading.Event()
        def work():
            begun.set()
            time.sleep({0.2 if busy == "short" else 60})
            print("done", flush=True)
        def ask():
            while True:
                worker.run(work)
        threading.Thread(target=ask, daemon=True).start()
        begun.wait()
    """
    done = subprocess.run([sys.executable, "-X", "dev", "-c", code], capture_output=True, text=True, timeout=50)
    assert (done.stdout, done.stderr, done.returncode) == ("done\n" if busy == "short" else "", "", 0)


def test_what_other_handlers_do_at_exit_is_still_done() -> None:
    code = """if True:
        import atexit, threading
        def at_exit():
            print(worker.run(lambda: "done"), flush=True)
        atexit.register(at_exit)  # before ours, so it runs after it
        from ksdk_rerank.concurrency.worker import Worker
        worker = Worker("test")
        worker.run(lambda: None)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr, done.returncode) == ("done\n", "", 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own(held: Held) -> None:
    worker, _, _ = held
    child = os.fork()
    if not child:
        os._exit(0 if worker.run(lambda: 3) == 3 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
