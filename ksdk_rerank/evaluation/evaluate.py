"""`evaluate` compares each reranker with the first stage, on the same candidates. It returns an `Evaluation`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import fmean

from ksdk_rerank._arguments import finite, integer, number
from ksdk_rerank.base import Reranker
from ksdk_rerank.compose._fail_open import FailOpenStore, Store
from ksdk_rerank.evaluation.bootstrap import intervals
from ksdk_rerank.evaluation.contenders import Given, Progress, labelled, loaded
from ksdk_rerank.evaluation.html_report import as_html
from ksdk_rerank.evaluation.ids import by_id, id_of
from ksdk_rerank.evaluation.json_report import as_json
from ksdk_rerank.evaluation.measurements import (
    Comparison,
    EvaluatedQuery,
    EvaluatedReranker,
    Latency,
    Measurements,
    RankedQuery,
)
from ksdk_rerank.evaluation.metrics import Measure, measure_for
from ksdk_rerank.evaluation.qrels import Answers, Grades, Judgements, QueryJudgements, judgements_by_id
from ksdk_rerank.evaluation.run import Run
from ksdk_rerank.evaluation.tables import plain
from ksdk_rerank.knowledgesdk.search_results import SearchHit, titled_text
from ksdk_rerank.results import total_usage

__all__ = ["Evaluation", "evaluate"]

_MOST_EXAMPLES = 3  # ids from each side quoted in an error
_EQUAL = 1e-9  # a smaller difference between two metric values is rounding: they are summed in different orders


def evaluate(
    rerankers: Sequence[str | Reranker] | Mapping[str, Given],
    queries: Mapping[str, str],
    candidates: Mapping[str, Sequence[SearchHit]],
    judgements: Grades | Answers,
    metrics: Sequence[str] = ("nDCG@10", "MRR@10", "P@1", "R@5"),
    *,
    titles: bool = True,
    store: Store | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure whether reranking helps: every reranker reorders the first stage's candidates.

    Args:
        rerankers: rerankers, or names for `load_reranker`. Pass a mapping to choose the labels yourself, such as
            `{"plain": ..., "strict": ...}` for two instructions; its values may also be configurations. Rerankers
            loaded here are closed afterwards; yours stay open.
        queries: the queries, as {id: text}.
        candidates: what the first stage found for each query, best first, as `KnowledgeSDKClient.search` returns it.
            A query that is missing here has no candidates and scores 0.
        judgements: what is relevant, in one of two forms. `{query id: {document id: grade}}` are TREC qrels.
            `{query id: [answer, ...]}` lists ids, pages or parts of addresses (see `answers_to`); each answer counts
            once, at the first section that matches it. Queries with nothing relevant are skipped and listed in the
            result's `left_out`. Ids are compared as text, so 7 equals "7". Grades are whole numbers of any type.
        metrics: `ir-measures` names; tables and charts lead with the first one.
        titles: whether rerankers read a candidate's title, on a line above its text.
        store: a cache of rankings, such as a `DiskStore`. A cached ranking saves the call, and its time is that of the
            original call. If the store fails, you get a warning and the reranker is called.
        confidence: the level of the confidence intervals, between 0 and 1.
        resamples: the number of bootstrap draws.
        seed: the bootstrap's seed. The same input and seed give the same numbers, except for times.
        progress: called after each query.

    Returns:
        One row for the first stage and one for each reranker. If a reranker fails on some queries, its row reports
        why. Its metrics then cover the queries it answered, compared with the first stage on those same queries. The
        reranker is dropped after three errors in a row, or after one that would affect every query, such as a missing
        key.

    Raises:
        ValueError: an unknown query id, a blank query, a duplicate candidate, a grade that is not a whole number or
            needs more than 32 bits, nothing relevant at all, no judged document among the candidates, or an unknown
            metric or reranker. All of this is checked before the first call.
        MissingExtra: `pip install "ksdk-rerank[evaluate]"`.
    """
    confidence = number("confidence", confidence)
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, got {confidence!r}")
    resamples, seed = integer("resamples", resamples), integer("seed", seed, at_least=0)
    named = labelled(rerankers)
    store = FailOpenStore.around(store)
    queries, candidates = by_id(queries, "queries"), by_id(candidates, "candidates")
    known = judgements_by_id(judgements)
    _check(queries, candidates, known)
    left_out = _left_out(queries, known)
    ids = [query for query in queries if query not in left_out]
    if not ids:
        raise ValueError("nothing to measure: no query has a relevant document; check the ids in the judgements")
    hits = {query: tuple(candidates.get(query, ())) for query in ids}
    if not any(hits.values()):
        raise ValueError("nothing to measure: no judged query has candidates; check the query ids of the candidates")
    judged = [QueryJudgements(hits[query], known[query]) for query in ids]
    if not any(each.has_a_candidate for each in judged):
        raise ValueError(
            "nothing to measure: no judged document is among the candidates; the judgements name"
            f" {_examples(name for each in judged for name in each.judged)}, and the candidates are"
            f" {_examples(name for each in judged for name in each.candidates)};"
            " make both use the same names"
        )
    table = _Table(ids, measure_for(metrics, judged), tuple(metrics), confidence, resamples, seed)
    first_stage = table.first_stage([hits[query] for query in ids])
    questions = [(queries[query], [titled_text(hit) if titles else hit.text for hit in hits[query]]) for query in ids]
    with loaded(named) as contenders:
        rows = [table.row(each.label, each.run(questions, store, progress), first_stage) for each in contenders]
    return Evaluation(
        metrics=tuple(metrics),
        queries=tuple(
            EvaluatedQuery(query, queries[query], hits[query], each.grades(), each.missed())
            for query, each in zip(ids, judged, strict=True)
        ),
        first_stage=first_stage,
        rerankers=tuple(rows),
        left_out=left_out,
        confidence=confidence,
    )


