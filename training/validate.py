"""How well held-out queries of the training sources are ranked; and from logits to probabilities."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from training.mine import Task
from training.network import CrossEncoder, Head
from training.states import Store
from training.train import Texts, scores

__all__ = ["Judged", "calibration", "judge", "judge_untrained", "reciprocal_ranks", "reliability"]

CANDIDATES = 20
PER_SOURCE = 80


class Judged:
    """Held-out queries with their candidates: the gold first, then BM25's."""

    def __init__(self, tasks: Sequence[Task], seed: int, per_source: int = PER_SOURCE) -> None:
        rng = np.random.default_rng(seed)
        self.tasks: list[Task] = []
        for source in sorted({task.source for task in tasks}):
            held_out = [task for task in tasks if task.source == source and task.held_out and not task.weak]
            self.tasks += [held_out[i] for i in rng.permutation(len(held_out))[:per_source]]
        self.candidates = [np.concatenate([[task.gold], task.top[: CANDIDATES - 1]]) for task in self.tasks]

    def cosines(self, queries: Store, passages: Store) -> list[NDArray[np.float32]]:
        pairs = zip(self.tasks, self.candidates, strict=True)
        return [passages.means[shown] @ queries.means[task.query] for task, shown in pairs]


def judge(judged: Judged, model: CrossEncoder, queries: Texts, passages: Texts) -> list[NDArray[np.float32]]:
    """The logits of each query's candidates; the encoder calculates in bfloat16."""
    sizes = [len(shown) for shown in judged.candidates]
    asked = [queries.ids[task.query] for task, size in zip(judged.tasks, sizes, strict=True) for _ in range(size)]
    shown = [passages.ids[place] for candidates in judged.candidates for place in candidates]
    model = copy.deepcopy(model).to(queries.states.device).eval()
    model.encoder.to(torch.bfloat16)
    with torch.inference_mode():
        found = scores(model, asked, shown).cpu().numpy()
    return np.split(found, np.cumsum(sizes)[:-1])


def judge_untrained(judged: Judged, queries: Texts, passages: Texts) -> list[NDArray[np.float32]]:
    """The logits of late interaction, from the states."""
    head, found = Head().to(queries.states.device), []
    with torch.inference_mode():
        for task, shown in zip(judged.tasks, judged.candidates, strict=True):
            asked = queries.states.batch(np.full(len(shown), task.query))
            found.append(head(asked, passages.states.batch(shown)).cpu().numpy())
    return found


def reciprocal_ranks(judged: Judged, found: Sequence[NDArray[np.float32]]) -> dict[str, float]:
    """The mean reciprocal rank of the gold, by source; ties count against it."""
    ranks: dict[str, list[float]] = {}
    for task, logits in zip(judged.tasks, found, strict=True):
        ranks.setdefault(task.source, []).append(1 / (1 + int((logits[1:] >= logits[0]).sum())))
    return {source: float(np.mean(values)) for source, values in ranks.items()}


def calibration(judged: Judged, found: Sequence[NDArray[np.float32]]) -> tuple[float, float]:
    """Scale and offset that make the sigmoid of a logit the share of golds, each source weighing the same.

    Platt's, by Newton's method on the log loss.
    """
    logits, golds, weights = _flat(judged, found)
    centre, spread = float(logits.mean()), float(logits.std())
    design = np.stack([(logits - centre) / spread, np.ones_like(logits)], 1)
    fitted = np.zeros(2)  # from here the steps do not overshoot
    for _ in range(30):
        probabilities = 1 / (1 + np.exp(-design @ fitted))
        gradient = design.T @ (weights * (probabilities - golds))
        curvature = (design * (weights * probabilities * (1 - probabilities))[:, None]).T @ design
        fitted -= np.linalg.solve(curvature, gradient)
    scale = float(fitted[0]) / spread
    return scale, float(fitted[1]) - scale * centre


def reliability(
    judged: Judged, found: Sequence[NDArray[np.float32]], to_logit: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> list[tuple[float, float, int]]:
    """For each tenth of the scale: the mean probability, the share of golds, and how many pairs."""
    logits, golds, weights = _flat(judged, found)
    probabilities = 1 / (1 + np.exp(-to_logit(logits)))
    rows = []
    for low in np.arange(0, 1, 0.1):
        inside = (probabilities >= low) & (probabilities < low + 0.1)
        if inside.any():
            weight = weights[inside]
            rows.append(
                (
                    float(np.average(probabilities[inside], weights=weight)),
                    float(np.average(golds[inside], weights=weight)),
                    int(inside.sum()),
                )
            )
    return rows


def _flat(
    judged: Judged, found: Sequence[NDArray[np.float32]]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    logits = np.concatenate(found).astype(np.float64)
    golds = np.concatenate([np.arange(len(one)) == 0 for one in found]).astype(np.float64)
    size = {source: sum(task.source == source for task in judged.tasks) for source in {t.source for t in judged.tasks}}
    weights = np.concatenate(
        [np.full(len(one), 1 / size[task.source]) for task, one in zip(judged.tasks, found, strict=True)]
    )
    return logits, golds, weights / weights.sum()
