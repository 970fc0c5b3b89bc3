"""The rows of an `Evaluation`: the first stage's, and one for each reranker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from ksdk_rerank._arguments import finite
from ksdk_rerank.evaluation.bootstrap import Intervals
from ksdk_rerank.evaluation.measurements import (
    Comparison,
    EvaluatedReranker,
    Latency,
    PromptSizes,
    RankedQuery,
)
from ksdk_rerank.evaluation.metrics import Measure
from ksdk_rerank.evaluation.prompts import Prompt, prompt_sizes
from ksdk_rerank.evaluation.qrels import QueryJudgements
from ksdk_rerank.evaluation.reliability import calibration_of, score_bins
from ksdk_rerank.evaluation.run import Run
from ksdk_rerank.knowledgesdk.search_results import SearchHit
from ksdk_rerank.results import total_usage

__all__ = ["Table"]

_EQUAL = 1e-9  # a smaller difference between two metric values is rounding: they are summed in different orders


@dataclass(frozen=True, slots=True)
class Table:
    """Builds the rows. It holds what all rerankers share, so that all are measured alike."""

    ids: Sequence[str]
    judged: Sequence[QueryJudgements]
    tokens: Sequence[Sequence[int]]
    measure: Measure
    metrics: Sequence[str]
    keep_answers: float
    intervals: Intervals

    def first_stage(self, hits: Sequence[Sequence[SearchHit]]) -> EvaluatedReranker:
        """The row for the candidates in their original order."""
        orders = [tuple(range(len(found))) for found in hits]
        ranked = {
            query: RankedQuery(order, tuple(finite(hit.score) for hit in found), values)
            for query, order, found, values in zip(self.ids, orders, hits, self.measure(orders), strict=True)
        }
        means = {metric: fmean(one.values[metric] for one in ranked.values()) for metric in self.metrics}
        compared = {metric: Comparison(mean, mean, None, 0, 0, len(ranked)) for metric, mean in means.items()}
        unscored = {position: [(index, None) for index in order] for position, order in enumerate(orders)}
        return EvaluatedReranker("first stage", compared, ranked, prompts=self._prompts(unscored))

    def row(self, label: str, run: Run, first_stage: EvaluatedReranker) -> EvaluatedReranker:
        """A reranker's row, compared with the first stage's."""
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
        scored = self._scored(run)
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
            prompts=self._prompts(
                {position: [(one.index, one.score) for one in each.ranking] for position, each in run.answers.items()}
            ),
            bins=score_bins(scored),
            calibration=calibration_of(scored),
        )

    def _prompts(self, orders: Mapping[int, Sequence[tuple[int, float | None]]]) -> PromptSizes | None:
        """How short the prompts can be. `orders` has (index, score) for each document, by the query's position."""
        prompts = []
        for position, order in orders.items():
            indices = [index for index, _ in order]
            tokens = [self.tokens[position][index] for index in indices]
            prompts.append(Prompt([score for _, score in order], self.judged[position].answered(indices), tokens))
        return prompt_sizes(prompts, keep=self.keep_answers, intervals=self.intervals)

    def _scored(self, run: Run) -> list[tuple[float, bool]]:
        """The score of each document, and whether it is relevant. Leaves out what a `Fallback`'s next one scored."""
        scored = []
        for position, answer in run.answers.items():
            grades = self.judged[position].grades()
            for ranked in () if answer.ranking.failures else answer.ranking:
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
