"""Text pairs to token ids. The query gets at most half of the window, the document the rest; both are truncated to fit.

The tokenizer's own post-processor lays out each pair, so both BERT's `[CLS] query [SEP] document [SEP]` and RoBERTa's
`<s> query </s></s> document </s>` come out right. It runs once per query with a placeholder document; every document is
then put between the same tokens. `Tokenizer.encode(query, document)` gives the same ids. But its truncation cuts the
query too, and switching truncation on changes the tokenizer, which other threads may be using.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from ksdk_rerank.engines.first_tokens import FirstTokens
from ksdk_rerank.errors import UnsupportedModel

__all__ = ["Encoded", "PairEncoder", "WindowTooSmall"]

_TEXTS_AT_ONCE = 32
"""Texts tokenized at once when counting: the tokenizer takes about 100 bytes per token."""

_log = logging.getLogger("ksdk_rerank")


class WindowTooSmall(UnsupportedModel, ValueError):
    """`max_length` or the model's own window is too small for a query and a document."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """One query with each of its documents.

    Attributes:
        pairs: one array of shape (2, tokens) per document: token ids and token types of the whole pair.
        truncated: for each document, whether it was truncated.
        query_truncated: whether the query was truncated.
    """

    pairs: list[NDArray[np.int32]]
    truncated: list[bool]
    query_truncated: bool


class PairEncoder:
    """Encodes a query with its documents for one model. Threads may share it.

    A query longer than half of `max_length` is truncated to that half. This is logged as a warning once per model.

    Args:
        tokenizer: the model's tokenizer. Its truncation and padding are switched off here; it never changes again.
        max_length: maximum tokens per pair, special tokens included.
        model: the model's name, for messages.

    Raises:
        WindowTooSmall: `max_length` has no room for one token of each text.
        UnsupportedModel: the tokenizer puts no special token between query and document.
    """

    def __init__(self, tokenizer: Tokenizer, max_length: int, model: str) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._first_tokens = FirstTokens(tokenizer)
        self._max_length = max_length
        self._model = model
        self._not_warned = threading.Lock()  # the thread that gets it logs the warning, and never releases it
        self._stand_in = tokenizer.encode("a", add_special_tokens=False)
        before, after, _ = self._around_document(self._stand_in)
        if int(before[0, -1]) == self._stand_in.ids[-1]:  # the query's last token is next to the document
            raise UnsupportedModel(
                f"the tokenizer of {model} sets no special token between query and document, so the model is an"
                " LLM-style reranker that expects a prompt of its own; use a cross-encoder of the BERT family, or"
                " serve this model with vLLM"
            )
        special = before.shape[1] + after.shape[1] - len(self._stand_in)
        if max_length < special + 2:
            raise WindowTooSmall(
                f"max_length: {model} would read {max_length} tokens, and a pair has {special} special ones, so no room"
                f" is left for a query and a document; pass at least {special + 2}, better 512"
            )
        self._longest_query = min(max_length // 2, max_length - special - 1)

    def encode(self, query: str, documents: Sequence[str]) -> Encoded:
        """Encode `query` with each of `documents`, in their order. A document may have no tokens at all."""
        query_encoding, query_truncated = self._query(query)
        before, after, document_type = self._around_document(query_encoding)
        room = self._max_length - before.shape[1] - after.shape[1]
        if query_truncated and self._not_warned.acquire(blocking=False):
            _log.warning(
                "%s reads %d tokens, and a query had more than half of that: its first %d were read, and"
                " Ranking.query_truncated says so; this is said once",
                self._model,
                self._max_length,
                self._longest_query,
            )
        encoded = Encoded([], [], query_truncated)
        for encoding, longer in self._first_tokens.of(documents, room):
            ids = encoding.ids[:room]
            document = [ids, [document_type] * len(ids)]
            encoded.pairs.append(np.concatenate([before, np.array(document, np.int32), after], axis=1))
            encoded.truncated.append(longer)
        return encoded

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has, special tokens not counted."""
        counts: list[int] = []
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            chunk = list(texts[start : start + _TEXTS_AT_ONCE])
            counts += [len(encoding) for encoding in self._tokenizer.encode_batch_fast(chunk, add_special_tokens=False)]
        return counts

    def document_room(self, query: str) -> int:
        """How many document tokens fit beside `query`, after the query itself has been truncated."""
        before, after, _ = self._around_document(self._query(query)[0])
        room: int = self._max_length - before.shape[1] - after.shape[1]
        return room

    def _query(self, query: str) -> tuple[Encoding, bool]:
        """The tokens of `query` that the model reads, and whether the query was truncated."""
        ((encoding, longer),) = self._first_tokens.of([query], self._longest_query)
        encoding.truncate(self._longest_query)
        return encoding, longer

    def _around_document(self, query: Encoding) -> tuple[NDArray[np.int32], NDArray[np.int32], int]:
        """Token ids and types before a document, the same after it, and the document's own token type."""
        pair = self._tokenizer.post_process(query, self._stand_in)
        tokens = np.array([pair.ids, pair.type_ids], np.int32)
        document = [position for position, sequence in enumerate(pair.sequence_ids) if sequence == 1]
        return tokens[:, : document[0]], tokens[:, document[-1] + 1 :], pair.type_ids[document[0]]
