"""What `evaluate` found out: an `Evaluation` with a row for the first stage and one for each reranker."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ksdk_rerank.evaluation.html_report import as_html
from ksdk_rerank.evaluation.json_report import as_json
from ksdk_rerank.evaluation.tables import plain
from ksdk_rerank.knowledgesdk.search_results import SearchHit
from ksdk_rerank.results import Failure

__all__ = ["Comparison", "EvaluatedQuery", "EvaluatedReranker", "Evaluation", "Latency", "RankedQuery"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One metric of one reranker, against the first stage on the same queries.

    Attributes:
        value: mean over the queries that the reranker answered.
        first_stage: mean of the first stage's order over the same queries.
        interval: a confidence interval of the mean difference, by paired bootstrap over the queries; None for fewer
            than two queries. Where it holds 0, chance may well explain the difference.
        wins: queries for which the reranker's order is better than the first stage's.
        losses: queries for which it is worse.
        ties: queries for which it is as good.
    """

    value: float
    first_stage: float
    interval: tuple[float, float] | None
    wins: int
    losses: int
    ties: int

    @property
    def difference(self) -> float:
        """`value` less `first_stage`: above 0 is a gain."""
        return self.value - self.first_stage


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds a query took, as a caller of `rank` waits for them.

    Attributes:
        p50: the median.
        p95: what 95 % of the queries stay within (nearest rank).
        first: what the first call took, which loads the model or opens the connection. It is left out of the others
            unless it is the only one.
    """

    p50: float
    p95: float
    first: float

    @classmethod
    def of(cls, seconds: Sequence[float], first: float | None) -> Latency | None:
        """From the times of all calls but the `first`; None where there was none."""
        timed = sorted(seconds) or ([] if first is None else [first])
        if not timed:
            return None
        p50, p95 = (timed[math.ceil(share * len(timed)) - 1] for share in (0.5, 0.95))
        return cls(p50, p95, timed[0] if first is None else first)


@dataclass(frozen=True, slots=True)
class EvaluatedQuery:
    """One query, its candidates and what is relevant to it.

    Attributes:
        id: its id.
        text: what was asked.
        candidates: what the first stage found, best first.
        grades: how relevant the candidate at each place is; 0 is not relevant, or not judged.
        missed: relevant documents that are not among the candidates, so that no reranker can find them.
    """

    id: str
    text: str
    candidates: tuple[SearchHit, ...]
    grades: tuple[int, ...]
    missed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RankedQuery:
    """The order that one reranker gave the candidates of one query.

    Attributes:
        indices: positions in `EvaluatedQuery.candidates`, best first.
        scores: the reranker's score of each, in that order; None where there is none.
        values: each metric's value.
        seconds: how long the call took.
    """

    indices: tuple[int, ...]
    scores: tuple[float | None, ...]
    values: Mapping[str, float]
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class EvaluatedReranker:
    """One row: how well the candidates are ordered, what that took, and what went wrong.

    Attributes:
        name: the reranker's name, or the label it was given.
        metrics: each metric against the first stage; empty where no query was answered.
        queries: the queries that were answered, by their id.
        latency: None where nothing was asked.
        usage: sums of what the services count, such as `{"search_units": 40}`.
        truncated: documents that were cut to fit the model's window, over all queries.
        fallbacks: queries for which a `Fallback` inside had to move on: another reranker answered those.
        failures: errors by the id of the query, in the order they came.
        not_asked: queries given up on after the last failure.
    """

    name: str
    metrics: Mapping[str, Comparison]
    queries: Mapping[str, RankedQuery]
    latency: Latency | None = None
    usage: Mapping[str, float] = field(default_factory=dict)
    truncated: int = 0
    fallbacks: int = 0
    failures: Mapping[str, Failure] = field(default_factory=dict)
    not_asked: int = 0

    @property
    def failure(self) -> str | None:
        """The first failure in words, or None where every query was answered."""
        first = next(iter(self.failures.values()), None)
        return None if first is None else f"{first.error}: {first.message}"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The first stage's order and each reranker's, measured on the same candidates.

    Attributes:
        metrics: their names, in the order asked for; the first is the one that tables and pictures lead with.
        queries: the queries that count, in the order given.
        first_stage: the candidates in the order they came.
        rerankers: one row each, in the order given.
        left_out: queries that were not asked, with the reason: nothing relevant to them is known.
        confidence: of the intervals, such as 0.95.
    """

    metrics: tuple[str, ...]
    queries: tuple[EvaluatedQuery, ...]
    first_stage: EvaluatedReranker
    rerankers: tuple[EvaluatedReranker, ...]
    left_out: Mapping[str, str]
    confidence: float

    def table(self) -> str:
        """The rows as plain text, to be printed in a fixed-width font."""
        return plain(self)

    def to_json(self) -> str:
        """All numbers, and each query's order by ids of documents, as one JSON object. It holds no document's text.

        Keys are this class's attributes; times are in seconds. The same input gives the same text, times apart.
        """
        return as_json(self)

    def to_html(self, *, title: str = "Is reranking helping?") -> str:
        """A report as one HTML page that needs no network: pictures, and every candidate's way for any question.

        It holds the first 2,000 characters of each document's text; who may not read those may not have the page.
        """
        return as_html(self, title)
