"""`Model` combines encoding, batching and an engine. `Job` is one call on its way from texts to scores."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ksdk_rerank.base import Scores
from ksdk_rerank.engines.batching import pad, rounded, share, split
from ksdk_rerank.engines.encoding import PairEncoder
from ksdk_rerank.engines.engine import Engine, inference_failed
from ksdk_rerank.errors import RerankError

__all__ = ["Job", "Model"]

_DOCUMENTS_AT_ONCE = 256
"""Documents encoded before another call may take the thread: a few hundredths of a second."""


class Model:
    """A loaded cross-encoder. As many threads may use it at once as its engine has streams."""

    def __init__(self, engine: Engine, *, name: str, max_length: int, pad_id: int) -> None:
        self.engine = engine
        self.encoder = PairEncoder(engine.tokenizer, max_length, name)
        self._name = name
        self._max_length = max_length
        self._pad_id = pad_id

    def score(self, query: str, documents: Sequence[str]) -> Scores:
        """The logits of `documents`, in their order."""
        job = Job(query, documents)
        while not job.encoded:
            job.encode(self)
        while job.batches:
            rows = job.take()
            job.put(rows, self.forward([job.pairs[row] for row in rows]))
        return job.scores()

    def forward(self, pairs: Sequence[NDArray[np.int32]]) -> NDArray[np.floating]:
        """The logits of `pairs`, run as one batch; they should be of similar length, because they are padded.

        Raises:
            InferenceFailed: the engine failed.
        """
        try:
            return self.engine.forward(pad(pairs, self._pad_id, max(map(self.length, pairs))))
        except RerankError:
            raise
        except Exception as error:  # each engine has its own errors, and any can run out of memory
            raise inference_failed(self.engine.backend, self._name, error) from error

    def length(self, pair: NDArray[np.int32]) -> int:
        """How many tokens a pair takes in a batch, padding included, if no other pair is longer."""
        return rounded(pair.shape[1], self.engine.multiple, self._max_length)


class Job:
    """One query with its documents. First it is encoded, a chunk of documents at a time; then its batches run.

    Its batches do not depend on other calls, and duplicate documents are scored once. It is not thread-safe: one thread
    at a time may encode, and `Scheduler` guards `take` and `put` with its lock.

    Attributes:
        pairs: token ids and types of the query with each distinct document.
        encoded: whether `pairs` and `batches` are complete.
        batches: batches not yet taken, longest pairs first, each a list of positions in `pairs`.
        waiting: once encoded, how many tokens are not yet taken.
        missing: how many pairs have no logit yet.
    """

    def __init__(self, query: str, documents: Sequence[str]) -> None:
        self._query = query
        self._documents = documents
        self._positions = {document: position for position, document in enumerate(dict.fromkeys(documents))}
        self._texts = list(self._positions)
        self._truncated: list[bool] = []
        self._query_truncated = False
        self._logits = np.empty(len(self._texts), np.float64)
        self.pairs: list[NDArray[np.int32]] = []
        self.encoded = False
        self.batches: deque[list[int]] = deque()
        self.waiting = 0
        self.missing = len(self._texts)

    def encode(self, model: Model) -> None:
        """Encode the next chunk of documents. After the last chunk, plan the batches."""
        start = len(self.pairs)
        piece = model.encoder.encode(self._query, self._texts[start : start + _DOCUMENTS_AT_ONCE])
        self.pairs += piece.pairs
        self._truncated += piece.truncated
        self._query_truncated = piece.query_truncated
        if len(self.pairs) == len(self._texts):
            lengths = [model.length(pair) for pair in self.pairs]
            self.batches.extend(split(lengths, share(lengths, model.engine.budget, model.engine.streams)))
            self.waiting = sum(pair.shape[1] for pair in self.pairs)
            self.encoded = True

    def take(self) -> list[int]:
        """Take the next batch, as positions in `pairs`."""
        rows = self.batches.popleft()
        self.waiting -= sum(self.pairs[row].shape[1] for row in rows)
        return rows

    def put(self, rows: Sequence[int], logits: NDArray[np.floating]) -> None:
        """Store the logits of a batch."""
        self._logits[rows] = logits
        self.missing -= len(rows)

    def scores(self) -> Scores:
        """One logit per document, in their order."""
        where = [self._positions[document] for document in self._documents]
        return Scores(
            [float(self._logits[position]) for position in where],
            truncated=sum(self._truncated[position] for position in where),
            query_truncated=self._query_truncated,
        )
