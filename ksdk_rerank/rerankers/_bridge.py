"""`BridgedReranker`: a reranker of another library, which takes and returns that library's own objects."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextvars import copy_context
from dataclasses import dataclass
from typing import Generic, TypeVar

from ksdk_rerank._arguments import finite, number
from ksdk_rerank.base import Reranker, built
from ksdk_rerank.concurrency.worker import Worker
from ksdk_rerank.errors import BadReply
from ksdk_rerank.rerankers._foreign_errors import foreign_errors
from ksdk_rerank.results import Ranked, Ranking
from ksdk_rerank.scores import ScoreKind, checked_kind, outside_its_range, unit_scores

__all__ = ["BridgedReranker", "Returned", "SyncCalls"]

Item = TypeVar("Item")
Result = TypeVar("Result")

_THREADS = 8  # for libraries without asynchronous calls; more calls wait


class SyncCalls:
    """Threads for the synchronous calls of other libraries: the default executor belongs to the application."""

    def __init__(self) -> None:
        self._worker = Worker("ksdk-rerank-bridge", _THREADS)

    async def run(self, work: Callable[[], Result]) -> Result:
        """Run `work` on one of the threads, with the caller's context variables, which frameworks trace by."""
        context = copy_context()
        return await self._worker.arun(lambda: context.run(work))

    def close(self) -> None:
        """End the threads. The next call starts new ones."""
        self._worker.close()


@dataclass(frozen=True, slots=True)
class Returned:
    """One item that came back.

    Attributes:
        index: which document it is; None if its mark is gone.
        text: its text, which identifies the document if there is no mark.
        score: its score, in any type of number; None if it has none.
    """

    index: int | None
    text: str
    score: object = None


class BridgedReranker(Reranker, Generic[Item]):
    """Asks another library's reranker. Subclasses translate texts to `Item`s and back.

    Attributes:
        score_kind: what its scores mean; None ignores them and keeps its order.
        upper_bound: its highest score (`ScoreKind.BOUNDED` only).
    """

    def __init__(self, wrapped: object, score_kind: ScoreKind | None, upper_bound: float | None) -> None:
        self.score_kind = None if score_kind is None else checked_kind(score_kind)
        self.upper_bound = None if upper_bound is None else number("upper_bound", upper_bound)
        if (score_kind is ScoreKind.BOUNDED) != (upper_bound is not None):
            raise ValueError(
                f"score_kind={score_kind} and upper_bound={upper_bound!r} do not go together; ScoreKind.BOUNDED needs"
                " an upper_bound, and no other kind has one"
            )
        if self.upper_bound is not None and not 0 < self.upper_bound < float("inf"):
            raise ValueError(f"upper_bound must be a finite number above 0, got {upper_bound!r}")
        self._name = _name_of(wrapped)
        self._sync_calls = SyncCalls()

    @property
    def name(self) -> str:
        return self._name

    @property
    @abstractmethod
    def _is_async(self) -> bool:
        """Whether the other library's asynchronous call is more than its synchronous one on some executor."""

    @abstractmethod
    def _items(self, documents: Sequence[str]) -> list[Item]:
        """New objects for the other library, one for each document."""

    @abstractmethod
    def _call(self, query: str, items: list[Item]) -> Sequence[Item]:
        """Its synchronous call."""

    @abstractmethod
    async def _acall(self, query: str, items: list[Item]) -> Sequence[Item]:
        """Its asynchronous call."""

    @abstractmethod
    def _read(self, returned: Sequence[Item], items: list[Item]) -> list[Returned]:
        """What it returned for `items`, in its order."""

    def _rank(self, query: str, documents: Sequence[str]) -> Ranking:
        with foreign_errors(self.name):
            items = self._items(documents)
            returned = self._read(self._call(query, [*items]), items)
        return self._ranking(documents, returned)

    async def _arank(self, query: str, documents: Sequence[str]) -> Ranking:
        with foreign_errors(self.name):
            items = self._items(documents)
            if self._is_async:
                answer = await self._acall(query, [*items])
            else:
                answer = await self._sync_calls.run(lambda: self._call(query, [*items]))
            returned = self._read(answer, items)
        return self._ranking(documents, returned)

    def _ranking(self, documents: Sequence[str], returned: Sequence[Returned]) -> Ranking:
        found = self._found(documents, returned)
        if self.score_kind is None or None in found.values():
            best = [Ranked(index, documents[index]) for index in found]
        else:
            best = self._scored(documents, found, self.score_kind)
        dropped = (Ranked(index, text) for index, text in enumerate(documents) if index not in found)
        return Ranking((*best, *dropped), reranked_by=self.name)

    def _scored(self, documents: Sequence[str], found: Mapping[int, object], kind: ScoreKind) -> list[Ranked]:
        scores: dict[int, float] = {}
        for index, score in found.items():
            if (value := finite(score)) is None:
                raise BadReply(f"{self.name} gave documents[{index}] the score {score!r}, which is not a finite number")
            scores[index] = value
        if outside := outside_its_range([*scores.values()], kind):
            raise BadReply(
                f"{self.name} returned {outside}; state its score_kind: ScoreKind.LOGIT for any real numbers,"
                " ScoreKind.BOUNDED with an upper_bound for a scale from 0, or None for its order alone",
                service=self.name,
            )
        best_first = sorted(scores, key=lambda index: (-scores[index], index))
        raw = [scores[index] for index in best_first]
        values = unit_scores(raw, kind, self.upper_bound)
        ranked = zip(best_first, values, raw, strict=True)
        return [Ranked(index, documents[index], score, raw_score) for index, score, raw_score in ranked]

    def _found(self, documents: Sequence[str], returned: Sequence[Returned]) -> dict[int, object]:
        """The score of each document that came back, by index, in the order of their first mention."""
        found: dict[int, object] = {}
        for item in returned:
            same = [index for index, text in enumerate(documents) if text == item.text] if item.index is None else []
            if item.index is None and not same:
                raise BadReply(
                    f"{self.name} returned a text that is none of the {len(documents)} documents; only something that"
                    " reorders or filters can be a reranker",
                    service=self.name,
                )
            index = item.index if item.index is not None else next((i for i in same if i not in found), same[0])
            found.setdefault(index, item.score)
        return found

    def close(self) -> None:
        self._sync_calls.close()

    def __repr__(self) -> str:  # without the wrapped object's own, which may be long or show a key
        return f"{type(self).__name__}(<{self.name}>, score_kind={self.score_kind}, upper_bound={self.upper_bound})"

    def __reduce__(self) -> tuple[object, ...]:
        return built, (type(self), self.parameters())


def _name_of(wrapped: object) -> str:
    """Its class, with the model's name if it has one."""
    models = (getattr(wrapped, name, None) for name in ("model_name", "model", "model_arn"))
    model = next((model for model in models if isinstance(model, str) and model), None)
    return type(wrapped).__name__ if model is None else f"{type(wrapped).__name__}:{model}"
