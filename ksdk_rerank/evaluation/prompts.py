"""How short a prompt can be: what each `min_score` and `top_n` keeps of the answers, and how many tokens it sends.

Worked example, one question, target 95 %:

    scores .9 .6 .3, tokens 100 200 300, the answer is in the second
    min_score=0.6 leaves two documents: 300 of 600 tokens, and the answer. So does top_n=2.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from decimal import ROUND_FLOOR, Context
from itertools import accumulate
from statistics import fmean

from ksdk_rerank._arguments import number
from ksdk_rerank.evaluation.bootstrap import Intervals
from ksdk_rerank.evaluation.measurements import PromptSize, PromptSizes

__all__ = ["Prompt", "checked_keep_answers", "checked_price", "prompt_sizes"]

_POINTS = 60  # on a curve; more would not show
_EACH_UP_TO = 40  # every top_n up to here is tried; above, evenly spaced ones
_EQUAL = 1e-9  # a smaller difference between two means is rounding
_THREE_DIGITS = Context(prec=3, rounding=ROUND_FLOOR)

Limits = tuple[float | None, int | None]
"""`min_score` and `top_n`."""


def checked_keep_answers(value: object) -> float:
    """Check `keep_answers` of `evaluate`. Raises `ValueError` unless it is a number above 0 and at most 1."""
    keep = number("keep_answers", value)
    if not 0 < keep <= 1:
        raise ValueError(f"keep_answers must be above 0 and at most 1, got {value!r}; 0.95 keeps 95 %")
    return keep


def checked_price(value: object) -> float | None:
    """Check `price` of `evaluate`. Raises `ValueError` unless it is None or a finite number of at least 0."""
    if value is None:
        return None
    price = number("price", value)
    if not 0 <= price < math.inf:
        raise ValueError(f"price must be at least 0 and finite, got {value!r}; it is for a million tokens")
    return price


class Prompt:
    """One query's documents in a reranker's order. A cut leaves a beginning of them, so running sums measure any cut.

    Args:
        scores: their scores, falling; None for unscored documents, which come last.
        answers: whether each adds an answer that no document before it has.
        tokens: how many tokens each has.
    """

    def __init__(self, scores: Sequence[float | None], answers: Sequence[bool], tokens: Sequence[int]) -> None:
        self.scores = scores
        self.total = sum(answers)
        self._answers = answers
        self._negated = [-score for score in scores if score is not None]
        self._answers_before = [0, *accumulate(answers)]
        self._tokens_before = [0, *accumulate(tokens)]

    def length(self, limits: Limits) -> int:
        """How many documents are left. As in `rank`, `min_score` is ignored if nothing has a score."""
        min_score, top_n = limits
        length = len(self.scores)
        if min_score is not None and self._negated:
            length = bisect_right(self._negated, -min_score)
        return length if top_n is None else min(length, top_n)

    def tokens(self, limits: Limits) -> int:
        return self._tokens_before[self.length(limits)]

    def kept(self, limits: Limits) -> float:
        """The share of answers that are left; only if there are any."""
        return self._answers_before[self.length(limits)] / self.total

    def scored_answers(self) -> Iterator[tuple[float, int, float]]:
        """Each scored answer: its score, its place from 0, and its share of all the answers."""
        for place, (score, answer) in enumerate(zip(self.scores, self._answers, strict=True)):
            if answer and score is not None:
                yield score, place, 1 / self.total


def prompt_sizes(prompts: Sequence[Prompt], *, keep: float, intervals: Intervals) -> PromptSizes | None:
    """Measure cuts of `prompts`, and find the smallest that keeps the share `keep` of the answers.

    Thresholds are rounded down to three significant digits, and measured as rounded. None if there are no answers.
    """
    if not any(prompt.total for prompt in prompts):
        return None
    counts = _counts(max(len(prompt.scores) for prompt in prompts))
    thresholds = _thresholds(prompts)
    limits = [
        (None, None),
        _smallest(prompts, counts, keep),
        *((threshold, None) for threshold in thresholds),
        *((None, count) for count in counts),
    ]
    uncut, smallest, *others = _measured(prompts, limits, intervals)
    return PromptSizes(uncut, smallest, tuple(others[: len(thresholds)]), tuple(others[len(thresholds) :]))


def _smallest(prompts: Sequence[Prompt], counts: Sequence[int], keep: float) -> Limits:
    """The limits with the fewest tokens, among each `top_n` alone and with the highest `min_score` that it allows."""
    with_answers = [prompt for prompt in prompts if prompt.total]
    enough = keep * len(with_answers) - _EQUAL
    unscored = [prompt for prompt in with_answers if prompt.scores[0] is None]  # which no threshold cuts
    scored = sorted((answer for prompt in with_answers for answer in prompt.scored_answers()), reverse=True)

    def tokens(limits: Limits) -> int:
        return sum(prompt.tokens(limits) for prompt in prompts)

    best: Limits = (None, None)
    fewest = tokens(best)
    for count in counts:
        possible: list[Limits] = []
        if sum(prompt.kept((None, count)) for prompt in with_answers) >= enough:
            possible.append((None, count))
        kept = sum(prompt.kept((None, count)) for prompt in unscored)
        threshold = None
        for score, place, share in scored:
            if kept >= enough:
                break
            if place < count:
                threshold = score
                kept += share
        if kept >= enough and threshold is not None:
            possible.append((_rounded_down(threshold), count))
        for limits in possible:
            if (sent := tokens(limits)) < fewest:
                best, fewest = limits, sent
    simpler: list[Limits] = [(best[0], None), (None, best[1])]
    return next((limits for limits in simpler if tokens(limits) == fewest), best)


def _measured(prompts: Sequence[Prompt], limits: Sequence[Limits], intervals: Intervals) -> list[PromptSize]:
    kept = [[prompt.kept(limit) for prompt in prompts if prompt.total] for limit in limits]
    tokens = [[float(prompt.tokens(limit)) for prompt in prompts] for limit in limits]
    return [
        PromptSize(
            *limit,
            kept=fmean(shares),
            kept_interval=kept_interval,
            tokens=fmean(counts),
            tokens_interval=tokens_interval,
            documents=fmean(prompt.length(limit) for prompt in prompts),
        )
        for limit, shares, kept_interval, counts, tokens_interval in zip(
            limits, kept, intervals(kept), tokens, intervals(tokens), strict=True
        )
    ]


def _counts(deepest: int) -> list[int]:
    """Each `top_n` to try, up to the longest list."""
    spaced = (_EACH_UP_TO + (deepest - _EACH_UP_TO) * step // 20 for step in range(1, 21))
    return sorted({*range(1, min(deepest, _EACH_UP_TO) + 1), *(count for count in spaced if count > _EACH_UP_TO)})


def _thresholds(prompts: Sequence[Prompt]) -> list[float]:
    """Rising thresholds that cut about the same number of documents each; none if nothing has a score."""
    scores = sorted(score for prompt in prompts for score in prompt.scores if score is not None)
    if not scores:
        return []
    places = {round(step * (len(scores) - 1) / (_POINTS - 1)) for step in range(_POINTS)}
    return sorted({_rounded_down(scores[place]) for place in places})


def _rounded_down(score: float) -> float:
    return float(_THREE_DIGITS.create_decimal(repr(float(score))))
