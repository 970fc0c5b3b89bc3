"""How certain a mean difference is: a paired bootstrap over the queries."""

from __future__ import annotations

from collections.abc import Sequence

from ksdk_rerank.errors import MissingExtra

__all__ = ["intervals"]


def intervals(
    differences: Sequence[Sequence[float]], *, confidence: float, resamples: int, seed: int
) -> list[tuple[float, float] | None]:
    """A confidence interval for the mean of each of `differences`; each holds one number per query.

    Follows the percentile bootstrap of Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13,
    applied to retrieval as in Sakai, "Evaluating evaluation metrics based on the bootstrap" (SIGIR 2006): queries are
    drawn with replacement, and both orders are compared on the same draw. But: plain percentiles, without bias
    correction.

    Worked example, differences 0 and 1: a draw of two is (0, 0), (0, 1), (1, 0) or (1, 1), all equally likely. The
    means are 0, 0.5, 0.5 and 1. A quarter of them lie at either end, so the 95 % interval is (0, 1).

    All of `differences` must cover the same queries, and they share the draws. The same seed gives the same intervals.
    With fewer than two queries, each interval is None.

    Raises:
        MissingExtra: numpy is not installed.
    """
    queries = len(differences[0]) if differences else 0
    if queries < 2:
        return [None] * len(differences)
    try:
        import numpy as np
    except ImportError as error:
        raise MissingExtra.of("evaluate", "evaluate()") from error
    values = np.asarray(differences, dtype=np.float64)
    random = np.random.Generator(np.random.PCG64(seed))
    means = np.empty((resamples, len(values)))
    for row in range(resamples):
        means[row] = values[:, random.integers(0, queries, queries)].mean(axis=1)
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(means, [tail, 100 - tail], axis=0)
    return [(float(a), float(b)) for a, b in zip(low, high, strict=True)]
