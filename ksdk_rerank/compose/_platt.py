"""Platt scaling: the two numbers that turn scores into shares of relevant documents.

Follows Platt, "Probabilistic outputs for support vector machines" (1999), with the Newton steps of Lin, Lin and Weng,
"A note on Platt's probabilistic outputs" (2007, https://doi.org/10.1007/s10994-007-5018-6). But: the input is the log
odds of a score in [0, 1], which for a local model is its logit. So slope 1 and intercept 0 leave a score as it is.

Worked example: a score of 0.5 has log odds 0, and one of 0.9 has log 9 = 2.2. Slope 1 and intercept -2.2 turn 0.9 into
0.5: of the documents scored 0.9, half are relevant.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from ksdk_rerank.scores import sigmoid

__all__ = ["fit", "rescaled"]

_NEAREST = 1e-6  # scores nearer to 0 or 1 count as this near: BM25's 0 would be infinitely far, and pull on the fit
_MOST_STEPS = 100  # as in Lin, Lin and Weng; about ten are usual
_FLAT = 1e-9  # a mean gradient below this is zero


def _log_odds(score: float) -> float:
    """log(score / (1 - score)), with scores near 0 and 1 limited to about -13.8 and 13.8."""
    score = min(1 - _NEAREST, max(_NEAREST, score))
    return math.log(score / (1 - score))


def rescaled(score: float, slope: float, intercept: float) -> float:
    """`score` on the fitted scale."""
    return sigmoid(slope * _log_odds(score) + intercept)


def fit(judged: Iterable[tuple[float, bool]]) -> tuple[float, float]:
    """The slope and intercept with which `rescaled` gives shares of relevant documents.

    `judged` holds one (score, relevant) per document. Platt's targets replace 1 and 0 by (r + 1) / (r + 2) and
    1 / (n + 2) for r relevant and n other documents. So few documents, or scores that separate them perfectly, still
    give finite numbers.

    Raises:
        ValueError: there is no relevant document or no other one, or scores do not rise with relevance.
    """
    pairs = [(_log_odds(score), relevant) for score, relevant in judged]
    good = sum(relevant for _, relevant in pairs)
    bad = len(pairs) - good
    if not good or not bad:
        raise ValueError(
            f"calibrating needs scored documents of both kinds, got {good} relevant and {bad} not relevant;"
            " judge what a search returns, with 0 for documents that are not relevant"
        )
    high, low = (good + 1) / (good + 2), 1 / (bad + 2)
    points = [(x, high if relevant else low) for x, relevant in pairs]
    slope, intercept = _newton(points, math.log((good + 1) / (bad + 1)))
    if len({x for x, _ in points}) == 1 or slope <= 0:
        raise ValueError(
            f"the scores of {good} relevant documents are not higher than those of {bad} others, so they cannot be"
            " calibrated; check the judgements, or use another reranker"
        )
    return slope, intercept


def _newton(points: Sequence[tuple[float, float]], intercept: float) -> tuple[float, float]:
    """Minimise the cross-entropy by Newton's method; a step that does not lower it is halved until it does."""
    slope, now = 0.0, _loss(points, 0.0, intercept)
    for _ in range(_MOST_STEPS):
        by_slope = by_intercept = 0.0
        xx = x1 = one = 1e-12  # keeps the matrix invertible
        for x, target in points:
            share = sigmoid(slope * x + intercept)
            weight = share * (1 - share)
            by_slope += (share - target) * x
            by_intercept += share - target
            xx += weight * x * x
            x1 += weight * x
            one += weight
        if max(abs(by_slope), abs(by_intercept)) < _FLAT * len(points):
            break
        determinant = xx * one - x1 * x1
        if determinant <= 0:  # rounding: the scores are all but equal
            break
        down = (x1 * by_intercept - one * by_slope) / determinant, (x1 * by_slope - xx * by_intercept) / determinant
        step, best = 1.0, now
        while step > 1e-10 and (now := _loss(points, slope + step * down[0], intercept + step * down[1])) >= best:
            step /= 2
        if step <= 1e-10:
            break
        slope, intercept = slope + step * down[0], intercept + step * down[1]
    return slope, intercept


def _loss(points: Sequence[tuple[float, float]], slope: float, intercept: float) -> float:
    """The cross-entropy, in a form that cannot overflow."""
    total = 0.0
    for x, target in points:
        z = slope * x + intercept
        total += max(z, 0.0) + math.log1p(math.exp(-abs(z))) - target * z
    return total
