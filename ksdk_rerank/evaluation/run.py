"""Runs one reranker on all queries: times each call, caches each answer, and records failures in the result."""

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
"""A query and the documents to rank."""

_HOPELESS = (MissingExtra, MissingKey, NotFound, Redirected, Unauthorized, InvalidEnvironment, QuotaExceeded)
_FAILURES_IN_A_ROW = 3  # then the service is probably down, and more calls would only wait for their deadlines


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of one call. `first` marks the run's first call, which loads the model or opens the connection."""

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
    """One reranker's answers and failures for all queries, by the query's position."""

    answers: dict[int, Answer] = field(default_factory=dict)
    failures: dict[int, Failure] = field(default_factory=dict)
    not_asked: int = 0

    @property
    def usage(self) -> dict[str, float]:
        """Total usage over all answers, in the service's own units."""
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
    """Run `reranker` on each of `questions`, one after the other.

    Answers found in `store` are not computed again. If the store fails, that costs only a warning. `answered` is called
    after each question. Three errors in a row, or one that would affect every query, stop all further calls. Answers
    from `store` still count after that.
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
            except Exception as error:  # a third party's reranker may raise anything; that fails its row, not the run
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
    """Whether every other query would fail, too. A model that fails at run time may succeed on another query."""
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
    """One reranker's answers in `store`."""

    def __init__(self, reranker: Reranker, store: Store | None) -> None:
        self._store = Forgiving.around(store)
        self._who = ""
        if store is not None:
            # A parameter without a fingerprint, such as the user's own HTTP client, never matches another process.
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
    """The cached answer, or None if `entry` is not one for this number of documents."""
    try:
        answer = _ANSWER.validate_json(entry)  # type: ignore[arg-type]  # a store may hold anything
    except Exception:  # of another type, nested too deeply or too large: this module did not write it
        return None
    places = set(answer.indices)
    fits = (
        answer.seconds >= 0
        and len(places) == len(answer.indices) == len(answer.scores)
        and places <= set(range(documents))
    )
    return answer if fits else None


def _files_of_models(value: object) -> Iterator[str]:
    """Name, size and time of each file of bundled and local models, so that replaced weights miss the cache."""
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
        except (OSError, ValueError, RuntimeError):  # unreadable folder, null character in its name, unknown user
            return
        yield from (f"{file} {state.st_size} {state.st_mtime_ns}" for file, state in states)
    elif isinstance(value, Sequence):
        for item in value:
            yield from _files_of_models(item)