@dataclass(frozen=True, slots=True)
class Evaluation(Measurements):
    """The first stage's order and each reranker's, measured on the same candidates.

    Attributes:
        metrics: the metrics' names, in the order given; tables and charts lead with the first one.
        queries: the queries that were measured, in the order given.
        first_stage: the row for the candidates in their original order.
        rerankers: one row per reranker, in the order given.
        left_out: the queries that were skipped because nothing is known to be relevant to them, with the reason.
        confidence: the level of the confidence intervals, such as 0.95.
    """

    def table(self) -> str:
        """The rows as a plain-text table for a fixed-width font."""
        return plain(self)

    def to_json(self) -> str:
        """All numbers, and each query's order as document ids, in one JSON object. It contains no document texts.

        Keys are this class's attributes. Times are in seconds. The same input gives the same JSON, except for times.
        """
        return as_json(self)

    def to_html(self, *, title: str = "Is reranking helping?") -> str:
        """A report as one HTML page that works offline: charts, and how each candidate moved for each question.

        The page contains the first 2,000 characters of each document, so share it only with people who may read those.
        """
        return as_html(self, title)


def _check(queries: Mapping[str, str], candidates: Mapping[str, Sequence[SearchHit]], judgements: Judgements) -> None:
    """Reject input that cannot be right, before the first call."""
    for query, text in queries.items():
        if not text.strip():
            raise ValueError(f"the query {query!r} is blank; add its text or remove it")
    for given, name in ((candidates, "candidates"), (judgements, "judgements")):
        if unknown := [query for query in given if query not in queries]:
            more = f" (and {len(unknown) - 1} more)" if unknown[1:] else ""
            raise ValueError(
                f"{name}: the query {unknown[0]!r} is not among the queries{more}; use the {name} of these queries"
            )
    for query, hits in candidates.items():
        if repeated := [id for id, times in Counter(id_of(hit.id) for hit in hits).items() if times > 1]:
            raise ValueError(f"the query {query!r} has the candidate {repeated[0]!r} twice; remove one")


