"""Text pairs to token ids. The query gets at most half of the window, the document the rest; both are truncated to fit.

The tokenizer's own post-processor lays out each pair, so both BERT's `[CLS] query [SEP] document [SEP]` and RoBERTa's
`<s> query </s></s> document </s>` come out right. It runs once per query with a placeholder document; every document is
then put between the same tokens. `Tokenizer.encode(query, document)` gives the same ids. But its truncation cuts the
query too, and switching truncation on changes the tokenizer, which other threads may be using.
"""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from ksdk_rerank.engines.first_tokens import FirstTokens
from ksdk_rerank.errors import UnsupportedModel

__all__ = ["Encoded", "Encoder", "NoInstruction", "PairEncoder", "WindowTooSmall"]

_log = logging.getLogger("ksdk_rerank")


class WindowTooSmall(UnsupportedModel, ValueError):
    """`max_length` or the model's own window is too small for a query and a document."""


class NoInstruction(UnsupportedModel, ValueError):
    """An instruction was passed, but the model has no place for one."""

    def __init__(self, model: str) -> None:
        super().__init__(
            f"instruction: {model} has no place for one, because it reads only the query and the document; remove"
            " instruction=..., or use a model with a prompt, such as Qwen/Qwen3-Reranker-0.6B"
        )


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


class Encoder(ABC):
    """How a model reads pairs: turns a query and its documents into token ids. Threads may share it.

    A query longer than half of `max_length` is truncated to that half. This is logged as a warning once per model.

    Args:
        tokenizer: the tokenizer to use. Its truncation and padding are switched off here; it never changes again.
        max_length: maximum tokens per pair, special tokens included.
        model: the model's name, for messages.
    """

    padding_side: Literal["left", "right"] = "right"
    """Where the model expects padding."""

    def __init__(self, tokenizer: Tokenizer, max_length: int, model: str) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._first_tokens = FirstTokens(tokenizer)
        self.max_length = max_length
        self.model = model
        self._not_warned = threading.Lock()  # the thread that gets it logs the warning, and never releases it

    @abstractmethod
    def encode(self, query: str, documents: Sequence[str], instruction: str | None = None) -> Encoded:
        """Encode `query` with each of `documents`, in their order. A document may have no tokens at all.

        Raises:
            NoInstruction: there is an `instruction`, and the model has no place for one.
        """

    @abstractmethod
    def document_room(self, query: str, instruction: str | None = None) -> int:
        """How many document tokens fit beside `query`, after the query itself has been truncated.

        Raises:
            NoInstruction: as `encode` raises it.
        """

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has, special tokens not counted."""
        return self._first_tokens.count(texts)

    def _query(self, query: str, longest: int) -> tuple[Encoding, bool]:
        """An encoding that begins with the first `longest` tokens of `query`, and whether the query has more."""
        ((encoding, longer),) = self._first_tokens.of([query], longest)
        if longer and self._not_warned.acquire(blocking=False):
            _log.warning(
                "%s: a query was truncated to %d tokens, because a query may take only half of the model's %d;"
                " Ranking.query_truncated reports this (logged once per model)",
                self.model,
                longest,
                self.max_length,
            )
        return encoding, longer


class _Frame(NamedTuple):
    """What surrounds a document in a pair: token ids and types before and after it, and the document's own type."""

    before: NDArray[np.int32]
    after: NDArray[np.int32]
    document_type: int

    @property
    def size(self) -> int:
        return int(self.before.shape[1] + self.after.shape[1])

    def around(self, document: Sequence[int]) -> NDArray[np.int32]:
        """The pair with the token ids of a document."""
        tokens = np.array([document, [self.document_type] * len(document)], np.int32)
        return np.concatenate([self.before, tokens, self.after], axis=1)


class PairEncoder(Encoder):
    """Encodes a query with its documents as the tokenizer's own post-processor lays out a pair.

    Raises:
        WindowTooSmall: `max_length` has no room for one token of each text.
    """

    def __init__(self, tokenizer: Tokenizer, max_length: int, model: str) -> None:
        super().__init__(tokenizer, max_length, model)
        self._placeholder = tokenizer.encode("a", add_special_tokens=False)
        special = self._frame(self._placeholder).size - len(self._placeholder)
        if max_length < special + 2:
            raise WindowTooSmall(
                f"max_length: {model} would read {max_length} tokens per pair, of which {special} are special tokens,"
                f" which leaves no room for a query and a document; pass at least {special + 2}, or better 512"
            )
        self._longest_query = min(max_length // 2, max_length - special - 1)

    def encode(self, query: str, documents: Sequence[str], instruction: str | None = None) -> Encoded:
        frame, query_truncated = self._for_query(query, instruction)
        room = self.max_length - frame.size
        encoded = Encoded([], [], query_truncated)
        for encoding, longer in self._first_tokens.of(documents, room):
            encoded.pairs.append(frame.around(encoding.ids[:room]))
            encoded.truncated.append(longer)
        return encoded

    def document_room(self, query: str, instruction: str | None = None) -> int:
        frame, _ = self._for_query(query, instruction)
        return self.max_length - frame.size

    def _for_query(self, query: str, instruction: str | None) -> tuple[_Frame, bool]:
        """What surrounds each document, and whether the query was truncated."""
        if instruction is not None:
            raise NoInstruction(self.model)
        encoding, longer = self._query(query, self._longest_query)
        encoding.truncate(self._longest_query)
        return self._frame(encoding), longer

    def _frame(self, query: Encoding) -> _Frame:
        pair = self._tokenizer.post_process(query, self._placeholder)
        tokens = np.array([pair.ids, pair.type_ids], np.int32)
        document = [position for position, sequence in enumerate(pair.sequence_ids) if sequence == 1]
        return _Frame(tokens[:, : document[0]], tokens[:, document[-1] + 1 :], pair.type_ids[document[0]])
