"""Text pairs to token ids: the query whole, the document cut to what room is left.

The tokenizer's own post-processor says what a pair looks like, so BERT's `[CLS] query [SEP] document [SEP]` and
RoBERTa's `<s> query </s></s> document </s>` both come out right. It is asked once a query, with a stand-in for the
document; all documents then go between the same tokens. `Tokenizer.encode(query, document)` gives the same ids, but
with truncation it cuts the query too, and it changes the tokenizer, which other threads may be using.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from ksdk_rerank.errors import UnsupportedModel

__all__ = ["Encoded", "PairEncoder"]

_DOCUMENTS_AT_ONCE = 32
"""Before it is cut, a document takes about 100 bytes a token in the tokenizer: no more than so many at a time."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """One query with each of its documents.

    Attributes:
        pairs: for each document an array of shape (2, tokens): the ids and the types of the whole pair.
        truncated: for each document, whether it was cut.
    """

    pairs: list[NDArray[np.int32]]
    truncated: list[bool]


class PairEncoder:
    """Encodes pairs for one model. It never changes the tokenizer after this, so threads may share it.

    Args:
        tokenizer: the model's; truncation and padding are switched off, for good.
        max_length: how many tokens a pair may have, special ones included.
        model: its name, for messages.
    """

    def __init__(self, tokenizer: Tokenizer, max_length: int, model: str) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._max_length = max_length
        self._model = model
        self._stand_in = tokenizer.encode("a", add_special_tokens=False)
        before, _, _ = self._around_document(self._stand_in)
        if int(before[0, -1]) == self._stand_in.ids[-1]:  # the query's last token is next to the document
            raise UnsupportedModel(
                f"the tokenizer of {model} sets no special token between query and document, so the model is an"
                " LLM-style reranker that expects a prompt of its own; use a cross-encoder of the BERT family, or"
                " serve this model with vLLM"
            )

    def encode(self, query: str, documents: Sequence[str]) -> Encoded:
        """Encode `query` with each of `documents`, in their order. A document without any token is fine.

        Raises:
            ValueError: the query leaves no room for a document.
        """
        query_encoding = self._tokenizer.encode(query, add_special_tokens=False)
        before, after, document_type = self._around_document(query_encoding)
        room = self._max_length - before.shape[1] - after.shape[1]
        if room < 1:
            raise ValueError(
                f"the query has {len(query_encoding)} tokens and {self._model} reads {self._max_length}, special"
                " tokens and document included, so no room is left for a document; shorten the query, or choose a"
                " model with a longer window"
            )
        encoded = Encoded([], [])
        for start in range(0, len(documents), _DOCUMENTS_AT_ONCE):
            chunk = list(documents[start : start + _DOCUMENTS_AT_ONCE])
            for encoding in self._tokenizer.encode_batch_fast(chunk, add_special_tokens=False):
                ids = encoding.ids[:room]
                document = [ids, [document_type] * len(ids)]
                encoded.pairs.append(np.concatenate([before, np.array(document, np.int32), after], axis=1))
                encoded.truncated.append(len(encoding) > room)
        return encoded

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has, without special ones."""
        counts: list[int] = []
        for start in range(0, len(texts), _DOCUMENTS_AT_ONCE):
            chunk = list(texts[start : start + _DOCUMENTS_AT_ONCE])
            counts += [len(encoding) for encoding in self._tokenizer.encode_batch_fast(chunk, add_special_tokens=False)]
        return counts

    def document_room(self, query: str) -> int:
        """How many tokens of a document fit beside `query`; 0 or less where the query leaves no room."""
        before, after, _ = self._around_document(self._tokenizer.encode(query, add_special_tokens=False))
        room: int = self._max_length - before.shape[1] - after.shape[1]
        return room

    def _around_document(self, query: Encoding) -> tuple[NDArray[np.int32], NDArray[np.int32], int]:
        """Ids and types of all that goes before a document and after it, and the document's own type."""
        pair = self._tokenizer.post_process(query, self._stand_in)
        tokens = np.array([pair.ids, pair.type_ids], np.int32)
        document = [position for position, sequence in enumerate(pair.sequence_ids) if sequence == 1]
        return tokens[:, : document[0]], tokens[:, document[-1] + 1 :], pair.type_ids[document[0]]
