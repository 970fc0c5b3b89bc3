"""What `evaluate` measures, as plain data: one row for the first stage and one for each reranker."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ksdk_rerank.knowledgesdk.search_results import SearchHit
from ksdk_rerank.results import Failure

__all__ = [
    "Calibration",
    "Comparison",
    "EvaluatedQuery",
    "EvaluatedReranker",
    "Latency",
    "Measurements",
    "PromptSize",
    "PromptSizes",
    "RankedQuery",
    "ScoreBin",
]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One metric of one reranker, against the first stage on the same queries.

    Attributes:
        value: mean over the queries that the reranker answered.
        first_stage: mean for the first stage's order over the same queries.
        interval: a confidence interval for the mean difference, by paired bootstrap over the queries. None for fewer
            than two queries. If it contains 0, the difference may be due to chance.
        wins: number of queries for which the reranker's order is better than the first stage's.
        losses: number of queries for which it is worse.
        ties: number of queries for which both are equally good.
    """

    value: float
    first_stage: float
    interval: tuple[float, float] | None
    wins: int
    losses: int
    ties: int

    @property
    def difference(self) -> float:
        """`value - first_stage`: above 0, reranking helps."""
        return self.value - self.first_stage


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds per query that a caller of `rank` waits.

    Attributes:
        p50: the median.
        p95: the 95th percentile (nearest rank).
        first: the time of the first call, which loads the model or opens the connection. The percentiles leave it out
            unless it is the only call.
    """

    p50: float
    p95: float
    first: float

    @classmethod
    def of(cls, seconds: Sequence[float], first: float | None) -> Latency | None:
        """Summarize the times of the `first` call and of all later ones; None if there were no calls."""
        timed = sorted(seconds) or ([] if first is None else [first])
        if not timed:
            return None
        p50, p95 = (timed[math.ceil(share * len(timed)) - 1] for share in (0.5, 0.95))
        return cls(p50, p95, timed[0] if first is None else first)


@dataclass(frozen=True, slots=True)
class EvaluatedQuery:
    """One query, its candidates and what is relevant to it.

    Attributes:
        id: the query's id.
        text: the query's text.
        candidates: what the first stage found, best first.
        grades: the grade of each candidate, in the same order; 0 means not relevant or not judged.
        missed: relevant documents that are not among the candidates. No reranker can find these.
    """

    id: str
    text: str
    candidates: tuple[SearchHit, ...]
    grades: tuple[int, ...]
    missed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RankedQuery:
    """One reranker's order for the candidates of one query.

    Attributes:
        indices: positions in `EvaluatedQuery.candidates`, best first.
        scores: the reranker's scores in that order; None for an unscored document.
        values: the value of each metric, by name.
        seconds: how long the call took.
    """

    indices: tuple[int, ...]
    scores: tuple[float | None, ...]
    values: Mapping[str, float]
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class PromptSize:
    """What a prompt contains if `min_score` and `top_n` shorten a reranker's lists: means over the answered queries.

    Attributes:
        min_score: as in `Reranker.rank`; None sets no threshold.
        top_n: as in `Reranker.rank`; None sets no limit.
        kept: how many of the relevant documents (or answers) in the whole list the shortened list still has, as a
            share: the mean over the queries whose list has any.
        kept_interval: a bootstrap interval for that mean; None for fewer than two queries.
        tokens: tokens of the shortened list, per query.
        tokens_interval: a bootstrap interval for that mean.
        documents: documents in the shortened list, per query.
    """

    min_score: float | None
    top_n: int | None
    kept: float
    kept_interval: tuple[float, float] | None
    tokens: float
    tokens_interval: tuple[float, float] | None
    documents: float


@dataclass(frozen=True, slots=True)
class PromptSizes:
    """How many tokens and answers a language model gets if a reranker's lists are shortened.

    Attributes:
        uncut: the whole lists.
        smallest: the smallest prompt that keeps the share `keep_answers` of what the whole lists have, by `min_score`,
            `top_n` or both. It was chosen on these very queries, so expect it to keep a little less on others.
        by_min_score: sizes by a rising `min_score` alone; empty if nothing has a score, and for the first stage.
        by_top_n: sizes by a rising `top_n` alone.
    """

    uncut: PromptSize
    smallest: PromptSize
    by_min_score: tuple[PromptSize, ...]
    by_top_n: tuple[PromptSize, ...]

    @property
    def saved_tokens(self) -> float:
        """Tokens per query that the smallest prompt saves, compared with the whole list."""
        return self.uncut.tokens - self.smallest.tokens


@dataclass(frozen=True, slots=True)
class ScoreBin:
    """The candidates whose score is from `low` up to `high` (1 belongs to the last bin).

    Attributes:
        low: the lowest score in the bin's range.
        high: the end of its range.
        documents: the number of candidates, over all queries.
        score: their mean score.
        relevant: the share of them that are relevant.
    """

    low: float
    high: float
    documents: int
    score: float
    relevant: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """The arguments with which `Calibrated` fits a reranker's scores to these judgements.

    Attributes:
        slope: see `Calibrated`.
        intercept: see `Calibrated`.
        bins: the calibrated scores against the share of relevant candidates, on the same queries.
    """

    slope: float
    intercept: float
    bins: tuple[ScoreBin, ...]


@dataclass(frozen=True, slots=True)
class EvaluatedReranker:
    """One row of the result: how well a reranker ordered the candidates, what that cost, and what failed.

    Attributes:
        name: the reranker's name, or your label for it.
        metrics: each metric compared with the first stage; empty if no query was answered.
        queries: the answered queries, by id.
        latency: seconds per call; None if no call was made.
        usage: total usage in the service's own units, such as `{"search_units": 40}`.
        truncated: number of documents cut to fit the model's window, over all queries.
        fallbacks: number of queries that another reranker answered, because a `Fallback` inside had to move on.
        failures: errors by query id, in the order they occurred.
        skipped: number of queries that were skipped once the reranker was dropped.
        prompts: how short the prompt can be; None if no answered query has a relevant candidate.
        bins: scores against the share of relevant candidates; empty if nothing has a score, and for the first stage.
        calibration: the arguments of `Calibrated` that turn scores into such shares; None if they cannot be fitted.
    """

    name: str
    metrics: Mapping[str, Comparison]
    queries: Mapping[str, RankedQuery]
    latency: Latency | None = None
    usage: Mapping[str, float] = field(default_factory=dict)
    truncated: int = 0
    fallbacks: int = 0
    failures: Mapping[str, Failure] = field(default_factory=dict)
    skipped: int = 0
    prompts: PromptSizes | None = None
    bins: tuple[ScoreBin, ...] = ()
    calibration: Calibration | None = None

    @property
    def failure(self) -> str | None:
        """The first failure as `error: message`, or None if every query was answered."""
        first = next(iter(self.failures.values()), None)
        return None if first is None else f"{first.error}: {first.message}"


@dataclass(frozen=True, slots=True)
class Measurements:
    """The attributes of an `Evaluation`, for its printers."""

    metrics: tuple[str, ...]
    queries: tuple[EvaluatedQuery, ...]
    first_stage: EvaluatedReranker
    rerankers: tuple[EvaluatedReranker, ...]
    skipped_queries: Mapping[str, str]
    confidence: float
    keep_answers: float
    price: float | None
    tokens_estimated: bool
