"""How certain a mean difference is: a paired bootstrap over the queries."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ksdk_rerank.errors import MissingExtra

__all__ = ["Interval", "Intervals", "intervals"]

Interval = tuple[float, float] | None
"""A confidence interval; None for fewer than two queries."""

Intervals = Callable[[Sequence[Sequence[float]]], list[Interval]]
"""`intervals` with its level, number of draws and seed."""

_DRAWS_AT_ONCE = 64  # bounds the memory of a matrix product


def intervals(
    differences: Sequence[Sequence[float]], *, confidence: float, resamples: int, seed: int
) -> list[Interval]:
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
    values = np.asarray(differences, dtype=np.float64).T
    random = np.random.Generator(np.random.PCG64(seed))
    means = np.empty((resamples, len(differences)))
    for start in range(0, resamples, _DRAWS_AT_ONCE):
        rows = range(start, min(start + _DRAWS_AT_ONCE, resamples))
        times = [np.bincount(random.integers(0, queries, queries), minlength=queries) for _ in rows]
        means[start : rows.stop] = np.asarray(times, dtype=np.float64) @ values / queries
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(means, [tail, 100 - tail], axis=0)
    return [(float(a), float(b)) for a, b in zip(low, high, strict=True)]