def _examples(ids: Iterable[str]) -> str:
    """The first few of `ids`, for an error message."""
    first = list(islice(dict.fromkeys(ids), _MOST_EXAMPLES + 1))
    more = ", ..." if first[_MOST_EXAMPLES:] else ""
    return ", ".join(f"{id!r:.80}" for id in first[:_MOST_EXAMPLES]) + more


def _left_out(queries: Mapping[str, str], judgements: Judgements) -> dict[str, str]:
    reasons = {}
    for query in queries:
        judged = judgements.get(query)
        if not judged:
            reasons[query] = "not judged"
        elif isinstance(judged, Mapping) and max(judged.values()) <= 0:
            reasons[query] = "nothing is relevant"
    return reasons


@dataclass(frozen=True, slots=True)
class _Table:
    """Builds the rows. It holds what all rerankers share, so that all are measured alike."""

    ids: Sequence[str]
    measure: Measure
    metrics: Sequence[str]
    confidence: float
    resamples: int
    seed: int

    def first_stage(self, hits: Sequence[Sequence[SearchHit]]) -> EvaluatedReranker:
        orders = [tuple(range(len(found))) for found in hits]
        ranked = {
            query: RankedQuery(order, tuple(finite(hit.score) for hit in found), values)
            for query, order, found, values in zip(self.ids, orders, hits, self.measure(orders), strict=True)
        }
        means = {metric: fmean(one.values[metric] for one in ranked.values()) for metric in self.metrics}
        compared = {metric: Comparison(mean, mean, None, 0, 0, len(ranked)) for metric, mean in means.items()}
        return EvaluatedReranker("first stage", compared, ranked)

    def row(self, label: str, run: Run, first_stage: EvaluatedReranker) -> EvaluatedReranker:
        orders: list[tuple[int, ...]] = [()] * len(self.ids)
        for position, answer in run.answers.items():
            orders[position] = answer.ranking.indices
        measured = self.measure(orders)
        ranked = {
            self.ids[position]: RankedQuery(
                ranking.indices, tuple(ranked.score for ranked in ranking), measured[position], answer.seconds
            )
            for position, answer in run.answers.items()
            for ranking in (answer.ranking,)
        }
        timed = [answer for answer in run.answers.values() if answer.ranking]
        return EvaluatedReranker(
            name=label,
            metrics=self._compared(ranked, first_stage) if ranked else {},
            queries=ranked,
            latency=Latency.of(
                [answer.seconds for answer in timed if not answer.first],
                next((answer.seconds for answer in timed if answer.first), None),
            ),
            usage=total_usage(answer.ranking.usage for answer in run.answers.values()),
            truncated=sum(answer.ranking.truncated for answer in run.answers.values()),
            fallbacks=sum(bool(answer.ranking.failures) for answer in run.answers.values()),
            failures={self.ids[position]: failure for position, failure in run.failures.items()},
            not_asked=run.not_asked,
        )

    def _compared(self, ranked: Mapping[str, RankedQuery], first: EvaluatedReranker) -> dict[str, Comparison]:
        pairs = {
            metric: [(one.values[metric], first.queries[query].values[metric]) for query, one in ranked.items()]
            for metric in self.metrics
        }
        differences = {metric: [new - old for new, old in pairs[metric]] for metric in self.metrics}
        known = intervals(
            list(differences.values()), confidence=self.confidence, resamples=self.resamples, seed=self.seed
        )
        compared = {}
        for metric, interval in zip(self.metrics, known, strict=True):
            wins = sum(difference > _EQUAL for difference in differences[metric])
            losses = sum(difference < -_EQUAL for difference in differences[metric])
            compared[metric] = Comparison(
                value=fmean(new for new, _ in pairs[metric]),
                first_stage=fmean(old for _, old in pairs[metric]),
                interval=interval,
                wins=wins,
                losses=losses,
                ties=len(ranked) - wins - losses,
            )
        return compared
