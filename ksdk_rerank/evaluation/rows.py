"""The rows of an `Evaluation`: the first stage's, and one for each reranker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from ksdk_rerank._arguments import finite
from ksdk_rerank.compose._cache_entries import Entry
from ksdk_rerank.evaluation.bootstrap import Intervals
from ksdk_rerank.evaluation.measurements import Comparison, EvaluatedReranker, Latency, PromptSizes, RankedQuery
from ksdk_rerank.evaluation.metrics import Measure
from ksdk_rerank.evaluation.prompts import Prompt, prompt_sizes
from ksdk_rerank.evaluation.qrels import QueryJudgements
from ksdk_rerank.evaluation.reliability import calibration_of, score_bins
from ksdk_rerank.evaluation.run import Outcome
from ksdk_rerank.knowledgesdk.search_results import SearchHit
from ksdk_rerank.results import Failure, Ranking, total_usage

__all__ = ["RowBuilder"]

_EQUAL = 1e-9  # a smaller difference between two metric values is rounding: they are summed in different orders


@dataclass(frozen=True, slots=True)
class RowBuilder:
    """Builds the rows. It holds what all rerankers share, so that all are measured alike.

    Attributes:
        judged: the judgements of each query that is measured, by its id.
        tokens: the tokens of each of its candidates.
        measure: computes the metrics.
        metrics: their names.
        keep_answers: the share of the answers that the smallest prompts keep.
        intervals: computes the confidence intervals.
    """

    judged: Mapping[str, QueryJudgements]
    tokens: Mapping[str, Sequence[int]]
    measure: Measure
    metrics: Sequence[str]
    keep_answers: float
    intervals: Intervals

    def first_stage(self, hits: Mapping[str, Sequence[SearchHit]]) -> EvaluatedReranker:
        """The row for the candidates in their original order."""
        orders = {query: tuple(range(len(found))) for query, found in hits.items()}
        values = self.measure(orders)
        ranked = {
            query: RankedQuery(orders[query], tuple(finite(hit.score) for hit in found), values[query])
            for query, found in hits.items()
        }
        means = {metric: fmean(one.values[metric] for one in ranked.values()) for metric in self.metrics}
        compared = {metric: Comparison(mean, mean, None, 0, 0, len(ranked)) for metric, mean in means.items()}
        return EvaluatedReranker("first stage", compared, ranked, prompts=self._prompts(ranked, scored=False))

    def reranker(self, label: str, outcomes: Sequence[Outcome], first_stage: EvaluatedReranker) -> EvaluatedReranker:
        """A reranker's row, compared with the first stage's."""
        by_query = dict(zip(self.judged, outcomes, strict=True))
        answers = {query: outcome for query, outcome in by_query.items() if isinstance(outcome, Entry)}
        rankings = {query: answer.ranking for query, answer in answers.items()}
        values = self.measure({query: ranking.indices for query, ranking in rankings.items()})
        ranked = {
            query: RankedQuery(
                ranking.indices, tuple(one.score for one in ranking), values[query], answers[query].seconds
            )
            for query, ranking in rankings.items()
        }
        scored = self._scored(rankings)
        timed = [answer for answer in answers.values() if answer.ranking]
        return EvaluatedReranker(
            name=label,
            metrics=self._compared(ranked, first_stage) if ranked else {},
            queries=ranked,
            latency=Latency.of(
                [answer.seconds for answer in timed if not answer.first],
                next((answer.seconds for answer in timed if answer.first), None),
            ),
            usage=total_usage(ranking.usage for ranking in rankings.values()),
            truncated=sum(ranking.truncated for ranking in rankings.values()),
            fallbacks=sum(bool(ranking.failures) for ranking in rankings.values()),
            failures={query: outcome for query, outcome in by_query.items() if isinstance(outcome, Failure)},
            skipped=outcomes.count(None),
            prompts=self._prompts(ranked),
            bins=score_bins(scored),
            calibration=calibration_of(scored),
        )

    def _prompts(self, ranked: Mapping[str, RankedQuery], *, scored: bool = True) -> PromptSizes | None:
        """How short the prompts can be, by `top_n` alone unless `scored`."""
        prompts = [
            Prompt(
                one.scores if scored else [None] * len(one.indices),
                self.judged[query].answered(one.indices),
                [self.tokens[query][index] for index in one.indices],
            )
            for query, one in ranked.items()
        ]
        return prompt_sizes(prompts, keep=self.keep_answers, intervals=self.intervals)

    def _scored(self, rankings: Mapping[str, Ranking]) -> list[tuple[float, bool]]:
        """The score of each document, and whether it is relevant. Leaves out what a `Fallback`'s next one scored."""
        scored = []
        for query, ranking in rankings.items():
            grades = self.judged[query].grades()
            for ranked in () if ranking.failures else ranking:
                if ranked.score is not None:
                    scored.append((ranked.score, grades[ranked.index] > 0))
        return scored

    def _compared(self, ranked: Mapping[str, RankedQuery], first: EvaluatedReranker) -> dict[str, Comparison]:
        pairs = {
            metric: [(one.values[metric], first.queries[query].values[metric]) for query, one in ranked.items()]
            for metric in self.metrics
        }
        differences = {metric: [new - old for new, old in pairs[metric]] for metric in self.metrics}
        known = self.intervals(list(differences.values()))
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
