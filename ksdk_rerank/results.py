"""`Ranking`: what a reranker returns, a sequence of `Ranked` documents, best first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import overload

__all__ = ["Failure", "Ranked", "Ranking", "total_usage"]


@dataclass(frozen=True, slots=True)
class Ranked:
    """One document in a `Ranking`.

    Attributes:
        index: position in the input documents, from 0.
        document: the text at that position, unchanged.
        score: relevance in [0, 1]; higher is better. Comparable between queries of the same reranker. None if there is
            no score (a blank document, or `InputOrder`).
        raw_score: the model's own score (a logit, a probability, a BM25 sum), or None. Results are ordered by it.
        span: the passage that earned the score, as (start, end) in characters of `document`; None if the document was
            read as a whole. `document[slice(*span)]` is the passage.
    """

    index: int
    document: str
    score: float | None = None
    raw_score: float | None = None
    span: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a `Fallback` moved on from a reranker.

    Attributes:
        reranker: the name of the reranker that failed.
        error: the class of its error, such as `"RateLimited"`.
        message: the error's message; it never contains a key.
        skipped: whether this call did not try the reranker because it is cooling down; the error is then the one that
            began the cool-down.
    """

    reranker: str
    error: str
    message: str
    skipped: bool = False


@dataclass(frozen=True, slots=True)
class Ranking(Sequence[Ranked]):
    """The documents of one call, best first: a sequence of `Ranked`, with details of the call.

    Attributes:
        results: the ranked documents, best first.
        reranked_by: the name of the reranker that produced this order.
        usage: the call's cost in the service's own units, such as `{"search_units": 1}` or `{"total_tokens": 812}`;
            empty if nothing is counted.
        truncated: how many documents were cut off to fit the model's window, so that only their beginnings were read.
        failures: the rerankers that failed or were skipped before one answered; empty unless a `Fallback` moved on.
        duplicates: documents left out because they repeat another, as {index left out: index it repeats}; empty unless
            duplicates were removed.
        query_truncated: whether the query was cut off: by a local model to half of its window, or to the most that a
            service accepts. What a service itself cuts is not reported.
    """

    results: tuple[Ranked, ...]
    reranked_by: str
    usage: Mapping[str, float] = field(default_factory=dict)
    truncated: int = 0
    failures: tuple[Failure, ...] = ()
    duplicates: Mapping[int, int] = field(default_factory=dict)
    query_truncated: bool = False

    @property
    def indices(self) -> tuple[int, ...]:
        """Positions in the input, best first: `[documents[i] for i in ranking.indices]`."""
        return tuple(ranked.index for ranked in self.results)

    def details(self) -> dict[str, object]:
        """Everything about the call except the documents, by attribute name: for logs and traces."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "results"}

    @overload
    def __getitem__(self, position: int) -> Ranked: ...
    @overload
    def __getitem__(self, position: slice) -> tuple[Ranked, ...]: ...
    def __getitem__(self, position: int | slice) -> Ranked | tuple[Ranked, ...]:
        return self.results[position]

    def __len__(self) -> int:
        return len(self.results)

    def __iter__(self) -> Iterator[Ranked]:
        return iter(self.results)


def total_usage(usages: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The total of several calls' `usage`: amounts in the same unit are added."""
    total: dict[str, float] = {}
    for usage in usages:
        for unit, amount in usage.items():
            total[unit] = total.get(unit, 0) + amount
    return total
