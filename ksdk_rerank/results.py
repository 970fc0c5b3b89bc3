"""What a reranker returns: a `Ranking` of `Ranked`, best first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import overload

__all__ = ["Failure", "Ranked", "Ranking"]


@dataclass(frozen=True, slots=True)
class Ranked:
    """One document at its place in a `Ranking`.

    Attributes:
        index: position in the documents that were given, from 0.
        document: the text at that position, unchanged.
        score: relevance in [0, 1], higher is better, comparable between queries of one reranker;
            None where there is no score (a blank document, or `InputOrder`).
        raw_score: what the model said (a logit, a probability, a BM25 sum), or None. Order is by this.
        span: where in `document` the passage is that earned the score, as (start, end) in characters; None where the
            document was read as a whole. `document[slice(*span)]` is the passage.
    """

    index: int
    document: str
    score: float | None = None
    raw_score: float | None = None
    span: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a reranker was passed over.

    Attributes:
        reranker: its name.
        error: the class of its error, such as `"RateLimited"`.
        message: the error's message, which holds no key.
    """

    reranker: str
    error: str
    message: str


@dataclass(frozen=True, slots=True)
class Ranking(Sequence[Ranked]):
    """The documents of one call, best first: a sequence of `Ranked` with what else is known of the call.

    Attributes:
        results: the ranked documents, best first.
        reranked_by: the name of the reranker whose order this is.
        usage: what the call cost in the service's own units, such as `{"search_units": 1}` or
            `{"total_tokens": 812}`; empty where nothing is counted.
        truncated: how many documents were cut to fit the model's window. Only their starts were read.
        failures: the rerankers that failed before one answered; empty unless a `Fallback` had to move on.
        duplicates: documents left out because they repeat another, as {index left out: index it repeats}; empty
            unless duplicates were to be removed.
        query_truncated: whether the query was longer than half of the model's window and cut to that. A service does
            not say so: there it is whether the query was longer than the service accepts, and cut to that.
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
        """All that is known of the call beside the documents, by attribute: for logs and traces."""
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
