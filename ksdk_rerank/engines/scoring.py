"""From texts to scores: `Job` is one call, `ForwardPass` one batch for one or more of them, `Model` what runs it.

A call may have several queries; pairs of similar length share a batch, whichever query they belong to. Calls that wait
at the same moment can share a forward pass: a half-empty batch is topped up with other jobs' batches of similar length.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from ksdk_rerank._text.words import estimated_tokens
from ksdk_rerank.engines.batching import OVERHEAD, pad, rounded, split
from ksdk_rerank.engines.engine import Engine
from ksdk_rerank.engines.foreign_errors import inference_errors
from ksdk_rerank.scores import Scores

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ksdk_rerank.engines.encoding import Encoder

__all__ = ["ForwardPass", "Job", "Model", "Question", "estimated_work"]

Question = tuple[str, Sequence[str]]
"""A query with its documents."""

_PAIRS_AT_ONCE = 256
"""Pairs encoded before another call may take the thread: a few hundredths of a second."""

_WINDOW = 512
"""Maximum tokens counted per document to estimate its work before it is encoded: the usual window."""

_WORTH = 0.25
"""Share of a call's tokens that reading a prefix once must save, because its batches are then not shared with other
calls. At 0.27 it saves a quarter of the time (`python benchmarks/prompt_models.py --prefix --layers 4`, 2026-11-27)."""


class Model:
    """A loaded cross-encoder. As many threads may use it at once as its engine has streams."""

    def __init__(self, engine: Engine, encoder: Encoder, pad_id: int) -> None:
        self.engine = engine
        self.encoder = encoder
        self._pad_id = pad_id

    def score(self, query: str, documents: Sequence[str]) -> Scores:
        """The logits of `documents`, in their order."""
        job = Job(lambda: self, [(query, documents)])
        while not job.encoded:
            job.encode()
        while job.batches:
            forward_pass = ForwardPass(job)
            forward_pass.store(forward_pass.run())
        return job.scores()[0]

    def forward(self, pairs: Sequence[NDArray[np.int32]], prefix: object | None = None) -> NDArray[np.floating]:
        """The logits of `pairs`, run as one batch; they should be of similar length, because they are padded.

        Args:
            pairs: token ids and types, without those of the `prefix`.
            prefix: what `read_prefix` returned.

        Raises:
            InferenceFailed: the engine failed.
        """
        length = max(map(self.length, pairs))
        side = self.encoder.padding_side
        with inference_errors(self.engine.backend, self.encoder.model):
            return self.engine.forward(pad(pairs, self._pad_id, length, side, prefix))

    def read_prefix(self, pair: NDArray[np.int32]) -> object:
        """Run tokens that several pairs begin with. Raises `InferenceFailed` if the engine fails."""
        with inference_errors(self.engine.backend, self.encoder.model):
            return self.engine.read_prefix(pair[0].astype("int64"))

    def length(self, pair: NDArray[np.int32]) -> int:
        """How many tokens a pair takes in a batch, padding included, if no other pair is longer."""
        return rounded(pair.shape[1], self.engine.multiple, self.encoder.max_length)


class Job:
    """Queries with their documents. First they are encoded, a chunk of pairs at a time; then their batches run.

    Its batches do not depend on other calls, and a query's duplicate documents are scored once. It is not thread-safe:
    one thread at a time may encode, and a lock must guard all else while other threads use the job.

    The first `encode` calls `load`, which returns the model. There must be at least one document.

    Attributes:
        future: for the scores, one `Scores` per query. Whoever runs the job completes it.
        encoding: whether a thread is encoding it right now.
        encoded: whether all pairs are encoded, so that `batches` is complete.
        batches: batches not yet taken, most expensive first, each a list of positions in `pairs`.
        tokens_left: how many tokens are in no batch that was taken; until the job is encoded, an estimate.
        missing: how many pairs have no logit yet.
        model: the model; None before the first `encode`.
        pairs: token ids and types of each query with each of its distinct documents.
        prefix_length: how many tokens all pairs begin with, which are run once for all; 0 if that would not pay.
        prefix: what the engine returned for these tokens; None before the first batch.
    """

    def __init__(
        self, load: Callable[[], Model], questions: Sequence[Question], instruction: str | None = None
    ) -> None:
        self.future: Future[list[Scores]] = Future()
        self.encoding = self.encoded = False
        self.batches: deque[list[int]] = deque()
        self.tokens_left = sum(estimated_work(text) for _, documents in questions for text in documents)
        self.model: Model | None = None
        self.pairs: list[NDArray[np.int32]] = []
        self.prefix_length = 0
        self.prefix: object | None = None
        self._load = load
        self._questions = questions
        self._instruction = instruction
        distinct = ((number, text) for number, (_, documents) in enumerate(questions) for text in documents)
        self._positions = {pair: position for position, pair in enumerate(dict.fromkeys(distinct))}
        self._texts = list(self._positions)  # each with the number of its query
        self._truncated: list[bool] = []
        self._query_truncated = [False] * len(questions)
        self._logits = [0.0] * len(self._texts)
        self.missing = len(self._texts)

    @property
    def streams(self) -> int:
        """How many threads may run its batches at once; 0 before the model is loaded."""
        return 0 if self.model is None else self.model.engine.streams

    def encode(self, calls: int = 1) -> None:
        """Encode the next chunk of pairs. After the last chunk, plan the batches.

        They are spread over this job's share of the threads, if so many `calls` are in progress.
        """
        model = self.model = self.model or self._load()
        if self.future.cancelled():  # while the model was loaded
            return
        start = len(self.pairs)
        for number, pairs in groupby(self._texts[start : start + _PAIRS_AT_ONCE], key=itemgetter(0)):
            query = self._questions[number][0]
            piece = model.encoder.encode(query, [text for _, text in pairs], instruction=self._instruction)
            self.pairs += piece.pairs
            self._truncated += piece.truncated
            self._query_truncated[number] = piece.query_truncated
        if len(self.pairs) == len(self._texts):
            lengths = [model.length(pair) for pair in self.pairs]
            self.batches.extend(split(lengths, model.engine.budget, max(1, model.engine.streams // calls)))
            self.tokens_left = sum(pair.shape[1] for pair in self.pairs)
            self.prefix_length = _prefix_length(self.pairs) if model.engine.reads_prefixes else 0
            self.encoded = True

    def take(self) -> list[int]:
        """Take the next batch, as positions in `pairs`."""
        rows = self.batches.popleft()
        self.tokens_left -= sum(self.pairs[row].shape[1] for row in rows)
        return rows

    def put(self, rows: Sequence[int], logits: Sequence[float]) -> None:
        """Store the logits of a batch."""
        for row, logit in zip(rows, logits, strict=True):
            self._logits[row] = logit
        self.missing -= len(rows)

    def scores(self) -> list[Scores]:
        """For each query, one logit per document, in their order."""
        found = []
        for number, (_, documents) in enumerate(self._questions):
            positions = [self._positions[number, document] for document in documents]
            found.append(
                Scores(
                    [self._logits[position] for position in positions],
                    truncated=sum(self._truncated[position] for position in positions),
                    query_truncated=self._query_truncated[number],
                )
            )
        return found


def estimated_work(text: str) -> int:
    """About how many tokens of a document are read, judged by its first characters, before it is encoded."""
    return min(_WINDOW, estimated_tokens(text[: 4 * _WINDOW]))


class ForwardPass:
    """The next batch of `job`, topped up with the next batches of `others` if that costs no more than a batch for each.

    The constructor takes the batches. It and `store` need the lock that guards the jobs; `run` needs none.
    """

    def __init__(self, job: Job, others: Iterable[Job] = ()) -> None:
        assert job.model is not None  # it is encoded
        self._model = job.model
        self._parts = [(job, job.take())]
        budget = self._model.engine.budget
        count, longest = len(self._parts[0][1]), self._longest(*self._parts[0])
        for other in others:
            if other is job or other.model is not job.model or not other.batches:
                continue
            if job.prefix_length or other.prefix_length:  # pairs of one batch come after one prefix
                continue
            rows = other.batches[0]
            length = self._longest(other, rows)
            together = (count + len(rows)) * max(longest, length)
            apart = count * longest + len(rows) * length
            if together <= min(budget, apart + OVERHEAD * budget):
                self._parts.append((other, other.take()))
                count, longest = count + len(rows), max(longest, length)

    def _longest(self, job: Job, rows: Sequence[int]) -> int:
        return self._model.length(job.pairs[rows[0]])  # a batch begins with its longest pair

    @property
    def jobs(self) -> list[Job]:
        """The jobs that have a batch in it."""
        return [job for job, _ in self._parts]

    def run(self) -> list[float]:
        """The logits of all its pairs. Raises `InferenceFailed` if the engine fails."""
        job, _ = self._parts[0]
        if job.prefix_length and job.prefix is None:
            job.prefix = self._model.read_prefix(job.pairs[0][:, : job.prefix_length])
        pairs = [job.pairs[row][:, job.prefix_length :] for job, rows in self._parts for row in rows]
        logits = self._model.forward(pairs, job.prefix)
        result: list[float] = logits.tolist()
        return result

    def store(self, logits: Sequence[float]) -> None:
        """Give each job its share of the `logits`."""
        start = 0
        for job, rows in self._parts:
            job.put(rows, logits[start : start + len(rows)])
            start += len(rows)


def _prefix_length(pairs: Sequence[NDArray[np.int32]]) -> int:
    """How many tokens all `pairs` begin with, if running them once saves enough; else 0. Each pair keeps one token."""
    first, total = pairs[0][0], sum(pair.shape[1] for pair in pairs)
    length = min(pair.shape[1] for pair in pairs) - 1
    for pair in pairs:
        differs = (pair[0, :length] != first[:length]).nonzero()[0]
        length = int(differs[0]) if len(differs) else length
    return length if (len(pairs) - 1) * length >= _WORTH * total else 0
