"""`Scheduler`: fair queueing of the calls for one model.

A free thread takes one piece of work: it encodes some documents of a call, or runs one batch. So a call never holds a
thread for longer than one piece, however many documents it has. Every other piece goes to the call with the least work
left, so small calls overtake huge ones. The pieces in between go to the call that has waited longest, so a huge call
gets half of the time however many small ones arrive.

If more calls are ready than there are threads, a half-empty batch is topped up with another call's batch of similar
length, so calls that wait at the same moment share a forward pass. A call that runs alone is never mixed: it gets the
same scores, bit for bit, every time.

Worked example, one thread: A has three batches. B, with one batch, arrives while A's first batch runs. The order is A,
B, A, A. First come, first served would be A, A, A, B.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from ksdk_rerank._text.words import estimated_tokens
from ksdk_rerank.base import Scores
from ksdk_rerank.concurrency.locks import Lock
from ksdk_rerank.concurrency.worker import Worker, pause_at_exit
from ksdk_rerank.errors import Overloaded

if TYPE_CHECKING:
    from ksdk_rerank.engines.scoring import Job, Model

__all__ = ["Scheduler"]

_WINDOW = 512
"""Maximum tokens counted per document to estimate a call's size before it is tokenized: the usual window."""

_ABOUT_AS_LONG = 0.75
"""Two batches are merged only if the shorter one's longest pair has at least this share of the longer one's length.
Below that, too much would be padding."""


@dataclass(eq=False, slots=True)
class _Call:
    query: str
    documents: Sequence[str]
    estimate: int  # of its size in tokens
    future: Future[Scores] = field(default_factory=Future)
    encoding: bool = False  # whether a thread is encoding it right now
    model: Model | None = None
    job: Job | None = None  # of that model

    def waiting(self) -> int:
        """About how many tokens no thread has taken yet."""
        return self.job.waiting if self.job is not None and self.job.encoded else self.estimate

    def ready(self, running: int) -> bool:
        """Whether one more thread could work on this call while `running` threads run batches."""
        if self.job is None or self.model is None or not self.job.encoded:
            return not self.encoding
        return bool(self.job.batches) and running < self.model.engine.streams


class Scheduler:
    """Queues the calls for one model and hands their work to threads. Any thread may use it.

    Args:
        worker: owns the threads that do the work.
        model: returns the model, loading it first if necessary. An exception that it raises fails the call.
        name: the model's name, for messages.
    """

    def __init__(self, worker: Worker, model: Callable[[], Model], name: str = "the model") -> None:
        self._worker = worker
        self._model = model
        self._name = name
        self._lock = Lock()
        self._calls: list[_Call] = []
        self._running = 0  # how many threads run a batch
        self._turn = 0

    def join(self, query: str, documents: Sequence[str], max_waiting: int | None = None) -> Future[Scores]:
        """Queue a call and return a future for its scores.

        Cancelling the future takes the call out of the queue, even if some of its batches have already run.

        Raises:
            Overloaded: there is a call for every thread, and `max_waiting` more are waiting.
        """
        call = _Call(query, documents, sum(min(_WINDOW, estimated_tokens(text[: 4 * _WINDOW])) for text in documents))
        with self._lock:
            if max_waiting is not None and (count := self._under_way()) >= self._worker.threads + max_waiting:
                raise Overloaded(
                    f"{self._name} is busy: {count} calls are under way, of which {self._worker.threads} can run at"
                    f" once and max_waiting={max_waiting} may wait; try again later, raise max_waiting, or put the"
                    " reranker into a Fallback"
                )
            self._calls.append(call)
        self._worker.submit(self._work)
        return call.future

    def under_way(self) -> int:
        """How many calls are waiting or running."""
        with self._lock:
            return self._under_way()

    def _under_way(self) -> int:
        return sum(not call.future.cancelled() for call in self._calls)

    def _work(self) -> None:
        """Run one piece of work after another until there is none left for this thread."""
        try:
            while (piece := self._next()) is not None:
                piece()
                pause_at_exit()
        except BaseException as error:  # a bug in this library: unless every call fails, all would wait forever
            with self._lock:
                waiting = list(self._calls)
            self._leave(waiting, error)

    def _next(self) -> Callable[[], None] | None:
        with self._lock:
            self._calls = [call for call in self._calls if not call.future.cancelled()]
            ready = [call for call in self._calls if call.ready(self._running)]
            if not ready:
                return None
            self._turn += 1
            call = min(ready, key=_Call.waiting) if self._turn % 2 else ready[0]
            if call.model is None or call.job is None or not call.job.encoded:
                call.encoding = True
                return partial(self._encode, call)
            self._running += 1
            return partial(self._calculate, call.model, _batch(call, call.model, call.job, ready))

    def _encode(self, call: _Call) -> None:
        try:
            model = call.model or self._model()  # before the import, which needs an extra

            from ksdk_rerank.engines.scoring import Job

            if call.future.cancelled():  # while the model was loaded
                return
            job = call.job or Job(call.query, call.documents)
            job.encode(model)
        except BaseException as error:
            self._leave([call], error)
            return
        with self._lock:
            call.model, call.job, call.encoding = model, job, False
        for _ in range(min(len(job.batches), model.engine.streams) - 1):
            self._worker.submit(self._work)  # this thread continues with one of them

    def _calculate(self, model: Model, batch: Sequence[tuple[_Call, Job, list[int]]]) -> None:
        error: BaseException | None = None
        try:
            logits = model.forward([job.pairs[row] for _, job, rows in batch for row in rows])
        except BaseException as raised:
            error = raised
        with self._lock:
            self._running -= 1
            if error is None:
                start = 0
                for _, job, rows in batch:
                    job.put(rows, logits[start : start + len(rows)])
                    start += len(rows)
        self._leave([call for call, job, _ in batch if error is not None or not job.missing], error)

    def _leave(self, calls: Sequence[_Call], error: BaseException | None) -> None:
        """Take `calls` out of the queue and give them their scores, or `error`."""
        for call in calls:
            with self._lock:
                if call not in self._calls:  # cancelled, or failed in another thread
                    continue
                self._calls.remove(call)
            if not call.future.set_running_or_notify_cancel():
                continue
            if error is not None or call.job is None:
                call.future.set_exception(error)
            else:
                call.future.set_result(call.job.scores())


def _batch(call: _Call, model: Model, job: Job, ready: Sequence[_Call]) -> list[tuple[_Call, Job, list[int]]]:
    """The next batch of `call`, topped up with batches of other calls that fit."""
    rows = job.take()
    batch = [(call, job, rows)]
    if len(ready) <= model.engine.streams:
        return batch  # there is a thread for each call
    count, longest = len(rows), model.length(job.pairs[rows[0]])
    shortest = longest
    for other in ready:
        if other is call or other.model is not model or other.job is None or not other.job.batches:
            continue
        rows = other.job.batches[0]
        its = model.length(other.job.pairs[rows[0]])
        low, high = min(shortest, its), max(longest, its)
        if low >= high * _ABOUT_AS_LONG and (count + len(rows)) * high <= model.engine.budget:
            batch.append((other, other.job, other.job.take()))
            count, longest, shortest = count + len(rows), high, low
    return batch
