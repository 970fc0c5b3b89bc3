"""Ask one reranker all queries: time each call, keep each answer, and make failures part of the result."""

from __future__ import annotations

import os
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import FiniteFloat, NonNegativeInt, TypeAdapter

from ksdk_rerank._fingerprint import digest, identity
from ksdk_rerank._version import __version__
from ksdk_rerank.base import Reranker
from ksdk_rerank.compose._forgiving import Forgiving, Store
from ksdk_rerank.errors import (
    InvalidEnvironment,
    MissingExtra,
    MissingKey,
    ModelError,
    NotFound,
    QuotaExceeded,
    Redirected,
    Unauthorized,
)
from ksdk_rerank.models import folder_of
from ksdk_rerank.results import Failure

__all__ = ["Answer", "Asked", "Question", "ask"]

Question = tuple[str, Sequence[str]]
"""A query and the documents to be ordered."""

_HOPELESS = (MissingExtra, MissingKey, NotFound, Redirected, Unauthorized, InvalidEnvironment, QuotaExceeded)
_FAILURES_IN_A_ROW = 3  # then the service is down, and asking on would only wait for each deadline


@dataclass(frozen=True, slots=True)
class Answer:
    """What one call came to; `first` is whether it was the first of its process, which loads the model."""

    indices: tuple[int, ...]
    scores: tuple[FiniteFloat | None, ...]
    seconds: FiniteFloat
    first: bool = False
    usage: Mapping[str, FiniteFloat] = field(default_factory=dict)
    truncated: NonNegativeInt = 0
    fell_back: bool = False


_ANSWER = TypeAdapter(Answer)
_NOTHING_TO_RANK = Answer((), (), 0.0)


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

    What `store` has is not asked again; its failures cost no more than a warning. `answered` is called after each
    question. After an error that no other query would mend, or several in a row, nothing more is asked; what `store`
    has still counts.
    """
    asked, kept = Asked(), _Kept(reranker, store)
    first, failed_in_a_row, given_up = True, 0, False
    for position, (query, documents) in enumerate(questions):
        answer = kept.get(query, documents) if documents else _NOTHING_TO_RANK
        if answer is None and given_up:
            asked.not_asked += 1
        elif answer is None:
            try:
                answer = _timed(reranker, query, documents, first=first)
            except Exception as error:  # a third party's may raise anything: it fails one row, not the comparison
                asked.failures[position] = Failure(reranker.name, type(error).__name__, str(error))
                failed_in_a_row += 1
                given_up = _is_hopeless(error) or failed_in_a_row == _FAILURES_IN_A_ROW
            else:
                failed_in_a_row = 0
                kept.put(query, documents, answer)
            first = False
        if answer is not None:
            asked.answers[position] = answer
        answered()
    return asked


def _is_hopeless(error: Exception) -> bool:
    """Whether no other query would mend it; a model that fails while it runs may do with another one."""
    return isinstance(error, _HOPELESS) or (isinstance(error, ModelError) and not error.transient)


def _timed(reranker: Reranker, query: str, documents: Sequence[str], *, first: bool) -> Answer:
    started = time.perf_counter()
    ranking = reranker.rank(query, documents)
    return Answer(
        indices=ranking.indices,
        scores=tuple(ranked.score for ranked in ranking),
        seconds=time.perf_counter() - started,
        first=first,
        usage=dict(ranking.usage),
        truncated=ranking.truncated,
        fell_back=bool(ranking.failures),
    )


class _Kept:
    """What `store` has of one reranker's answers."""

    def __init__(self, reranker: Reranker, store: Store | None) -> None:
        self._store = Forgiving.around(store)
        self._who = ""
        if store is not None:
            # What cannot be written down, such as a client of a user's own, is never the same in another process.
            unknown = uuid.uuid4().hex
            self._who = digest(__version__, identity(reranker, unknown), *_files_of_models(reranker))

    def get(self, query: str, documents: Sequence[str]) -> Answer | None:
        return None if self._store is None else _decoded(self._store.get(self._key(query, documents)), len(documents))

    def put(self, query: str, documents: Sequence[str], answer: Answer) -> None:
        if self._store is not None and not answer.fell_back:
            self._store[self._key(query, documents)] = _ANSWER.dump_json(answer).decode()

    def _key(self, query: str, documents: Sequence[str]) -> str:
        return digest("ranking", self._who, *(text.encode(errors="replace").decode() for text in (query, *documents)))


def _decoded(entry: object, documents: int) -> Answer | None:
    """The answer about as many documents that was kept, or None if `entry` is none."""
    try:
        answer = _ANSWER.validate_json(entry)  # type: ignore[arg-type]  # a store may hold anything
    except Exception:  # of another type, nested too deeply, too large: it is none of ours
        return None
    places = set(answer.indices)
    fits = (
        answer.seconds >= 0
        and len(places) == len(answer.indices) == len(answer.scores)
        and places <= set(range(documents))
    )
    return answer if fits else None


def _files_of_models(value: object) -> Iterator[str]:
    """The files of each model that comes with the package or is in a folder: what changes when another is there."""
    if isinstance(value, Reranker):
        yield from _files_of_models(value.identifying_parameters())
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _files_of_models(item)
    elif isinstance(value, (str, os.PathLike)):
        try:
            folder = folder_of(value)
            files = sorted(folder.rglob("*")) if (folder / "config.json").is_file() else []
            states = [(file, file.stat()) for file in files]
        except (OSError, ValueError, RuntimeError):  # no readable folder, a null character in it, no such user
            return
        yield from (f"{file} {state.st_size} {state.st_mtime_ns}" for file, state in states)
    elif isinstance(value, Sequence):
        for item in value:
            yield from _files_of_models(item)
