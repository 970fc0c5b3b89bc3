"""Whether a score is a share: scores against the share of relevant documents, before and after calibrating.

A reliability diagram, as in Niculescu-Mizil and Caruana, "Predicting good probabilities with supervised learning" (ICML
2005): candidates are binned by their score, and a bin's share of relevant ones should be its score.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from ksdk_rerank.compose._platt import fit, rescaled
from ksdk_rerank.evaluation.measurements import Calibration, ScoreBin

__all__ = ["calibration_of", "score_bins"]

_BINS = 10

Scored = Sequence[tuple[float, bool]]
"""The score of each document, and whether it is relevant."""


def score_bins(scored: Scored) -> tuple[ScoreBin, ...]:
    """The bins that hold documents, by rising score."""
    members: dict[int, list[tuple[float, bool]]] = {}
    for score, relevant in scored:
        members.setdefault(min(int(score * _BINS), _BINS - 1), []).append((score, relevant))
    return tuple(
        ScoreBin(
            low=place / _BINS,
            high=(place + 1) / _BINS,
            documents=len(held),
            score=fmean(score for score, _ in held),
            relevant=fmean(relevant for _, relevant in held),
        )
        for place, held in sorted(members.items())
    )


def calibration_of(scored: Scored) -> Calibration | None:
    """The numbers that fit `scored`; None if it cannot be fitted, such as when nothing is relevant."""
    try:
        slope, intercept = fit(scored)
    except ValueError:
        return None
    after = [(rescaled(score, slope, intercept), relevant) for score, relevant in scored]
    return Calibration(slope, intercept, score_bins(after))
