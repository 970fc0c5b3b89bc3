"""Ask one reranker all queries: time each call, keep each answer, and make failures part of the result."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ksdk_rerank import __version__
from ksdk_rerank._identity import digest, identity
from ksdk_rerank.base import Reranker
from ksdk_rerank.compose.cached import Store
from ksdk_rerank.errors import MissingExtra, MissingKey, ModelError, NotFound, Redirected, Unauthorized
from ksdk_rerank.results import Failure

__all__ = ["Answer", "Asked", "Question", "ask"]

Question = tuple[str, Sequence[str]]
"""A query and the documents to be ordered."""

_HOPELESS = (MissingExtra, MissingKey, ModelError, NotFound, Redirected, Unauthorized)  # whatever the query
_FAILURES_IN_A_ROW = 3  # then the service is down, and asking on would only wait for each deadline


@dataclass(frozen=True, slots=True)
class Answer:
    """What one call came to; `first` is whether it was the first of its process, which loads the model."""

    indices: tuple[int, ...]
    scores: tuple[float | None, ...]
    seconds: float
    first: bool = False
    usage: Mapping[str, float] = field(default_factory=dict)
    truncated: int = 0
    fell_back: bool = False


@dataclass(slots=True)
class Asked:
    """What one reranker said to all queries, by their position."""

    answers: dict[int, Answer] = field(default_factory=dict)
    failures: dict[int, Failure] = field(default_factory=dict)
    not_asked: int = 0

    @property
    def usage(self) -> dict[str, float]:
        """What the services count, summed."""
        total: Counter[str] = Counter()
        for answer in self.answers.values():
            total.update(answer.usage)
        return dict(total)


def ask(
    reranker: Reranker,
    questions: Sequence[Question],
    *,
    store: Store | None,
    answered: Callable[[], None],
) -> Asked:
    """Ask `reranker` each of `questions`, one after the other.

    What `store` has is not asked again. `answered` is called after each question. Errors that no other query would
    mend, or several in a row, end the asking.
    """
    asked, kept, in_a_row, first = Asked(), _Kept(reranker, store), 0, True
    for position, (query, documents) in enumerate(questions):
        answer = kept.get(query, documents)
        if answer is None:
            try:
                answer = _timed(reranker, query, documents, first=first)
            except Exception as error:  # a third party's may raise anything: it fails one row, not the comparison
                asked.failures[position] = Failure(reranker.name, type(error).__name__, str(error))
                in_a_row += 1
                if isinstance(error, _HOPELESS) or in_a_row == _FAILURES_IN_A_ROW:
                    asked.not_asked = len(questions) - position - 1
                    break
                answered()
                continue
            finally:
                first = False
            kept.put(query, documents, answer)
        in_a_row = 0
        asked.answers[position] = answer
        answered()
    return asked


def _timed(reranker: Reranker, query: str, documents: Sequence[str], *, first: bool) -> Answer:
    if not documents:
        return Answer((), (), 0.0)
    started = time.perf_counter()
    ranking = reranker.rank(query, documents)
    return Answer(
        ranking.indices,
        tuple(ranked.score for ranked in ranking),
        time.perf_counter() - started,
        first,
        dict(ranking.usage),
        ranking.truncated,
        bool(ranking.failures),
    )


class _Kept:
    """What `store` has of one reranker's answers."""

    def __init__(self, reranker: Reranker, store: Store | None) -> None:
        self._store = store
        self._who = ""
        if store is not None:
            # What cannot be written down, such as a client of a user's own, is never the same in another process.
            unknown = uuid.uuid4().hex
            self._who = digest(__version__, identity(reranker, unknown), *_state_of_folders(reranker))

    def get(self, query: str, documents: Sequence[str]) -> Answer | None:
        if self._store is None or not documents:
            return None
        return _decoded(self._store.get(self._key(query, documents)), len(documents))

    def put(self, query: str, documents: Sequence[str], answer: Answer) -> None:
        if self._store is not None and documents and not answer.fell_back:
            self._store[self._key(query, documents)] = json.dumps(dataclasses.asdict(answer))

    def _key(self, query: str, documents: Sequence[str]) -> str:
        return digest("ranking", self._who, *(text.encode(errors="replace").decode() for text in (query, *documents)))


def _decoded(entry: object, documents: int) -> Answer | None:
    """The answer about as many documents that was kept, or None where `entry` is none."""
    try:
        fields = json.loads(entry)  # type: ignore[arg-type]  # a store may hold anything
        indices, scores = tuple(fields.pop("indices")), tuple(fields.pop("scores"))
        answer = Answer(indices, scores, **fields)
        fits = len(indices) == len(scores) and set(indices) <= set(range(documents)) and math.isfinite(answer.seconds)
    except (TypeError, ValueError, LookupError, AttributeError):
        return None
    return answer if fits else None


def _state_of_folders(value: object) -> Iterator[str]:
    """For each model in a folder among a reranker's parameters: what changes when another is written there."""
    if isinstance(value, Reranker):
        yield from _state_of_folders(value.parameters())
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _state_of_folders(item)
    elif isinstance(value, (str, os.PathLike)):
        folder = Path(value)
        try:
            files = sorted(folder.iterdir()) if folder.is_dir() else []
            states = [(file, file.stat()) for file in files]
        except (OSError, ValueError):  # a text with a null character in it, or an unreadable folder
            return
        yield from (f"{file} {state.st_size} {state.st_mtime_ns}" for file, state in states)
    elif isinstance(value, Sequence):
        for item in value:
            yield from _state_of_folders(item)
