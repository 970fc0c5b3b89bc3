"""`Model`: encoding, batching and an engine together give a document its score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ksdk_rerank.base import Scores
from ksdk_rerank.engines.base import Engine
from ksdk_rerank.engines.batching import TOKEN_BUDGET, pad, split
from ksdk_rerank.engines.encoding import PairEncoder

__all__ = ["Model"]


class Model:
    """A loaded cross-encoder. One thread at a time may use it."""

    def __init__(self, engine: Engine, *, name: str, max_length: int, pad_id: int, budget: int = TOKEN_BUDGET) -> None:
        self.engine = engine
        self.encoder = PairEncoder(engine.tokenizer, max_length, name)
        self._pad_id = pad_id
        self._budget = budget

    def score(self, query: str, documents: Sequence[str]) -> Scores:
        """The logits of `documents` in their order; equal documents are read once."""
        positions = {document: position for position, document in enumerate(dict.fromkeys(documents))}
        encoded = self.encoder.encode(query, list(positions))
        logits = np.empty(len(positions), np.float64)
        for rows in split([pair.shape[1] for pair in encoded.pairs], self._budget):
            logits[rows] = self.engine.forward(pad([encoded.pairs[row] for row in rows], self._pad_id))
        where = [positions[document] for document in documents]
        return Scores(
            [float(logits[position]) for position in where],
            truncated=sum(encoded.truncated[position] for position in where),
        )
