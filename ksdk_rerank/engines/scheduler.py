"""`Scheduler`: fair queueing of the calls for one model.

A free thread takes one piece of work: it encodes some documents of a call, or runs one batch. So a call never holds a
thread for longer than one piece, however many documents it has. Every other piece goes to the call with the least work
left, so small calls overtake huge ones. The pieces in between go to the call that has waited longest, so a huge call
gets half of the time however many small ones arrive.

If more calls are ready than there are threads, they may share a forward pass. A call that runs alone is never mixed: it
gets the same scores, bit for bit, every time.

Worked example, one thread: A has three batches. B, with one batch, arrives while A's first batch runs. The order is A,
B, A, A. First come, first served would be A, A, A, B.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial

from ksdk_rerank.concurrency.locks import Lock
from ksdk_rerank.concurrency.worker import Worker, pause_at_exit
from ksdk_rerank.engines.scoring import ForwardPass, Job
from ksdk_rerank.errors import Overloaded
from ksdk_rerank.scores import Scores

__all__ = ["Scheduler"]


class Scheduler:
    """Queues the calls for one model and hands their work to threads. Any thread may use it.

    Args:
        worker: owns the threads that do the work.
        name: the model's name, for messages.
    """

    def __init__(self, worker: Worker, name: str = "the model") -> None:
        self._worker = worker
        self._name = name
        self._lock = Lock()
        self._jobs: list[Job] = []  # in order of arrival
        self._running = 0  # how many threads run a forward pass
        self._turn = 0

    def join(self, job: Job, max_waiting: int | None = None) -> Future[list[Scores]]:
        """Queue a job and return its future.

        Cancelling the future takes the job out of the queue, even if some of its batches have already run.

        Raises:
            Overloaded: there is a call for every thread, and `max_waiting` more are waiting.
        """
        with self._lock:
            if max_waiting is not None and (count := self._in_progress()) >= self._worker.threads + max_waiting:
                raise Overloaded(
                    f"{self._name} is busy: {count} calls are in progress, {self._worker.threads} can run at once, and"
                    f" max_waiting={max_waiting} may wait; try again later, raise max_waiting, or put the reranker into"
                    " a Fallback"
                )
            self._jobs.append(job)
        self._worker.submit(self._work)
        return job.future

    def in_progress(self) -> int:
        """How many calls are waiting or running."""
        with self._lock:
            return self._in_progress()

    def _in_progress(self) -> int:
        return sum(not job.future.cancelled() for job in self._jobs)

    def _work(self) -> None:
        """Run one piece of work after another until there is none left for this thread."""
        try:
            while (piece := self._next()) is not None:
                piece()
                pause_at_exit()
        except BaseException as error:  # a bug in this library: unless every call fails, all would wait forever
            with self._lock:
                jobs = list(self._jobs)
            self._finish(jobs, error)

    def _next(self) -> Callable[[], None] | None:
        with self._lock:
            self._jobs = [job for job in self._jobs if not job.future.cancelled()]
            ready = [job for job in self._jobs if self._ready(job)]
            if not ready:
                return None
            self._turn += 1
            job = min(ready, key=lambda job: job.tokens_left) if self._turn % 2 else ready[0]
            if not job.encoded:
                job.encoding = True
                return partial(self._encode, job, len(self._jobs))
            self._running += 1
            mixes = len(ready) > job.streams  # else there is a thread for each
            return partial(self._run, ForwardPass(job, ready if mixes else ()))

    def _ready(self, job: Job) -> bool:
        """Whether one more thread could work on `job`."""
        return bool(job.batches) and self._running < job.streams if job.encoded else not job.encoding

    def _encode(self, job: Job, calls: int) -> None:
        try:
            job.encode(calls)
        except BaseException as error:
            self._finish([job], error)
            return
        with self._lock:
            job.encoding = False
        for _ in range(min(len(job.batches), job.streams) - 1):
            self._worker.submit(self._work)  # this thread continues with one of them

    def _run(self, forward_pass: ForwardPass) -> None:
        error, logits = None, None
        try:
            logits = forward_pass.run()
        except BaseException as raised:
            error = raised
        with self._lock:
            self._running -= 1
            if logits is not None:
                forward_pass.store(logits)
        self._finish([job for job in forward_pass.jobs if error is not None or not job.missing], error)

    def _finish(self, jobs: Sequence[Job], error: BaseException | None) -> None:
        """Take `jobs` out of the queue and give them their scores, or `error`."""
        for job in jobs:
            with self._lock:
                if job not in self._jobs:  # cancelled, or failed in another thread
                    continue
                self._jobs.remove(job)
            if not job.future.set_running_or_notify_cancel():
                continue
            if error is not None:
                job.future.set_exception(error)
            else:
                job.future.set_result(job.scores())
